package projected

import (
	"context"
	"errors"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/volume"
	"nodeagent.dev/nodeagent/internal/volume/content"
)

// Name is the plugin's name, part of paths on the disk.
const Name = "kubernetes.io/projected"

// Objects has the objects of the API server.
type Objects interface {
	// ConfigMap returns a ConfigMap; apierrors.IsNotFound: there is none.
	ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error)
	// Secret returns a Secret; apierrors.IsNotFound: there is none.
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
	// TrustAnchorsByName returns the certificates of a ClusterTrustBundle as PEM.
	TrustAnchorsByName(ctx context.Context, name string, optional bool) ([]byte, error)
	// TrustAnchorsBySigner returns those of all of a signer that are selected.
	TrustAnchorsBySigner(ctx context.Context, signer string, selector *metav1.LabelSelector, optional bool) ([]byte, error)
}

// Tokens makes tokens of service accounts.
type Tokens interface {
	// TokenDue returns the request with its status, and when to ask again.
	TokenDue(ctx context.Context, namespace, serviceAccount string, req *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, time.Time, error)
	// Drop forgets the tokens of a pod.
	Drop(uid types.UID)
}

// Certificates makes certificates of pods.
type Certificates interface {
	// Certificate returns the key and the certificates, as PEM, for a source of a
	// volume of the pod. Who makes them says when there are others.
	Certificate(ctx context.Context, p *corev1.Pod, volume string, source int) (key, chain []byte, err error)
	// Drop forgets the certificates of a pod.
	Drop(uid types.UID)
}

// Config is what the plugin needs to know, and whom it asks.
type Config struct {
	// AllocatableMemory is what pods may use on this node, in bytes: no volume gets
	// larger. 0 leaves the kernel's limit, half of the memory.
	AllocatableMemory int64
	// Allocatable is what resource fields show for a container without a limit; nil:
	// not known.
	Allocatable func() corev1.ResourceList
	// Objects, Tokens and Certificates are nil together: the node has no API server.
	Objects      Objects
	Tokens       Tokens
	Certificates Certificates
}

// New returns the plugin.
func New(cfg Config) volume.Live {
	return &plugin{cfg: cfg, Place: content.InMemory(cfg.AllocatableMemory)}
}

type plugin struct {
	*content.Place
	cfg Config
}

// Name implements [volume.Plugin].
func (*plugin) Name() string { return Name }

// Supports implements [volume.Plugin].
func (*plugin) Supports(s volume.Spec) bool { return s.Volume.Projected != nil }

// Update implements [volume.Live]. It is due when the first token is.
func (p *plugin) Update(ctx context.Context, req volume.Request) (due time.Time, err error) {
	if req.Volume.Projected == nil {
		return due, errors.New("the volume is not a projected one any more")
	}
	if p.cfg.Objects == nil || p.cfg.Tokens == nil || p.cfg.Certificates == nil {
		return due, fmt.Errorf("cannot setup projected volume %s because kube client is not configured", req.Volume.Name)
	}
	c := collector{
		Config: p.cfg, pod: req.Pod, volume: req.Volume.Name, user: user(req.Pod), files: content.Files{},
		mode: content.ModeOr(req.Volume.Projected.DefaultMode, content.DefaultMode),
	}
	if err := c.collect(ctx, req.Volume.Projected.Sources); err != nil {
		return due, err
	}
	due, err = p.Fill(ctx, req, c.files)
	return earlier(due, c.due), err
}

// Unmount implements [volume.Plugin].
func (p *plugin) Unmount(ctx context.Context, ref volume.Ref) error {
	if err := p.Place.Unmount(ctx, ref); err != nil {
		return err
	}
	if p.cfg.Tokens != nil {
		p.cfg.Tokens.Drop(ref.UID)
	}
	if p.cfg.Certificates != nil {
		p.cfg.Certificates.Drop(ref.UID)
	}
	return nil
}

// earlier returns the first of two times; zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// user is the user that all containers of a pod run as; nil: they do not, or one
// does not say. Files that are not for everybody are then given to it.
func user(p *corev1.Pod) *int64 {
	var shared *int64
	for _, c := range pod.Containers(p) {
		var own *int64
		if p.Spec.SecurityContext != nil {
			own = p.Spec.SecurityContext.RunAsUser
		}
		if c.SecurityContext != nil && c.SecurityContext.RunAsUser != nil {
			own = c.SecurityContext.RunAsUser
		}
		if own == nil || shared != nil && *shared != *own {
			return nil
		}
		shared = own
	}
	return shared
}
