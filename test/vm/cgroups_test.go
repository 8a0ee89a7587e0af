//go:build vm

package vm

import (
	"path"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// readCgroups prints every setting below kubepods.slice. Cgroups that go away
// meanwhile are no failure: those that have to be there are asked for by name.
const readCgroups = `cd /sys/fs/cgroup/kubepods.slice/.. || exit 1; find kubepods.slice \( -name '*.max' -o -name '*.min' -o -name '*.low' -o -name '*.high' \
-o -name '*.weight' -o -name '*.burst' -o -name cpu.idle -o -name memory.oom.group -o -name cpuset.cpus -o -name cpuset.mems \
-o -name cgroup.subtree_control -o -name cgroup.type \) -exec grep -sH '' {} + 2>/dev/null; true`

// burstable is the class whose shares are the sum of what its pods ask for.
const burstable = "class burstable"

// settings are the values of files by the cgroup's path below /sys/fs/cgroup.
type settings map[string]map[string]string

func (n *Node) settings(t *testing.T) settings {
	t.Helper()
	all := settings{}
	for line := range strings.Lines(n.sh(t, readCgroups)) {
		file, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		if !ok {
			continue
		}
		dir := path.Dir(file)
		if all[dir] == nil {
			all[dir] = map[string]string{}
		}
		if before, more := all[dir][path.Base(file)]; more {
			value = before + "; " + value
		}
		all[dir][path.Base(file)] = value
	}
	return all
}

// places names the cgroups of the pods: by role and container, not by what is
// made up anew each time.
func (u *under) places(t *testing.T, all settings, pods map[string]*corev1.Pod) map[string]string {
	t.Helper()
	names := map[string]string{
		"kubepods.slice": "kubepods",
		"kubepods.slice/kubepods-burstable.slice":  burstable,
		"kubepods.slice/kubepods-besteffort.slice": "class besteffort",
	}
	for _, p := range pods {
		uid := string(p.UID)
		if hash := p.Annotations["kubernetes.io/config.mirror"]; hash != "" {
			uid = p.Annotations["kubernetes.io/config.hash"]
		}
		uid = strings.ReplaceAll(uid, "-", "_")
		for dir := range all {
			if !strings.HasSuffix(path.Dir(dir), "pod"+uid+".slice") {
				if strings.HasSuffix(dir, "pod"+uid+".slice") {
					names[dir] = u.role(p)
					u.facts.put("path", u.role(p), "slice", strings.ReplaceAll(dir, uid, "<uid>"))
				}
				continue
			}
			container := "(sandbox)"
			base := path.Base(dir)
			for _, c := range statuses(p) {
				if id := strings.TrimPrefix(c.ContainerID, "containerd://"); id != "" && strings.Contains(base, id) {
					container, base = c.Name, strings.ReplaceAll(base, id, "<id>")
				}
			}
			names[dir] = u.role(p) + "/" + container
			if container != "(sandbox)" {
				u.facts.put("path", names[dir], "scope", base)
			}
		}
	}
	return names
}

// byPlace is what the cgroups of the pods are set to.
func (u *under) byPlace(t *testing.T, pods map[string]*corev1.Pod) settings {
	t.Helper()
	all, named := u.settings(t), settings{}
	for dir, place := range u.places(t, all, pods) {
		if all[dir] == nil {
			t.Errorf("there is no cgroup %s (%s)", dir, place)
		}
		named[place] = all[dir]
	}
	return named
}

// testCgroups notes the settings of all cgroups, to be compared.
func (u *under) testCgroups(t *testing.T) {
	pods := u.pods(t)
	u.awaitShares(t, pods)
	first := u.byPlace(t, pods)
	for _, p := range pods {
		if first[u.role(p)] == nil {
			t.Errorf("pod %s has no cgroup", p.Name)
		}
		for _, c := range p.Status.ContainerStatuses {
			if first[u.role(p)+"/"+c.Name] == nil {
				t.Errorf("container %s of pod %s has no cgroup in its pod's", c.Name, p.Name)
			}
		}
	}
	for place, files := range first {
		for file, value := range files {
			u.facts.put("cgroup", place, file, value)
		}
	}
}

// testReload notes what becomes of the settings when systemd reads its units
// again: it writes what it was told, and forgets what only was in the files.
func (u *under) testReload(t *testing.T) {
	pods := u.pods(t)
	u.awaitShares(t, pods)
	before := u.byPlace(t, pods)
	u.sh(t, "systemctl daemon-reload")
	for k, change := range changes(before, u.byPlace(t, pods)) {
		u.facts.put("daemon-reload", k.Place, k.What, change)
	}
}

// changed reports what is not as it was.
func changed(t *testing.T, after string, before, now settings) {
	t.Helper()
	for k, change := range changes(before, now) {
		t.Errorf("after %s: %s of %s: %s", after, k.What, k.Place, change)
	}
}

// changes are the settings that are not as they were.
func changes(before, now settings) facts {
	found := facts{}
	for place, files := range before {
		for file, was := range files {
			if is := now[place][file]; is != was {
				found.put("changed", place, file, was+" -> "+is)
			}
		}
	}
	return found
}
