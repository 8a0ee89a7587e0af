package image

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Service is what the puller needs from the runtime.
type Service interface {
	// ImagePresent looks for an image. imageRef is what a container is made from.
	ImagePresent(ctx context.Context, ref string) (imageRef string, size int64, ok bool, err error)
	// PullImage pulls an image for a pod and returns what a container is made from.
	// auth may be nil.
	PullImage(ctx context.Context, p *corev1.Pod, ref string, auth *pod.RegistryAuth) (imageRef string, err error)
}

// Puller makes images present. It is safe for concurrent use.
type Puller struct {
	cfg     Config
	service Service
	log     *zap.Logger
	pulls   flights
}

// New returns a puller.
func New(cfg Config, service Service, log *zap.Logger) (*Puller, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg.Hooks = cfg.Hooks.withDefaults()
	return &Puller{cfg: cfg, service: service, log: log, pulls: flights{limits: cfg.limits(), flying: map[key]*flight{}}}, nil
}

// want is an image that a container wants.
type want struct {
	pod *corev1.Pod
	// image is the reference as the pod has it, name the same with a tag.
	image, name string
	policy      corev1.PullPolicy
	// credentials are looked up once, by the first who asks.
	credentials func() ([]Credential, error)
	// there and pull are whether the image was there and has to be pulled; nil: it
	// was not found out.
	there, pull *bool
}

// Ensure makes the container's image present as its pull policy says. It returns
// a [pod.Failure] when that cannot be done, and the context's error, wrapped,
// when the caller no longer wants it.
func (p *Puller) Ensure(ctx context.Context, req pod.ImageRequest) (pod.ImageResult, error) {
	w := want{pod: req.Pod, image: req.Container.Image}
	name, latest, err := normalise(w.image)
	if err != nil {
		return pod.ImageResult{}, invalidName(w.image, err)
	}
	w.name, w.policy = name, policyOf(req.Container, latest)
	w.credentials = sync.OnceValues(func() ([]Credential, error) {
		if p.cfg.Keyring == nil {
			return nil, nil
		}
		return p.cfg.Keyring.For(ctx, w.pod, w.name) //nolint:wrapcheck // users read it
	})
	defer func() { p.cfg.Hooks.Ensured(w.policy, w.there, w.pull) }()
	if w.policy != corev1.PullAlways {
		if res, done, err := p.present(ctx, &w); done || err != nil {
			return res, p.settle(ctx, &w, err)
		}
	}
	if w.pull == nil { // nobody looked whether it is there
		must := true
		w.pull = &must
	}
	res, err := p.fetch(ctx, req, &w)
	if err == nil {
		return res, nil
	}
	err = p.settle(ctx, &w, err)
	p.tellMissing(ctx, req.Pod, err)
	return pod.ImageResult{}, err
}

// settle lets the end of the caller's interest go before whatever it led to.
func (p *Puller) settle(ctx context.Context, w *want, err error) error {
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("make image %q present: %w", w.image, context.Cause(ctx))
	}
	return err
}

// present looks whether the image is there and may be used by the pod.
func (p *Puller) present(ctx context.Context, w *want) (res pod.ImageResult, done bool, err error) {
	ref, size, there, err := p.service.ImagePresent(ctx, w.name)
	if err != nil {
		return res, false, inspectFailed(w.name, err)
	}
	pull := !there
	if there && p.cfg.Records != nil {
		if pull, err = p.cfg.Records.MustPull(w.image, ref, w.credentials); err != nil {
			return res, false, pullFailed(w.image, err)
		}
	}
	w.there, w.pull = &there, &pull
	switch {
	case !pull:
		return pod.ImageResult{Image: pod.Image{Name: w.name, Ref: ref, UserSpecified: w.image}, Size: size}, true, nil
	case w.policy == corev1.PullNever:
		return res, false, neverPull(w.image)
	}
	return res, false, nil
}

// fetch pulls the image, or waits for whoever does.
func (p *Puller) fetch(ctx context.Context, req pod.ImageRequest, w *want) (pod.ImageResult, error) {
	credentials, err := w.credentials()
	if err != nil {
		return pod.ImageResult{}, pullFailed(w.image, err)
	}
	k := key{image: w.image, namespace: w.pod.Namespace, credentials: digest(credentials)}
	if class := w.pod.Spec.RuntimeClassName; class != nil {
		k.class = *class
	}
	if req.Pulling != nil {
		req.Pulling()
	}
	p.cfg.Hooks.Pulling(w.pod.UID)
	var mine bool // whether this call's pull is the one that all wait for
	asked := time.Now()
	got, err := p.pulls.join(ctx, k, func(ctx context.Context) (pulled, error) {
		mine = true
		return p.pull(ctx, w, credentials)
	}, p.tellProgress(req))
	if err != nil {
		return pod.ImageResult{}, err
	}
	if by := sourceOf(credentials, got.used); !mine && p.cfg.Records != nil {
		p.cfg.Records.Add(w.image, got.ref, by)
	}
	waited := time.Since(asked)
	p.cfg.Hooks.Pulled(w.pod.UID, waited, got.size)
	return pod.ImageResult{Image: pod.Image{Name: w.name, Ref: got.ref, UserSpecified: w.image}, Pulled: true,
		Size: got.size, Took: got.took, Waited: waited}, nil
}

// pull is one pull, for whoever waits for it.
func (p *Puller) pull(ctx context.Context, w *want, credentials []Credential) (pulled, error) {
	began := time.Now()
	ref, used, err := p.recorded(ctx, w, credentials)
	took := time.Since(began)
	if err != nil {
		return pulled{}, pullFailed(w.image, err)
	}
	// The size is for an event's text: not worth a failure.
	_, size, _, err := p.service.ImagePresent(ctx, w.name)
	if err != nil {
		p.log.Debug("The size of a pulled image is not known", zap.String("image", w.name), zap.Error(err))
	}
	return pulled{ref: ref, size: size, took: took, used: used}, nil
}

// tellProgress tells users that they are not forgotten.
func (p *Puller) tellProgress(req pod.ImageRequest) news {
	return func(waited time.Duration, pulling bool) {
		doing := "still waiting for its turn"
		if pulling {
			doing = "still pulling"
		}
		p.event(req.Pod, req.Container.Name, false, "Pulling",
			fmt.Sprintf("Pulling image %q: %s after %s", req.Container.Image, doing, waited))
	}
}

// tellMissing tells after a failed pull that secrets are missing, in the
// kubelet's words. A registry that could not be asked does not miss them.
func (p *Puller) tellMissing(ctx context.Context, of *corev1.Pod, err error) {
	if p.cfg.MissingSecrets == nil || len(of.Spec.ImagePullSecrets) == 0 || pod.Reason(err, "") != ReasonPull {
		return
	}
	if missing := p.cfg.MissingSecrets(ctx, of); len(missing) > 0 {
		p.event(of, "", true, "FailedToRetrieveImagePullSecret", fmt.Sprintf("Unable to retrieve some image pull secrets (%s); "+
			"attempting to pull the image may not succeed.", strings.Join(missing, ", ")))
	}
}

func (p *Puller) event(of *corev1.Pod, container string, warning bool, reason, message string) {
	if p.cfg.Events != nil {
		p.cfg.Events.Event(of, container, warning, reason, message)
	}
}

// Waiting lists the pulls in flight or in the queue, the longest waited for
// first.
func (p *Puller) Waiting() []Waiting { return p.pulls.waiting() }
