//go:build e2e

package volumes

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// leavesWithin is how long after its object the folder of a pod may be there: the
// object goes first, under either agent.
const leavesWithin = 20 * time.Second

// podFolders are the folders of pods that the agent keeps.
func podFolders(t testing.TB, s *site) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(s.b.RootDir, "pods", "*"))
	must(t, "looking for folders of pods", err)
	return found
}

// leaves waits until nothing is left of a pod whose object is gone.
func (s *site) leaves(p *corev1.Pod) {
	s.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(leavesWithin); ; <-tick.C {
		_, err := os.Lstat(s.podDir(p))
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		must(s.t, "looking for what is left", err)
		if time.Now().Before(end) {
			continue
		}
		var left []string
		for path := range fingerprint(s.t, s.podDir(p)) {
			left = append(left, path)
		}
		slices.Sort(left)
		s.weak("%s after it is gone, pod %s has left %s with\n%s\nand mounts %q",
			leavesWithin, p.Name, s.podDir(p), strings.Join(left, "\n"), mountsOf(s.t, s, p))
		return
	}
}

// why waits until nodeagent tells of a pod what has the words, and returns it.
func (s *site) why(pod string, words ...string) {
	s.t.Helper()
	if s.b.Agent() != bed.Nodeagent {
		return
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	for {
		text, err := exec.CommandContext(ctx, filepath.Join(s.b.BinDir, bed.Nodeagent), "why", "--root-dir", s.b.RootDir, namespace+"/"+pod).CombinedOutput()
		missing := ""
		for _, word := range words {
			if !strings.Contains(string(text), word) {
				missing = word
			}
		}
		if missing == "" && err == nil {
			s.t.Logf("nodeagent why:\n%s", text)
			return
		}
		if ctx.Err() != nil {
			s.weak("nodeagent why %s does not say %q (%v):\n%s", pod, missing, err, text)
			return
		}
		bedtest.Pause(ctx, 100*time.Millisecond)
	}
}

// on returns the same site for a subtest.
func (s *site) on(t testing.TB) *site {
	other := *s
	other.t = t
	return &other
}

// privileged makes the containers of a pod so.
func privileged(p *corev1.Pod) *corev1.Pod {
	yes := true
	for i := range p.Spec.Containers {
		p.Spec.Containers[i].SecurityContext = &corev1.SecurityContext{Privileged: &yes}
	}
	return p
}

// event waits until a pod has an event of the reason whose message has the text.
func (s *site) event(pod, reason, text string) string {
	s.t.Helper()
	w, err := s.b.Client().CoreV1().Events(namespace).Watch(s.t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + pod})
	must(s.t, "watching events", err)
	defer w.Stop()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	var others []string
	for {
		select {
		case ev, open := <-w.ResultChan():
			e, ok := ev.Object.(*corev1.Event)
			if !open || !ok {
				s.t.Fatalf("watching the events of %s: %v", pod, ev.Object)
			}
			if e.Reason == reason && strings.Contains(e.Message, text) {
				return e.Message
			}
			others = append(others, e.Reason+": "+e.Message)
		case <-limit.C:
			s.t.Fatalf("pod %s has no event %s that says %q after %s, only\n%s", pod, reason, text, patience, strings.Join(others, "\n"))
		}
	}
}
