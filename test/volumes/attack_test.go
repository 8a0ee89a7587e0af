//go:build e2e

package volumes

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// TestSubPathIsSwapped: while containers start on a subPath, another one exchanges
// it for a symlink that leads out of the volume. See also BenchmarkSubPathRace.
func TestSubPathIsSwapped(t *testing.T) {
	t.Parallel()
	r := newRace(newSite(t, shared.Bed(t), "swapped"))
	// Chance decides what a container is given: go on until one got as far as to look.
	for round := 0; r.started == 0; round++ {
		r.try(fmt.Sprintf("e2e-%d", round), 2, 6)
		r.judge()
		if round == 20 {
			t.Fatal("no container got as far as to look: nothing was tried")
		}
	}
}

// TestSubPathLeadsOut: symlinks that a container has put into its volume lead out
// of it, and the next container is given a path through them.
func TestSubPathLeadsOut(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared.Bed(t), "leadsout")
	out := s.newOutside("leadsout")
	v := s.folder("volume-leadsout")
	up := strings.Repeat("../", 20)
	links := map[string]string{
		"absolute": out.dir, "up": up + out.dir[1:], "dir": "..", "proc": "/proc/self/root", "chain": "absolute", "file": out.dir + "/file",
	}
	for name, target := range links {
		must(t, "making a symlink", os.Symlink(target, filepath.Join(v, name)))
	}
	p := s.pod("all")
	var paths []string
	for name := range links {
		for _, below := range []string{"", "/below", "/new"} {
			path := name + below
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{
				Name: strings.ReplaceAll(path, "/", "-"), Image: bedtest.Image, Command: []string{"sleep", "600"},
				VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/m", SubPath: path}}})
			paths = append(paths, path)
		}
	}
	p.Spec.Volumes = append(p.Spec.Volumes, hostPath("v", v, ""))
	s.create(p)
	got := s.await(p, "tried", tried)
	for _, c := range got.Status.ContainerStatuses {
		if w := c.State.Waiting; w == nil {
			s.weak("container %s is given what its subPath leads to", c.Name)
		} else if strings.Contains(w.Message, out.dir) {
			s.weak("container %s: what users are told shows them the node: %q", c.Name, w.Message)
		}
	}
	if len(got.Status.ContainerStatuses) != len(paths) {
		t.Errorf("%d containers, want %d", len(got.Status.ContainerStatuses), len(paths))
	}
	s.untouched(out)
}

// TestHostPathChangesItsType: a file that is mounted becomes a directory. Whoever
// starts on it later is refused, as one that starts while it changes is not given
// what it must not have.
func TestHostPathChangesItsType(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared.Bed(t), "type")
	file, dir := filepath.Join(s.dir, "target"), filepath.Join(s.dir, "dir")
	must(t, "writing a file", os.WriteFile(file, []byte("allowed"), 0o644))
	must(t, "making a directory", os.Mkdir(dir, 0o755))
	must(t, "writing a file", os.WriteFile(filepath.Join(dir, "in"), []byte(forbidden), 0o644))
	script := "n=$(ls /x/run.* 2>/dev/null | wc -l); { ls -ld /f; cat /f /f/in; } > /x/next 2>&1; mv /x/next /x/run.$n; while [ ! -e /x/stop ]; do sleep 0.1; done; rm /x/stop; exit 1"
	p := s.pod("first", script)
	mount(p, hostPath("f", file, corev1.HostPathFile), "/f")
	s.start(p)
	s.exists("run.0")
	must(t, "moving the file", os.Rename(file, file+".was"))
	must(t, "putting a directory there", os.Rename(dir, file))

	// One that is new is refused.
	q := s.pod("second", "cat /f/in; sleep 600")
	mount(q, hostPath("f", file, corev1.HostPathFile), "/f")
	s.create(q)
	t.Log(s.event(q.Name, "FailedMount", "hostPath type check failed"))
	if got := s.await(q, "there", func(*corev1.Pod) bool { return true }); bedtest.Ready(got) {
		t.Errorf("pod %s runs on a directory where it wanted a file", q.Name)
	}

	// One that starts again is not shown the directory.
	must(t, "ending the container", os.WriteFile(filepath.Join(s.dir, "stop"), nil, 0o666))
	got := s.await(p, "started again or refused", func(p *corev1.Pod) bool {
		c := p.Status.ContainerStatuses
		return len(c) > 0 && (c[0].RestartCount > 0 && c[0].State.Running != nil ||
			c[0].State.Waiting != nil && strings.HasPrefix(c[0].State.Waiting.Reason, "CreateContainer"))
	})
	t.Logf("after the change: %s", states(got))
	if bedtest.Ready(got) {
		s.exists("run.1")
		text, _ := os.ReadFile(filepath.Join(s.dir, "run.1"))
		if s.b.Agent() != bed.Kubelet {
			t.Errorf("a container that starts again sees the directory that is there now: %.300s", text)
		}
		t.Logf("under the kubelet a container that starts again sees the directory that is there now: %.300s", text)
	}
}

