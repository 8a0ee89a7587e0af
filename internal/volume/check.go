package volume

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Check fails if a volume that a container mounts is not what the pod asks for any
// more: see [Checked]. What failed is a [pod.Failure]. Volumes behind claims are not
// looked at again.
func (m *Manager) Check(ctx context.Context, p *corev1.Pod, c *corev1.Container) error {
	mounted := map[string]bool{}
	for i := range c.VolumeMounts {
		mounted[c.VolumeMounts[i].Name] = true
	}
	checks := map[*corev1.Volume]Checked{}
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if !mounted[v.Name] {
			continue
		}
		if plugin, is := m.supporting(Spec{Volume: v}).(Checked); is {
			checks[v] = plugin
		}
	}
	if len(checks) == 0 {
		return nil
	}
	// What is there may hang.
	return m.jobs.do(ctx, p.UID, "looking at the volumes", func(context.Context) error {
		for v, plugin := range checks {
			if err := plugin.Check(Spec{Volume: v}); err != nil {
				return &pod.Failure{Reason: pod.ReasonContainerConfig, Message: err.Error(), Err: err}
			}
		}
		return nil
	})
}
