package downwardapi

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/volume"
	"nodeagent.dev/nodeagent/internal/volume/content"
)

// Name is the plugin's name, part of paths on the disk.
const Name = "kubernetes.io/downward-api"

// Config is what the plugin needs to know.
type Config struct {
	// Allocatable is the Node's status.allocatable, which stands in for limits that
	// are not set; it is asked at each update. Nil: nothing stands in for them.
	Allocatable func() corev1.ResourceList
	// AllocatableMemory is what pods may use on this node, in bytes: no volume gets
	// larger. 0 leaves the kernel's limit, half of the memory.
	AllocatableMemory int64
}

// New returns the plugin.
func New(cfg Config) volume.Live {
	return &plugin{allocatable: cfg.Allocatable, Place: content.InMemory(cfg.AllocatableMemory)}
}

type plugin struct {
	*content.Place
	allocatable func() corev1.ResourceList
}

// Name implements [volume.Plugin].
func (*plugin) Name() string { return Name }

// Supports implements [volume.Plugin].
func (*plugin) Supports(s volume.Spec) bool { return s.Volume.DownwardAPI != nil }

// Update implements [volume.Live].
func (p *plugin) Update(ctx context.Context, req volume.Request) (time.Time, error) {
	source := req.Volume.DownwardAPI
	var allocatable corev1.ResourceList
	if p.allocatable != nil {
		allocatable = p.allocatable()
	}
	mode := content.ModeOr(source.DefaultMode, content.DefaultMode)
	files, err := content.FromDownward(req.Pod, source.Items, mode, allocatable)
	if err != nil {
		return time.Time{}, err
	}
	return p.Fill(ctx, req, files)
}
