package status

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"nodeagent.dev/nodeagent/internal/pod"
)

// wanted is the status to reach from base: ours, with what others own left as
// the API has it.
func wanted(e *entry) corev1.PodStatus {
	s := e.status
	s.Conditions = nil
	for _, c := range e.base.Conditions {
		if !pod.OwnCondition(c.Type) {
			s.Conditions = append(s.Conditions, c)
		}
	}
	for _, c := range e.status.Conditions {
		if pod.OwnCondition(c.Type) {
			s.Conditions = append(s.Conditions, c)
		}
	}
	s.ResourceClaimStatuses = e.base.ResourceClaimStatuses
	s.ExtendedResourceClaimStatus = e.base.ExtendedResourceClaimStatus
	s.NodeAllocatableResourceClaimStatuses = e.base.NodeAllocatableResourceClaimStatuses
	if e.base.QOSClass != "" {
		s.QOSClass = e.base.QOSClass
	}
	return s
}

// same reports whether the API already holds the entry's status.
func same(e *entry) bool {
	s, base := wanted(e), e.base
	if !sameConditions(s.Conditions, base.Conditions) {
		return false
	}
	s.Conditions, base.Conditions = nil, nil
	return equality.Semantic.DeepEqual(s, base)
}

// sameConditions compares without regard to order: the API keeps its own.
func sameConditions(a, b []corev1.PodCondition) bool {
	if len(a) != len(b) {
		return false
	}
	byType := make(map[corev1.PodConditionType]*corev1.PodCondition, len(b))
	for i := range b {
		byType[b[i].Type] = &b[i]
	}
	for i := range a {
		if o := byType[a[i].Type]; o == nil || !equality.Semantic.DeepEqual(a[i], *o) {
			return false
		}
	}
	return true
}

// patchFor returns the strategic merge patch from base to the wanted status,
// bound to the pod's UID; nil when there is nothing to change.
func patchFor(e *entry) ([]byte, error) {
	is, want := e.base, wanted(e)
	if !leaveEqual(&is, &want) {
		return nil, nil
	}
	before, err := json.Marshal(patched{Status: is})
	if err != nil {
		return nil, fmt.Errorf("encoding the status the API holds: %w", err)
	}
	after, err := json.Marshal(patched{Metadata: identity{UID: e.pod.UID}, Status: want})
	if err != nil {
		return nil, fmt.Errorf("encoding the status wanted: %w", err)
	}
	return strategicpatch.CreateTwoWayMergePatch(before, after, corev1.Pod{})
}

// leaveEqual leaves out of two statuses what is equal in both, which is most of them and
// would be encoded, decoded and compared for nothing. It reports whether anything is
// left. What the statuses share with others is not changed.
func leaveEqual(a, b *corev1.PodStatus) (differ bool) {
	// Where a condition has to go, the list must not look as if all had to.
	if left, right := without(a.Conditions, b.Conditions), without(b.Conditions, a.Conditions); len(left) <= len(right) {
		a.Conditions, b.Conditions = left, right
	}
	left, right := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	for i := range left.NumField() {
		if equality.Semantic.DeepEqual(left.Field(i).Interface(), right.Field(i).Interface()) {
			left.Field(i).SetZero()
			right.Field(i).SetZero()
		} else {
			differ = true
		}
	}
	return differ
}

// without returns the conditions that are not among others.
func without(all, others []corev1.PodCondition) (left []corev1.PodCondition) {
	for i := range all {
		if !slices.ContainsFunc(others, func(o corev1.PodCondition) bool {
			return o.Type == all[i].Type && equality.Semantic.DeepEqual(o, all[i])
		}) {
			left = append(left, all[i])
		}
	}
	return left
}

// patched is the part of a pod that a status patch speaks of.
type patched struct {
	Metadata identity         `json:"metadata"`
	Status   corev1.PodStatus `json:"status"`
}

type identity struct {
	UID types.UID `json:"uid,omitempty"`
}

// newer reports whether version a is later than b. Versions that cannot be
// compared count as newer: the latest thing heard is believed.
func newer(a, b string) bool {
	c, err := resourceversion.CompareResourceVersion(a, b)
	return err != nil || c > 0
}
