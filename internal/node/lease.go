package node

import (
	"context"
	"fmt"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/apimachinery/lease"
	"k8s.io/utils/clock"
)

// keepLease renews the node's lease, the cheap heartbeat by which the control
// plane knows that the node is alive. It begins when the Node exists, because
// the lease belongs to it.
func (r *Registrar) keepLease(ctx context.Context) {
	select {
	case <-r.registered:
	case <-ctx.Done():
		return
	}
	d := r.cfg.Timing.LeaseDuration
	lease.NewController(clock.RealClock{}, r.deps.LeaseClient, r.cfg.Name, int32(d.Seconds()), r.deps.HeartbeatFailed, d/4,
		r.cfg.Name, corev1.NamespaceNodeLease, func(l *coordinationv1.Lease) error { return r.own(ctx, l) }).Run(ctx)
}

// own makes the Node the lease's owner, so that it goes with the Node.
func (r *Registrar) own(ctx context.Context, l *coordinationv1.Lease) error {
	if len(l.OwnerReferences) > 0 {
		return nil
	}
	n := r.node.Load()
	if n == nil {
		var err error
		if n, err = r.deps.LeaseClient.CoreV1().Nodes().Get(ctx, r.cfg.Name, metav1.GetOptions{}); err != nil {
			return fmt.Errorf("getting the Node that owns its lease: %w", err)
		}
	}
	l.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: corev1.SchemeGroupVersion.String(), Kind: "Node", Name: n.Name, UID: n.UID,
	}}
	return nil
}