// replacements are what a container that may mount can do to a volume that follows
// an object: it is mounted read-only, until somebody changes that. @UP@ is the way
// from the volume's directory to the outside, @OUT@ its path on the node.
func replacements() map[string]string {
	const remount = "mount -o remount,rw,bind /@NAME@ && cd /@NAME@ && "
	return map[string]string{
		"data-relative": remount + "rm ..data && ln -s @UP@ ..data",
		"data-absolute": remount + "rm ..data && ln -s @OUT@ ..data",
		"data-dir":      remount + "rm ..data && mkdir ..data && echo mine > ..data/@KEY@",
		"data-file":     remount + "rm ..data && echo mine > ..data",
		"generation":    remount + "g=$(readlink ..data) && rm -r $g && ln -s @UP@ $g",
		"like-ours":     remount + "ln -s @UP@ ..2020_01_01_00_00_00.123456789 && rm ..data && ln -s ..2020_01_01_00_00_00.123456789 ..data",
		"tmp-link":      remount + "ln -s @UP@ ..data_tmp; ln -s @UP@ ..link_tmp; g=$(readlink ..data); rm -f $g/@KEY@; ln -s ../@UP@/file $g/@KEY@",
		"tmp-dir":       remount + "mkdir -p ..data_tmp/x ..link_tmp/x",
		"key-link":      remount + "rm @KEY@ && ln -s @UP@/file @KEY@ && ln -s @OUT@/file b2",
		"key-dir":       remount + "rm @KEY@ && mkdir @KEY@ && ln -s ../@UP@ @KEY@/x",
		"fifo":          remount + "g=$(readlink ..data) && rm $g/@KEY@ && mkfifo $g/@KEY@ && mkfifo ..data_tmp",
		"open":          remount + "chmod 777 . ..data/ && chown 99:99 . ..data/@KEY@",
		// What the volume itself is can only be changed from above.
		"whole": "cd /pods/$UID_OF_POD/volumes/*/@NAME@/.. && { umount @NAME@ 2>/dev/null; mv @NAME@ was; } && ln -s @OUT@ @NAME@",
	}
}

