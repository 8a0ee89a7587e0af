package probe

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/probe/answer"
)

// BenchmarkTick is what the loop costs for one probe that is due, is answered at
// once and is put back, among those of 110 pods with two probes each.
func BenchmarkTick(b *testing.B) {
	const n = 220
	observed := 0
	p := New(Config{Version: "1.37"}, Deps{Log: zap.NewNop(), Changed: func(types.UID) {},
		Observe: func(*corev1.Pod, string, pod.ProbeKind, string, time.Duration) { observed++ }})
	p.handle = func(context.Context, pod.ProbeTarget) (answer.Answer, error) { return good, nil }
	for i := range n / 2 { // one is due each second
		of := newPod(fmt.Sprint(i))
		spec := corev1.Probe{InitialDelaySeconds: int32(2 * i), PeriodSeconds: n}
		ready := target(pod.ProbeReadiness, of.Name, spec)
		spec.InitialDelaySeconds++
		p.Watch(of, list(ready, target(pod.ProbeLiveness, of.Name, spec)))
	}
	now, ran := p.due[0].due, 0
	b.ReportAllocs()
	for b.Loop() {
		var wg sync.WaitGroup
		next, ok := p.startDue(b.Context(), &wg, now)
		wg.Wait()
		if ran++; !ok || observed != ran {
			b.Fatalf("%d probes ran in %d turns, the next at %s (%v)", observed, ran, next, ok)
		}
		now = next
	}
}
