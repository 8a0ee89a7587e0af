package agent

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// TestKnown: the pods of the node are known when every source has been heard and
// each of its pods has been looked at, or some time after.
func TestKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p parts
		p.local.heard(pod.Desired{})
		if p.Known() {
			t.Error("known before all sources have been heard")
		}
		one := pod.Desired{Synced: true, Specs: []pod.Spec{{Pod: &corev1.Pod{}}}}
		p.local.heard(one)
		p.local.heard(pod.Desired{Synced: true}) // the first ones count
		if p.Known() {
			t.Error("known before there is a view")
		}
		time.Sleep(maxUnseen)
		if !p.Known() {
			t.Error("a pod that has no view holds up all others")
		}
	})
	var empty parts
	empty.local.heard(pod.Desired{Synced: true})
	if !empty.Known() {
		t.Error("a node without pods is not known")
	}
}
