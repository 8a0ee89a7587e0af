//go:build e2e || volumeload

package volumes

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
	"nodeagent.dev/nodeagent/test/volumes/hang"
)

// slow is the name of the volume that hangs.
const slow = "slow-disk"

// hung is a site with a file system that does not answer.
type hung struct {
	*site
	fs  *hang.FS
	dir string
}

func (s *site) hung() *hung {
	s.t.Helper()
	h := &hung{site: s, dir: s.folder("hung-" + s.name)}
	fs, err := hang.Mount(h.dir)
	must(s.t, "making a file system that hangs", err)
	s.t.Cleanup(func() {
		if err := fs.Close(); err != nil {
			s.t.Error(err)
		}
	})
	h.fs = fs
	return h
}

// pod mounts the file system. With a type the agent looks at it itself, without one
// only the runtime does.
func (h *hung) pod(name string, kind corev1.HostPathType) *corev1.Pod {
	p := h.site.pod(name, bedtest.Obeys)
	mount(p, hostPath(slow, h.dir, kind), "/slow")
	return p
}

// stuck waits until somebody waits for the file system.
func (h *hung) stuck() {
	h.t.Helper()
	select {
	case <-h.fs.Asked():
	case <-time.After(patience):
		h.t.Fatalf("nobody asks the file system that hangs: nothing is tried")
	}
}

// readySince says since when the node is ready; it fails the test when it is not.
func (s *site) readySince() time.Time {
	s.t.Helper()
	node, err := s.b.Client().CoreV1().Nodes().Get(s.t.Context(), s.b.NodeName, metav1.GetOptions{})
	must(s.t, "looking at the node", err)
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			if c.Status != corev1.ConditionTrue {
				s.weak("the node is not ready: %s: %s", c.Reason, c.Message)
			}
			return c.LastTransitionTime.Time
		}
	}
	s.t.Fatal("the node has no condition Ready")
	return time.Time{}
}
