//go:build e2e

package bench

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

const (
	// exitPods are there only while exits are measured, beside the others.
	exitPods  = 4
	exitLabel = "exits"
	// exitWarm are the first exits, which do not count.
	exitWarm = 4
)

// exits measures how long after the end of a container the API shows it, beside n
// pods. Of the containers half are restarted.
func (s *scale) exits(t *testing.T, n int) {
	t.Helper()
	endings := s.prepareExits(t, n)
	pauses := append(phases(exitWarm), phases(len(endings)-exitWarm)...)
	for i, e := range endings {
		pause(t.Context(), pauses[i])
		seen, again := s.board.expect(e.pod, e.ended), s.board.expect(e.pod, e.again)
		at := time.Now()
		must(t, "ending a container", s.kill(e))
		shown, err := receive(t.Context(), seen)
		must(t, "waiting until the API shows the end of container "+e.name(), err)
		if e.always {
			_, err = receive(t.Context(), again)
			must(t, "waiting until container "+e.name()+" runs again", err)
		}
		if i >= exitWarm {
			s.add(scaleExit, millisOf(shown.Sub(at)))
		}
	}
	s.removeExits(t, n)
}

// phases are n pauses of up to [exitPhase], in random order and evenly spread: an
// agent that looks once a second is met at every moment of it, and as much by one
// run as by the next.
func phases(n int) []time.Duration {
	all := make([]time.Duration, n)
	for i := range all {
		all[i] = exitPhase * time.Duration(2*i+1) / time.Duration(2*n)
	}
	random := rand.New(rand.NewPCG(1, 2))
	random.Shuffle(n, func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

func exitPod(n, i int) string { return fmt.Sprintf("exit-%d-%d", n, i) }

// prepareExits makes pods whose containers will end, and returns these in the order
// in which they shall. Each ends once: the next time it would be made to wait.
func (s *scale) prepareExits(t *testing.T, n int) []*ending {
	t.Helper()
	perPod := (paces().exits + exitWarm) / exitPods
	endings := make([]*ending, exitPods*perPod)
	var ready []<-chan time.Time
	for i := range exitPods {
		p := bedtest.NewPod(exitPod(n, i), 0)
		p.Labels[exitLabel] = "yes"
		p.Spec.NodeName, p.Spec.RestartPolicy = s.NodeName, corev1.RestartPolicyNever
		always := i%2 == 1
		if always {
			p.Spec.RestartPolicy = corev1.RestartPolicyAlways
		}
		for j := range perPod {
			name := string(rune('a' + j))
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: name, Image: bedtest.Image})
			endings[j*exitPods+i] = &ending{pod: p.Name, container: name, always: always}
		}
		ready = append(ready, s.board.expect(p.Name, bedtest.Ready))
		must(t, "creating pods whose containers end", create(t.Context(), s.Bed, p))
	}
	_, err := lastWithin(t.Context(), patience, ready...)
	must(t, "waiting for pods whose containers end", err)
	settle(t, s.site)
	return endings
}

func (s *scale) removeExits(t *testing.T, n int) {
	t.Helper()
	var gone []<-chan time.Time
	for i := range exitPods {
		gone = append(gone, s.board.expectGone(exitPod(n, i)))
	}
	must(t, "deleting pods", s.Client().CoreV1().Pods(namespace).DeleteCollection(t.Context(), metav1.DeleteOptions{},
		metav1.ListOptions{LabelSelector: exitLabel}))
	_, err := lastWithin(t.Context(), patience, gone...)
	must(t, "waiting until pods are gone", err)
}
