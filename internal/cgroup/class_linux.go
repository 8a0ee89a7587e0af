package cgroup

import (
	"context"
	"fmt"
	"maps"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	resourcehelper "k8s.io/component-helpers/resource"

	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/pod"
)

// classState is what a class's cgroup was last given. One goroutine at a time
// writes to it; who comes meanwhile leaves it to that one.
type classState struct {
	writing bool
	given   share
}

// remember notes what a pod asks of its class.
func (m *Manager) remember(p *corev1.Pod) {
	a := askOf(p)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asks[p.UID] = a
}

func askOf(p *corev1.Pod) ask {
	requests := resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{})
	return ask{class: pod.QOS(p), cpu: requests.Cpu().MilliValue(), memory: requests.Memory().Value()}
}

// forget drops a removed pod.
func (m *Manager) forget(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.asks, uid)
}

// adopt counts the pods that an agent before this one gave a cgroup: else the
// first pod of ours would take their part of the class away. What they ask is
// read from the limits they have, until somebody tells it.
func (m *Manager) adopt() {
	m.mu.Lock()
	done := m.adopted
	m.adopted = true
	m.mu.Unlock()
	if done {
		return
	}
	found := m.found()
	m.mu.Lock()
	defer m.mu.Unlock()
	for uid, a := range found {
		if _, known := m.asks[uid]; !known {
			m.asks[uid] = a
		}
	}
}

// found are the pods that have a cgroup. What cannot be read counts as nothing:
// the next [Manager.Settle] knows.
func (m *Manager) found() map[types.UID]ask {
	all := map[types.UID]ask{}
	for _, class := range classes() {
		uids, err := m.podsOf(class)
		if err != nil {
			m.log.Warn("Cannot see which pods have a cgroup; their part of the QoS class counts once they are looked at", zap.Error(err))
		}
		for _, uid := range uids {
			n, a := m.podName(class, uid), ask{class: class}
			l := Limits{}
			if class == corev1.PodQOSBurstable && m.host.has("cpu") && m.readCPU(n, &l) == nil {
				a.cpu = containerspec.MilliCPU(int64(l.CPUShares)) // #nosec G115 -- at most 2^18
			}
			if file := protectedBy(class); m.host.v2 && m.cfg.tiered() && file != "" {
				if bytes, err := m.number(n, "memory", file); err == nil {
					a.memory = max(bytes, 0)
				}
			}
			all[uid] = a
		}
	}
	return all
}

func protectedBy(class corev1.PodQOSClass) string {
	switch class {
	case corev1.PodQOSGuaranteed:
		return fileMemoryMin
	case corev1.PodQOSBurstable:
		return fileMemoryLow
	case corev1.PodQOSBestEffort:
	}
	return ""
}

// Settle gives the classes their part of the node again, as systemd or somebody
// else may have taken it away. pods are those that are to run on the node; others
// count as long as they have a cgroup. It is wanted at the start, when the pods
// are known, and every [SettleEvery].
func (m *Manager) Settle(ctx context.Context, pods []*corev1.Pod) error {
	if !m.cfg.PerQOS {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("settle the cgroups of the QoS classes: %w", err)
	}
	m.adopt()
	there, err := m.Pods()
	if err != nil {
		return err
	}
	keep := map[types.UID]bool{}
	for _, uid := range there {
		keep[uid] = true
	}
	wanted := map[types.UID]ask{}
	for _, p := range pods {
		wanted[p.UID] = askOf(p)
	}
	m.mu.Lock()
	for uid := range m.asks {
		if _, ok := wanted[uid]; !ok && !keep[uid] {
			delete(m.asks, uid)
		}
	}
	maps.Copy(m.asks, wanted)
	for _, state := range m.classes {
		state.given = share{}
	}
	m.mu.Unlock()
	m.settle()
	return nil
}

// settle writes to each class until it has what its pods ask for. What fails is
// said once; it is tried again with the next change.
func (m *Manager) settle() {
	for _, class := range classes() {
		for {
			want, mine := m.claim(class)
			if !mine {
				break
			}
			n := m.pods.class(class)
			if !m.complete(n) { // it comes with its first pod
				m.wrote(class, share{})
				break
			}
			if err := m.set(n, want.limits(class)); err != nil {
				m.wrote(class, share{})
				m.warn(string(class), "Cannot give a QoS class its part of the node", err)
				break
			}
			m.wrote(class, want)
		}
	}
}

func (m *Manager) claim(class corev1.PodQOSClass) (want share, mine bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	state := m.classes[class]
	if state.writing {
		return share{}, false
	}
	want = shareOf(class, m.asks, m.host.v2 && m.cfg.tiered())
	state.writing = want != state.given
	return want, state.writing
}

func (m *Manager) wrote(class corev1.PodQOSClass, given share) {
	m.mu.Lock()
	defer m.mu.Unlock()
	state := m.classes[class]
	state.writing, state.given = false, given
}
