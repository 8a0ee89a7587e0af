package cgroup

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	resourcehelper "k8s.io/component-helpers/resource"
)

// classState is what a class's cgroup was last given. One goroutine at a time
// writes to it; who comes meanwhile leaves it to that one.
type classState struct {
	writing bool
	shares  uint64
}

// remember notes what a pod asks of its class.
func (m *Manager) remember(class corev1.PodQOSClass, p *corev1.Pod) {
	if class != corev1.PodQOSBurstable {
		return
	}
	requests := resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{})
	m.mu.Lock()
	defer m.mu.Unlock()
	m.burstable[p.UID] = requests.Cpu().MilliValue()
}

// forget drops a removed pod, and reports whether that changes anything.
func (m *Manager) forget(uid types.UID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.burstable[uid]
	delete(m.burstable, uid)
	return ok
}

// settle gives a class its part of the CPU, until that is what its pods ask for:
// BestEffort gets the least there is, Burstable the sum of its pods' requests.
// Guaranteed pods are right below kubepods.
func (m *Manager) settle(class corev1.PodQOSClass) {
	for {
		want, mine := m.claim(class)
		if !mine {
			return
		}
		handle, err := m.handle(m.pods.class(class))
		if err == nil {
			err = handle.Set(m.host.cpu(limits{shares: want}))
		}
		m.wrote(class, want, err)
		if err != nil {
			m.warn("cpu", "Cannot set the CPU shares of a QoS class", err)
			return
		}
	}
}

func (m *Manager) claim(class corev1.PodQOSClass) (want uint64, mine bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	state := m.classes[class]
	if state == nil || state.writing {
		return 0, false
	}
	want = minShares
	if class == corev1.PodQOSBurstable {
		sum := int64(0)
		for _, milli := range m.burstable {
			sum += milli
		}
		want = shares(sum)
	}
	state.writing = want != state.shares
	return want, state.writing
}

func (m *Manager) wrote(class corev1.PodQOSClass, want uint64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	state := m.classes[class]
	state.writing = false
	if err == nil {
		state.shares = want
	}
}
