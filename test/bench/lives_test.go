//go:build e2e

package bench

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// Single pods, one after the other; the first ones do not count.
const livesWarm, livesCounted = 2, 10

// plainPod is a pod as most people write one: it has a service account's token.
func plainPod(name string) *corev1.Pod {
	p := bedtest.NewPod(name, 30, bedtest.Obeys)
	p.Spec.AutomountServiceAccountToken = nil
	return p
}

// lives measures how long a plain pod takes to come and to go, and what is asked of
// the API server for it.
func lives(t *testing.T, s *site) {
	t.Helper()
	var names []string
	up, down := phases(livesWarm+livesCounted), phases(livesWarm+livesCounted)
	slices.Reverse(down)
	for i := range livesWarm + livesCounted {
		p := plainPod(fmt.Sprintf("one-%d", i))
		pause(t.Context(), up[i])
		ready := s.board.expect(p.Name, bedtest.Ready)
		began := time.Now()
		must(t, "one pod", create(t.Context(), s.Bed, p))
		at, err := receive(t.Context(), ready)
		must(t, "waiting until one pod is ready", err)
		created := at.Sub(began)
		settle(t, s)
		pause(t.Context(), down[i])
		gone := s.board.expectGone(p.Name)
		began = time.Now()
		must(t, "deleting one pod", s.Client().CoreV1().Pods(namespace).Delete(t.Context(), p.Name, metav1.DeleteOptions{}))
		at, err = receive(t.Context(), gone)
		must(t, "waiting until one pod is gone", err)
		settle(t, s)
		if i < livesWarm {
			continue
		}
		names = append(names, p.Name)
		s.add(figCreated, millisOf(created))
		s.add(figDeleted, millisOf(at.Sub(began)))
	}
	s.add(figRequests, float64(requests(t, s, names))/float64(len(names)))
}

// settle leaves time for what an agent does after it has said that it is done: it is
// no part of what is measured next.
func settle(t *testing.T, s *site) {
	t.Helper()
	const quiet = time.Second
	pause(t.Context(), quiet)
}

// audited is what is read of an entry of the audit log.
type audited struct {
	Stage, Verb              string
	User                     struct{ Username string }
	ObjectRef                struct{ Resource, Subresource, Name, Namespace string }
	RequestReceivedTimestamp time.Time
}

// entries returns the finished requests of the agent in the audit log.
func entries(t *testing.T, s *site) []audited {
	t.Helper()
	f, err := os.Open(s.AuditLogPath())
	must(t, "reading the audit log", err)
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	var all []audited
	for lines.Scan() {
		var a audited
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			continue // the line is still being written
		}
		if a.Stage == "ResponseComplete" && a.User.Username == "system:node:"+s.NodeName {
			all = append(all, a)
		}
	}
	must(t, "reading the audit log", lines.Err())
	return all
}

// requests counts those that name one of the pods. The log is written in batches:
// what is written last has to be in it.
func requests(t *testing.T, s *site, names []string) int {
	t.Helper()
	last := names[len(names)-1]
	for limit := time.Now().Add(patience); ; pause(t.Context(), time.Second) {
		n, done := 0, false
		for _, a := range entries(t, s) {
			for _, name := range names {
				if a.ObjectRef.Name == name || strings.HasPrefix(a.ObjectRef.Name, name+".") {
					n++
					done = done || name == last && a.Verb == "delete"
				}
			}
		}
		if done {
			return n
		}
		if time.Now().After(limit) {
			t.Fatalf("the audit log does not tell of the end of pod %s; of %d requests for the pods", last, n)
		}
	}
}

// statusWrites counts those of pods so far.
func statusWrites(t *testing.T, s *site) int {
	t.Helper()
	n := 0
	for _, a := range entries(t, s) {
		if a.ObjectRef.Resource == "pods" && a.ObjectRef.Subresource == "status" && a.Verb != "get" {
			n++
		}
	}
	return n
}

func millisOf(d time.Duration) float64 { return d.Seconds() * 1000 }

// expectGone returns a channel that takes the time when the pod's object is deleted.
func (b *board) expectGone(pod string) <-chan time.Time {
	w := &waiter{pod, func(p *corev1.Pod) bool { return p == nil }, make(chan time.Time, 1)}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiters[w] = true
	return w.seen
}
