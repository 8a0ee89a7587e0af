package image

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/volume"
)

// Plugin is the volume type image.
type Plugin struct{}

// New returns the plugin.
func New() Plugin { return Plugin{} }

// Name implements [volume.Plugin].
func (Plugin) Name() string { return "kubernetes.io/image" }

// Supports implements [volume.Plugin].
func (Plugin) Supports(v *corev1.Volume) bool { return v.Image != nil }

// Mount implements [volume.Plugin].
func (Plugin) Mount(context.Context, volume.Request) (pod.Volume, error) {
	return pod.Volume{ReadOnly: true}, nil
}

// Unmount implements [volume.Plugin].
func (Plugin) Unmount(context.Context, volume.Ref) error { return nil }