// TestReplacedVolume: a container that may mount replaces parts of a volume that
// follows an object. Neither the next update nor the end of the pod reads, writes
// or deletes anything outside the volume.
func TestReplacedVolume(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared.Bed(t), "replaced")
	s.objects(s.name, "1")
	control := s.pod("control", "exec /witness watch /x/control /v/a")
	mount(control, configMap("v", s.name), "/v")
	control = s.start(control)
	sources := map[string]corev1.Volume{"config": configMap("", s.name), "secret": secret("", s.name), "projected": projected("", s.name, s.name)}
	victims := map[string]*corev1.Pod{}
	outs := map[string]*outside{}
	for kind, source := range sources {
		victims[kind] = s.create(s.victim(kind, source, outs))
	}
	for name := range victims {
		s.exists(name + ".done")
		if failed, err := os.ReadFile(filepath.Join(s.dir, name+".failed")); err == nil {
			s.weak("%s: these could not be done, so they are not tried: %q", name, failed)
		}
	}
	for name, p := range victims {
		links, err := filepath.Glob(filepath.Join(s.podDir(p), "volumes", "*", "v-data-relative", "..data"))
		must(t, "looking for what was replaced", err)
		if len(links) != 1 {
			s.weak("pod %s: ..data is at %q, want one", p.Name, links)
			continue
		}
		if to, err := filepath.EvalSymlinks(links[0]); to != outs[name+"-data-relative"].dir {
			// The kubelet looks at its volumes now and then, and may have done so.
			s.weak("pod %s: ..data leads to %q (%v), want the outside: nothing is tried", p.Name, to, err)
		}
	}
	s.patch("configmap", s.name, dataPatch("configmap", "2"))
	s.patch("secret", s.name, dataPatch("secret", "2"))
	s.noted("control", "/v/a", "2")
	s.settled(victims)
	for _, out := range outs {
		s.untouched(out)
	}
	for _, p := range victims {
		s.delete(p, -1)
	}
	for _, p := range victims {
		if _, err := s.board.Await(t.Context(), p.Name, "gone", bedtest.Gone); err != nil {
			s.weak("a pod does not end whose volume was replaced: %v", err)
			continue
		}
		s.leaves(p)
	}
	for _, out := range outs {
		s.untouched(out)
	}
	s.end(control)
}

// victim is a pod that has a volume for each replacement, and does it.
func (s *site) victim(kind string, source corev1.Volume, outs map[string]*outside) *corev1.Pod {
	s.t.Helper()
	p := once(s.pod(kind, ""))
	mount(p, hostPath("pods", filepath.Join(s.b.RootDir, "pods"), ""), "/pods")
	var all strings.Builder
	for name, script := range replacements() {
		out := s.newOutside("replaced-" + kind + "-" + name)
		// pods/<uid>/volumes/<plugin>/<name> is five below the agent's folder, that one below the bed's.
		up := strings.Repeat("../", 6) + filepath.Base(out.dir)
		key := map[bool]string{true: "config", false: "a"}[kind == "projected"]
		source.Name = "v-" + name
		mount(p, source, "/"+source.Name)
		all.WriteString("(" + strings.NewReplacer("@UP@", up, "@OUT@", out.dir, "@NAME@", source.Name, "@KEY@", key).Replace(script) + ") || echo " + name + " >> /x/" + kind + ".failed\n")
		outs[kind+"-"+name] = out
	}
	c := &p.Spec.Containers[0]
	c.Command[2] = all.String() + ": > /x/" + kind + ".done; " + bedtest.Obeys
	c.TerminationMessagePolicy, c.Env = corev1.TerminationMessageFallbackToLogsOnError, uidOfPod()
	return privileged(p)
}

func uidOfPod() []corev1.EnvVar {
	return []corev1.EnvVar{{Name: "UID_OF_POD", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.uid"}}}}
}

// shows reports whether a volume has a state. What an attacker has made of it may
// be a FIFO, which nobody must open.
func shows(dir, state string) bool {
	for _, key := range []string{"a", "config"} {
		path := filepath.Join(dir, "..data", key)
		if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() {
			text, _ := os.ReadFile(path)
			return string(text) == state
		}
	}
	return false
}

// settled waits until the agent has had its try at the volumes of pods: they show
// the new state, or time has passed in which it would have been there.
func (s *site) settled(pods map[string]*corev1.Pod) {
	s.t.Helper()
	wait := 2 * time.Second
	if s.b.Agent() == bed.Kubelet { // it looks every now and then
		wait = 12 * time.Second
	}
	end := time.Now().Add(wait)
	for _, p := range pods {
		dirs, err := filepath.Glob(filepath.Join(s.podDir(p), "volumes", "*", "v-*"))
		must(s.t, "looking for volumes", err)
		for _, dir := range dirs {
			for time.Now().Before(end) && !shows(dir, "2") {
				bedtest.Pause(s.t.Context(), 20*time.Millisecond)
			}
			if !shows(dir, "2") {
				s.t.Logf("pod %s: volume %s does not show the new state", p.Name, filepath.Base(dir))
			}
		}
	}
}
