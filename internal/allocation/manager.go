package allocation

import (
	"errors"
	"sync"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/admission"
	"nodeagent.dev/nodeagent/internal/pod"
)

// Names of the files, the kubelet's.
const (
	allocatedFile = "allocated_pods_state"
	actuatedFile  = "actuated_pods_state"
)

// Config is what a [Manager] needs to know.
type Config struct {
	// RootDir is the agent's root directory, /var/lib/kubelet. It has to exist.
	RootDir string
	// Rules say which pods the node takes.
	Rules *admission.Rules
	// Node is what is known of the node now; not ok: too little to decide on pods
	// from the API.
	Node func() (n admission.Node, ok bool)
	// Infeasible says why a pod can never be resized on this node as it asks; empty:
	// it can. It may be nil.
	Infeasible func(wanted, allocated *corev1.Pod) string
}

// Manager allocates. It is safe for concurrent use; decisions that depend on each
// other are the caller's to put in order.
type Manager struct {
	cfg       Config
	allocated *ledger
	actuated  *ledger

	mu sync.Mutex
	// tenants are the pods that others were decided on beside, as they were measured.
	tenants map[types.UID]*admission.Tenant
}

// New reads what was allocated before.
func New(cfg Config, log *zap.Logger) (*Manager, error) {
	if cfg.Rules == nil || cfg.Node == nil {
		return nil, errors.New("allocation: Rules and Node are required")
	}
	m := &Manager{cfg: cfg, tenants: map[types.UID]*admission.Tenant{}}
	var err error
	if m.allocated, err = openLedger(cfg.RootDir, allocatedFile, log); err != nil {
		return nil, err
	}
	m.actuated, err = openLedger(cfg.RootDir, actuatedFile, log)
	return m, err
}

// Close writes down what is not yet.
func (m *Manager) Close() {
	m.allocated.close()
	m.actuated.close()
}

// Admit decides about a pod that the node does not run yet. others are those it
// does, with the resources they have been allocated.
func (m *Manager) Admit(spec pod.Spec, others []*corev1.Pod) pod.Admission {
	node, ok := m.cfg.Node()
	if !ok && !spec.Static() {
		return pod.Admission{Later: true}
	}
	allocated := spec.Pod
	if r, known := m.allocated.get(spec.Pod.UID); known {
		allocated = r.applied(spec.Pod)
	}
	d := m.cfg.Rules.Admit(allocated, spec.Static(), m.measured(others), node)
	switch {
	case d.Reject != nil:
		return pod.Admission{Reason: d.Reject.Reason, Message: d.Reject.Message, Event: d.Reject.Event()}
	case len(d.Preempt) > 0:
		return pod.Admission{Preempt: d.Preempt, Short: d.Short, Later: true}
	}
	m.allocated.put(spec.Pod.UID, recordOf(allocated), false)
	return pod.Admission{Pod: allocated}
}

// measured is what the pods have; each is measured once.
func (m *Manager) measured(pods []*corev1.Pod) []*admission.Tenant {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]*admission.Tenant, 0, len(pods))
	for _, p := range pods {
		t := m.tenants[p.UID]
		if t == nil || t.Pod() != p {
			t = m.cfg.Rules.Tenant(p)
			m.tenants[p.UID] = t
		}
		all = append(all, t)
	}
	return all
}

// Resize decides about newer resources of a pod that the node runs. old is what
// it was told before; others, those it runs beside it, are asked for if need be.
func (m *Manager) Resize(spec pod.Spec, old pod.Resize, others func() []*corev1.Pod) pod.Admission {
	r, known := m.allocated.get(spec.Pod.UID)
	if !known {
		return pod.Admission{Pod: spec.Pod}
	}
	allocated := r.applied(spec.Pod)
	if allocated == spec.Pod {
		return pod.Admission{Pod: spec.Pod, Resize: pod.Resize{Generation: old.Generation}}
	}
	pending := m.refuse(spec, allocated, others)
	if pending != nil {
		return pod.Admission{Pod: allocated, Resize: pod.Resize{Pending: pending, Generation: old.Generation}}
	}
	m.allocated.put(spec.Pod.UID, recordOf(spec.Pod), true)
	return pod.Admission{Pod: spec.Pod, Resize: pod.Resize{Generation: spec.Pod.Generation}}
}

// refuse says why a resize cannot be had now, or ever.
func (m *Manager) refuse(spec pod.Spec, allocated *corev1.Pod, others func() []*corev1.Pod) *pod.PendingResize {
	refused := func(reason, message string) *pod.PendingResize {
		return &pod.PendingResize{Reason: reason, Message: message, Generation: spec.Pod.Generation}
	}
	if m.cfg.Infeasible != nil {
		if why := m.cfg.Infeasible(spec.Pod, allocated); why != "" {
			return refused(corev1.PodReasonInfeasible, why)
		}
	}
	node, ok := m.cfg.Node()
	if !ok {
		return refused(corev1.PodReasonDeferred, "the node is not known yet")
	}
	if short := m.cfg.Rules.Insufficient(spec.Pod, m.measured(others()), node.Allocatable); len(short) > 0 {
		return refused(corev1.PodReasonDeferred, short[0].String())
	}
	return nil
}

// Actuated is what the pod's containers were given last.
func (m *Manager) Actuated(uid types.UID) pod.Actuation {
	r, _ := m.actuated.get(uid)
	return pod.Actuation{Containers: r.ContainerResources, Pod: r.PodLevelResources}
}

// SetActuated notes what the pod's containers are given; with now it is on the disk
// when it returns.
func (m *Manager) SetActuated(uid types.UID, a pod.Actuation, now bool) {
	m.actuated.put(uid, record{ContainerResources: a.Containers, PodLevelResources: a.Pod}, now)
}

// Forget drops what is noted of a pod.
func (m *Manager) Forget(uid types.UID) {
	m.allocated.drop(uid)
	m.actuated.drop(uid)
	m.mu.Lock()
	delete(m.tenants, uid)
	m.mu.Unlock()
}

// Retain forgets every pod that keep does not know. It is for once, when all pods
// of the node are known.
func (m *Manager) Retain(keep func(types.UID) bool) {
	for _, l := range []*ledger{m.allocated, m.actuated} {
		for _, uid := range l.pods() {
			if !keep(uid) {
				l.drop(uid)
			}
		}
	}
}

// recordOf is what a pod asks for.
func recordOf(p *corev1.Pod) record {
	r := record{ContainerResources: map[string]corev1.ResourceRequirements{}, PodLevelResources: p.Spec.Resources.DeepCopy()}
	for k, c := range pod.Containers(p) {
		if k != pod.KindEphemeral {
			r.ContainerResources[c.Name] = *c.Resources.DeepCopy()
		}
	}
	return r
}

// applied is the pod with the resources of the record; the same object if that is
// what it asks for.
func (r record) applied(p *corev1.Pod) *corev1.Pod {
	out := p
	mine := func() *corev1.Pod {
		if out == p {
			out = p.DeepCopy()
		}
		return out
	}
	if !apiequality.Semantic.DeepEqual(p.Spec.Resources, r.PodLevelResources) {
		mine().Spec.Resources = r.PodLevelResources.DeepCopy()
	}
	for k, c := range pod.Containers(p) {
		given, ok := r.ContainerResources[c.Name]
		if !ok || k == pod.KindEphemeral || apiequality.Semantic.DeepEqual(c.Resources, given) {
			continue
		}
		own, _ := pod.Find(mine(), c.Name)
		own.Resources = *given.DeepCopy()
	}
	return out
}
