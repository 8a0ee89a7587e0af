package status

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// variants are statuses that differ from each other in every way that one does.
func variants() map[string]corev1.PodStatus {
	all := map[string]corev1.PodStatus{"none": {}}
	for name, change := range map[string]func(s *corev1.PodStatus){
		"running":   func(*corev1.PodStatus) {},
		"not ready": func(s *corev1.PodStatus) { s.Conditions[2].Status, s.ContainerStatuses[0].Ready = "False", false },
		"why not": func(s *corev1.PodStatus) {
			s.Conditions[2].Status, s.Conditions[2].Reason, s.Conditions[2].Message = "False", "ContainersNotReady", "m"
		},
		"other order": func(s *corev1.PodStatus) { slices.Reverse(s.Conditions) },
		"one less":    func(s *corev1.PodStatus) { s.Conditions = s.Conditions[1:] },
		"one more": func(s *corev1.PodStatus) {
			s.Conditions = append(s.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: "True", Reason: "r"})
		},
		"two addresses":  func(s *corev1.PodStatus) { s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: "2001:db8::1"}) },
		"no address":     func(s *corev1.PodStatus) { s.PodIP, s.PodIPs = "", nil },
		"ended":          func(s *corev1.PodStatus) { s.Phase, s.Reason, s.Message = corev1.PodFailed, "Evicted", "m" },
		"one container":  func(s *corev1.PodStatus) { s.ContainerStatuses = s.ContainerStatuses[:1] },
		"init container": func(s *corev1.PodStatus) { s.InitContainerStatuses = s.ContainerStatuses[1:] },
		"restarted":      func(s *corev1.PodStatus) { s.ContainerStatuses[1].RestartCount = 3 },
		"not started":    func(s *corev1.PodStatus) { s.StartTime, s.ContainerStatuses[0].Started = nil, nil },
	} {
		s := runningStatus()
		change(&s)
		all[name] = s
	}
	return all
}

// A patch brings the API from any status to any other, and says nothing of what is so
// already.
func TestPatchesLeadToTheStatus(t *testing.T) {
	for from, base := range variants() {
		for to, status := range variants() {
			e := &entry{pod: newPod("a"), base: *base.DeepCopy(), status: *status.DeepCopy()}
			patch, err := patchFor(e)
			if err != nil {
				t.Fatalf("from %s to %s: %v", from, to, err)
			}
			if !equality.Semantic.DeepEqual(e.base, base) || !equality.Semantic.DeepEqual(e.status, status) {
				t.Errorf("from %s to %s: the entry was changed", from, to)
			}
			if patch == nil {
				if !same(e) {
					t.Errorf("from %s to %s there is no patch", from, to)
				}
				continue
			}
			got, err := applied(base, patch)
			if err != nil {
				t.Fatalf("from %s to %s: %v", from, to, err)
			}
			if reached := (&entry{pod: e.pod, base: got, status: status}); !same(reached) {
				t.Errorf("from %s to %s:\n%s leads to\n%+v, want\n%+v", from, to, patch, got, status)
			}
			if from != "none" && to != "none" && strings.Contains(string(patch), "hostIPs") {
				t.Errorf("from %s to %s: %s has what does not change", from, to, patch)
			}
		}
	}
}

// applied is the status after a patch.
func applied(base corev1.PodStatus, patch []byte) (corev1.PodStatus, error) {
	before, err := json.Marshal(corev1.Pod{Status: base})
	if err != nil {
		return base, fmt.Errorf("encode: %w", err)
	}
	after, err := strategicpatch.StrategicMergePatch(before, patch, corev1.Pod{})
	if err != nil {
		return base, fmt.Errorf("apply %s: %w", patch, err)
	}
	var p corev1.Pod
	if err := json.Unmarshal(after, &p); err != nil {
		return base, fmt.Errorf("decode: %w", err)
	}
	return p.Status, nil
}
