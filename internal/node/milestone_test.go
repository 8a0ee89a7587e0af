package node

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// TestMilestones: a node that was there before is not registered.
func TestMilestones(t *testing.T) {
	there := Build(new(testConfig()), testFacts(), nil, time.Now()).Node
	for name, c := range map[string]struct {
		objects []runtime.Object
		want    []Milestone
	}{
		"new":   {nil, []Milestone{Registering, Registered, Ready}},
		"there": {[]runtime.Object{there}, []Milestone{Registering, Ready}},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, testConfig(), c.objects...)
			var got []Milestone
			w.r.deps.Milestone = func(m Milestone) {
				if !slices.Contains(got, m) {
					got = append(got, m)
				}
			}
			stop := w.start(t)
			time.Sleep(time.Minute)
			synctest.Wait()
			stop()
			if !slices.Equal(got, c.want) {
				t.Errorf("%s: %v, want %v", name, got, c.want)
			}
			if n := w.node(t); !slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == corev1.NodeReady }) {
				t.Error("the node has no condition")
			}
		})
	}
}
