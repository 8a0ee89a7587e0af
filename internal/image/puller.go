package image

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Service is what the puller needs from the runtime.
type Service interface {
	// ImagePresent looks for an image. imageRef is what a container is made from.
	ImagePresent(ctx context.Context, ref string) (imageRef string, size int64, ok bool, err error)
	// PullImage pulls an image and returns what a container is made from.
	// userSpecified is the reference as the pod has it.
	PullImage(ctx context.Context, ref, userSpecified string) (imageRef string, err error)
}

// Puller makes images present. It is safe for concurrent use.
type Puller struct {
	service Service
	log     *zap.Logger
	pulls   flights
}

// New returns a puller.
func New(cfg Config, service Service, log *zap.Logger) (*Puller, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Puller{service: service, log: log, pulls: flights{limits: cfg.limits(), flying: map[string]*flight{}}}, nil
}

// Ensure makes the container's image present as its pull policy says. It returns
// a [pod.Failure] when that cannot be done, and the context's error, wrapped,
// when the caller no longer wants it.
func (p *Puller) Ensure(ctx context.Context, req pod.ImageRequest) (pod.ImageResult, error) {
	image := req.Container.Image
	name, latest, err := normalise(image)
	if err != nil {
		return pod.ImageResult{}, invalidName(image, err)
	}
	policy := policyOf(req.Container, latest)
	if policy != corev1.PullAlways {
		ref, size, present, err := p.service.ImagePresent(ctx, name)
		switch {
		case ctx.Err() != nil:
			return pod.ImageResult{}, fmt.Errorf("look for image %q: %w", name, context.Cause(ctx))
		case err != nil:
			return pod.ImageResult{}, inspectFailed(name, err)
		case present:
			return pod.ImageResult{Image: pod.Image{Name: name, Ref: ref, UserSpecified: image}, Size: size}, nil
		case policy == corev1.PullNever:
			return pod.ImageResult{}, neverPull(image)
		}
	}
	if req.Pulling != nil {
		req.Pulling()
	}
	asked := time.Now()
	got, err := p.pulls.join(ctx, name, func(ctx context.Context) (pulled, error) { return p.pull(ctx, name, image) })
	if err != nil {
		return pod.ImageResult{}, err
	}
	return pod.ImageResult{Image: pod.Image{Name: name, Ref: got.ref, UserSpecified: image}, Pulled: true,
		Size: got.size, Took: got.took, Waited: time.Since(asked)}, nil
}

// pull is one pull, for whoever waits for it.
func (p *Puller) pull(ctx context.Context, name, userSpecified string) (pulled, error) {
	began := time.Now()
	ref, err := p.service.PullImage(ctx, name, userSpecified)
	took := time.Since(began)
	if err != nil {
		return pulled{}, pullFailed(name, err)
	}
	// The size is for an event's text: not worth a failure.
	_, size, _, err := p.service.ImagePresent(ctx, name)
	if err != nil {
		p.log.Debug("The size of a pulled image is not known", zap.String("image", name), zap.Error(err))
	}
	return pulled{ref: ref, size: size, took: took}, nil
}

// Waiting lists the pulls in flight or in the queue, the longest waited for
// first.
func (p *Puller) Waiting() []Waiting { return p.pulls.waiting() }
