//go:build e2e || volumeload

package volumes

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// race is a volume in which a container exchanges a directory for a symlink that
// leads out, all the time, and what came of the containers that were given paths
// in it meanwhile.
type race struct {
	*site
	out     *outside
	volume  string
	started int
}

// newRace begins to exchange.
func newRace(s *site) *race {
	s.t.Helper()
	r := &race{site: s, out: s.newOutside(s.name), volume: s.folder("volume-" + s.name)}
	real := filepath.Join(r.volume, "swap")
	must(s.t, "making a directory", os.Mkdir(real, 0o777))
	must(s.t, "writing a file", os.WriteFile(filepath.Join(real, "file"), []byte("allowed"), 0o644))
	must(s.t, "making the trap", os.Symlink(r.out.dir, filepath.Join(r.volume, "spare")))
	p := s.pod("swapper", "exec /witness swap /v/swap /v/spare")
	mount(p, hostPath("v", r.volume, ""), "/v")
	s.start(p)
	return r
}

// try starts n pods of some containers, each of which is given the path that is
// exchanged, and a path below it that is there or is not, and tells what it sees.
func (r *race) try(round string, n, containers int) {
	r.t.Helper()
	tell := func(c int) string {
		return fmt.Sprintf("grep -rs %s /swap /file /new > /x/$HOSTNAME-%c.leak; : > /x/$HOSTNAME-%c.ran; exec sleep 600", forbidden, 'a'+c, 'a'+c)
	}
	var all sync.WaitGroup
	for i := range n {
		scripts := make([]string, containers)
		for c := range scripts {
			scripts[c] = tell(c)
		}
		p := r.pod(fmt.Sprintf("victim-%s-%d", round, i), scripts...)
		p.Spec.Volumes = append(p.Spec.Volumes, hostPath("v", r.volume, ""))
		for c := range p.Spec.Containers {
			path := []string{"swap", "swap/file", "swap/new"}[c%3]
			p.Spec.Containers[c].VolumeMounts = append(p.Spec.Containers[c].VolumeMounts, corev1.VolumeMount{
				Name: "v", MountPath: "/" + filepath.Base(path), SubPath: path})
		}
		r.create(p)
		all.Go(func() {
			seen, err := r.board.Await(r.t.Context(), p.Name, "tried", bedtest.Settled(tried))
			if err != nil {
				r.t.Error(err)
				return
			}
			r.t.Logf("%s: %s", p.Name, states(seen.Pod))
		})
	}
	all.Wait()
}

// tried: all containers of a pod run or were refused.
func tried(p *corev1.Pod) bool {
	for _, s := range p.Status.ContainerStatuses {
		if s.State.Running == nil && s.State.Terminated == nil && (s.State.Waiting == nil || !strings.HasPrefix(s.State.Waiting.Reason, "CreateContainer")) {
			return false
		}
	}
	return len(p.Status.ContainerStatuses) > 0
}

func states(p *corev1.Pod) string {
	var all []string
	for _, s := range p.Status.ContainerStatuses {
		switch {
		case s.State.Waiting != nil:
			all = append(all, s.State.Waiting.Reason+": "+s.State.Waiting.Message)
		case s.State.Running != nil:
			all = append(all, "running")
		default:
			all = append(all, "ended")
		}
	}
	return strings.Join(all, "; ")
}

// judge looks at what the containers have seen.
func (r *race) judge() {
	r.t.Helper()
	ran, err := filepath.Glob(filepath.Join(r.dir, "*.ran"))
	must(r.t, "looking for containers that ran", err)
	leaks, err := filepath.Glob(filepath.Join(r.dir, "*.leak"))
	must(r.t, "looking for leaks", err)
	for _, leak := range leaks {
		if text, _ := os.ReadFile(leak); len(text) > 0 {
			r.weak("a container saw what is outside its volume: %s: %.200s", filepath.Base(leak), text)
		}
	}
	r.started = len(ran)
	r.untouched(r.out)
}
