//go:build e2e

package volumes

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// TestReaders: who reads while a volume is updated sees no half of it.
func TestReaders(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared.Bed(t), "readers")
	n := 20
	if s.b.Agent() != bed.Nodeagent { // seconds for each
		n = 3
	}
	s.readers(n)
}

// TestHungMount: a file system that hangs holds up the pods that have it and nobody
// else, it is said what hangs, and all ends once it answers.
func TestHungMount(t *testing.T) {
	t.Parallel()
	h := newSite(t, shared.Bed(t), "hung").hung()
	since := h.readySince()
	h.fs.Hang()
	waiting := []*corev1.Pod{
		h.pod("agent", corev1.HostPathDirectory), h.pod("runtime", corev1.HostPathUnset), h.pod("forced", corev1.HostPathDirectory),
	}
	for i, p := range waiting {
		waiting[i] = h.create(p)
	}
	h.stuck()
	h.why(waiting[0].Name, slow)
	began := time.Now()
	other := h.start(h.site.pod("other", bedtest.Obeys))
	h.end(other)
	t.Logf("beside it a pod started and ended in %s", time.Since(began).Round(time.Millisecond))
	h.leaves(other)
	h.delete(waiting[0], -1)
	h.delete(waiting[1], -1)
	h.delete(waiting[2], 0)
	_, err := h.board.Await(t.Context(), waiting[2].Name, "gone", bedtest.Gone)
	must(t, "deleting by force", err)
	if h.fs.Waiting() == 0 {
		t.Error("nobody waits any more although it has not answered: nothing was tried")
	}
	if now := h.readySince(); !now.Equal(since) {
		h.weak("the node was not ready meanwhile: since %s, before since %s", now, since)
	}
	began = time.Now()
	h.fs.Answer()
	for _, p := range waiting[:2] {
		_, err := h.board.Await(t.Context(), p.Name, "gone", bedtest.Gone)
		must(t, "deleting what hung", err)
	}
	t.Logf("%s after it answered, the pods that had it were gone", time.Since(began).Round(time.Millisecond))
	for _, p := range waiting {
		h.leaves(p)
	}
}
