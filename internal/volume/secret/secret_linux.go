package secret

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"nodeagent.dev/nodeagent/internal/volume"
	"nodeagent.dev/nodeagent/internal/volume/content"
)

// Name is the plugin's name, part of paths on the disk.
const Name = "kubernetes.io/secret"

// Objects finds the Secrets that pods refer to.
type Objects interface {
	// Secret returns a Secret, which is not changed by who gets it. One that does
	// not exist satisfies apierrors.IsNotFound.
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
}

// Config is what the plugin needs to know.
type Config struct {
	Objects Objects
	// AllocatableMemory is what pods may use on this node, in bytes: no volume gets
	// larger. 0 leaves the kernel's limit, half of the memory.
	AllocatableMemory int64
}

// New returns the plugin.
func New(cfg Config) volume.Live {
	return &plugin{objects: cfg.Objects, Place: content.InMemory(cfg.AllocatableMemory)}
}

type plugin struct {
	*content.Place
	objects Objects
}

// Name implements [volume.Plugin].
func (*plugin) Name() string { return Name }

// Supports implements [volume.Plugin].
func (*plugin) Supports(s volume.Spec) bool { return s.Volume.Secret != nil }

// Update implements [volume.Live].
func (p *plugin) Update(ctx context.Context, req volume.Request) (time.Time, error) {
	source := req.Volume.Secret
	optional := source.Optional != nil && *source.Optional
	object, err := p.objects.Secret(ctx, req.Pod.Namespace, source.SecretName)
	switch {
	case optional && apierrors.IsNotFound(err):
		object = &corev1.Secret{}
	case err != nil:
		return time.Time{}, err
	}
	mode := content.ModeOr(source.DefaultMode, content.DefaultMode)
	files, err := content.FromSecret(object, source.Items, mode, optional)
	if err != nil {
		return time.Time{}, err
	}
	return p.Fill(ctx, req, files)
}
