package configmap

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"nodeagent.dev/nodeagent/internal/volume"
	"nodeagent.dev/nodeagent/internal/volume/content"
)

// Name is the plugin's name, part of paths on the disk.
const Name = "kubernetes.io/configmap"

// Objects finds the ConfigMaps that pods refer to.
type Objects interface {
	// ConfigMap returns a ConfigMap, which is not changed by who gets it. One that
	// does not exist satisfies apierrors.IsNotFound.
	ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error)
}

// New returns the plugin.
func New(objects Objects) volume.Live {
	return &plugin{objects: objects, Place: content.OnDisk()}
}

type plugin struct {
	*content.Place
	objects Objects
}

// Name implements [volume.Plugin].
func (*plugin) Name() string { return Name }

// Supports implements [volume.Plugin].
func (*plugin) Supports(s volume.Spec) bool { return s.Volume.ConfigMap != nil }

// Update implements [volume.Live].
func (p *plugin) Update(ctx context.Context, req volume.Request) (time.Time, error) {
	source := req.Volume.ConfigMap
	optional := source.Optional != nil && *source.Optional
	object, err := p.objects.ConfigMap(ctx, req.Pod.Namespace, source.Name)
	switch {
	case optional && apierrors.IsNotFound(err):
		object = &corev1.ConfigMap{}
	case err != nil:
		return time.Time{}, err
	}
	mode := content.ModeOr(source.DefaultMode, content.DefaultMode)
	files, err := content.FromConfigMap(object, source.Items, mode, optional)
	if err != nil {
		return time.Time{}, err
	}
	return p.Fill(ctx, req, files)
}
