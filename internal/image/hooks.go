package image

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Hooks are told what is counted; any of them may be nil. Any goroutine calls
// them, and none waits for them long.
type Hooks struct {
	// Ensured: an image was asked for, by a pull policy. present says whether it was
	// there and pull whether it had to be pulled; nil: that was not found out.
	Ensured func(policy corev1.PullPolicy, present, pull *bool)
	// Pulling: an image is pulled for a pod, which waits for it. Pulled: it was,
	// after this time, with this size in bytes; 0: unknown.
	Pulling func(uid types.UID)
	Pulled  func(uid types.UID, took time.Duration, size int64)
}

func (h Hooks) withDefaults() Hooks {
	if h.Ensured == nil {
		h.Ensured = func(corev1.PullPolicy, *bool, *bool) {}
	}
	if h.Pulling == nil {
		h.Pulling = func(types.UID) {}
	}
	if h.Pulled == nil {
		h.Pulled = func(types.UID, time.Duration, int64) {}
	}
	return h
}
