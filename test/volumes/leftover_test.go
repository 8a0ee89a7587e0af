//go:build e2e

package volumes

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// TestSpecialFiles: FIFOs, sockets, devices and symlinks in volumes hold nobody up
// that changes owners, adds up sizes or deletes, and lead nowhere.
func TestSpecialFiles(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared.Bed(t), "special")
	out := s.newOutside("special")
	kept := s.folder("kept-special")
	for name, target := range map[string]string{"absolute": out.dir, "file": out.dir + "/file", "up": "../" + filepath.Base(out.dir) + "/file"} {
		must(t, "making a symlink", os.Symlink(target, filepath.Join(kept, name)))
	}
	s.persist("special", local(kept))
	group := int64(4242)
	maker := privileged(s.pod("maker", "mkdir /v/again && /witness special /v/again && /witness special /e && /witness special /m && : > /x/made; "+bedtest.Obeys))
	maker.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: &group}
	mount(maker, claim("v", "special"), "/v")
	mount(maker, emptyDir("e", corev1.StorageMediumDefault), "/e")
	mount(maker, emptyDir("m", corev1.StorageMediumMemory), "/m")
	maker = s.start(maker)
	s.exists("made")
	s.untouched(out)

	// The next one has the owners of all that changed.
	other := int64(4343)
	user := s.pod("user", "stat -c '%n %g' /v/again /v/again/fifo /v/again/deep > /x/groups.next; mv /x/groups.next /x/groups; "+bedtest.Obeys)
	user.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: &other}
	s.end(maker)
	s.leaves(maker)
	mount(user, claim("v", "special"), "/v")
	user = s.start(user)
	s.exists("groups")
	text, _ := os.ReadFile(filepath.Join(s.dir, "groups"))
	for line := range strings.Lines(string(text)) {
		if !strings.HasSuffix(strings.TrimSpace(line), fmt.Sprint(other)) {
			s.weak("the group is not that of the pod: %s", line)
		}
	}
	s.untouched(out)
	s.end(user)
	s.leaves(user)
	s.untouched(out)
}

// TestUsageOfSpecialFiles: the agent adds up what volumes take although there are
// files that cannot be read.
func TestUsageOfSpecialFiles(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared.Bed(t), "usage")
	p := privileged(s.pod("full", "/witness special /e && dd if=/dev/zero of=/e/data bs=1M count=3 && : > /x/made; "+bedtest.Obeys))
	mount(p, emptyDir("e", corev1.StorageMediumDefault), "/e")
	p = s.start(p)
	s.exists("made")
	s.usage(p, "e", 3<<20, 4<<20)
	s.end(p)
	s.leaves(p)
}

// TestMountLeftInEmptyDir: a container that may do so has mounted something into
// its emptyDir, on the node. When the pod ends the mount goes and what was mounted
// stays.
func TestMountLeftInEmptyDir(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared.Bed(t), "leftmount")
	agent, err := s.b.Component("agent").PID(t.Context())
	must(t, "finding the agent", err)
	for name, mounts := range map[string]string{
		"bind":    "mkdir $E/m && mount --bind @OUT@ $E/m",
		"tmpfs":   "mkdir $E/m && mount -t tmpfs none $E/m && touch $E/m/file && mkdir $E/m/deep && mount --bind @OUT@ $E/m/deep",
		"stacked": "mkdir $E/m && mount --bind @OUT@ $E/m && mount -t tmpfs none $E/m && mount --bind @OUT@/below $E/m",
		"above":   "mount --bind @OUT@ $E",
		"file":    "touch $E/m && mount --bind @OUT@/file $E/m",
	} {
		out := s.newOutside("leftmount-" + name)
		script := fmt.Sprintf("E=$(echo %s/pods/$UID_OF_POD/volumes/kubernetes.io~empty-dir/e); nsenter -t %d -m -- /bin/sh -ec \"E=$E; %s\" && : > /x/%s.done; %s",
			s.b.RootDir, agent, strings.ReplaceAll(strings.ReplaceAll(mounts, "@OUT@", out.dir), "$", "\\$"), name, bedtest.Obeys)
		p := privileged(s.pod(name, script))
		p.Spec.HostPID = true
		p.Spec.Containers[0].Env = uidOfPod()
		mount(p, emptyDir("e", corev1.StorageMediumDefault), "/e")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := s.on(t)
			p := s.start(p)
			s.exists(name + ".done")
			if len(mountsOf(t, s, p)) == 0 {
				t.Fatal("the mount is not there: nothing is tried")
			}
			s.delete(p, -1)
			if _, err := s.board.Await(t.Context(), p.Name, "gone", bedtest.Gone); err != nil {
				s.weak("a pod does not end that has a mount in its emptyDir: %v", err)
			} else {
				s.leaves(p)
			}
			if left := mountsOf(t, s, p); len(left) > 0 {
				s.weak("mounts are left: %q", left)
			}
			s.untouched(out)
		})
	}
}

// usage waits until the agent says what a volume of a pod takes, and compares.
func (s *site) usage(p *corev1.Pod, volume string, least, most uint64) {
	s.t.Helper()
	client, err := s.b.AgentClient()
	must(s.t, "making a client", err)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	var used *uint64
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.b.AgentURL()+"/stats/summary", nil)
		must(s.t, "making a request", err)
		resp, err := client.Do(req)
		must(s.t, "asking for figures", err)
		var all stats.Summary
		err = json.NewDecoder(resp.Body).Decode(&all)
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusNotFound {
			s.t.Skip("this agent has no /stats/summary")
		}
		must(s.t, "reading figures", err)
		for _, pod := range all.Pods {
			for _, v := range pod.VolumeStats {
				if pod.PodRef.UID == string(p.UID) && v.Name == volume {
					used = v.UsedBytes
				}
			}
		}
		if used != nil && *used >= least && *used <= most {
			return
		}
	}
	if used == nil {
		s.weak("nothing is said about volume %s of pod %s", volume, p.Name)
	} else {
		s.weak("volume %s of pod %s takes %d bytes, want %d to %d", volume, p.Name, *used, least, most)
	}
}
