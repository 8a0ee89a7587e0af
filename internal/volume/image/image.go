package image

import (
	"context"

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
func (Plugin) Supports(s volume.Spec) bool { return s.Volume.Image != nil }

// Mount implements [volume.Plugin].
func (Plugin) Mount(context.Context, volume.Request) (pod.Volume, error) {
	return pod.Volume{ReadOnly: true}, nil
}

// Unmount implements [volume.Plugin].
func (Plugin) Unmount(context.Context, volume.Ref) error { return nil }
