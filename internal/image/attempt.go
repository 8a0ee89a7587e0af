package image

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// lookAfter is how long the runtime may take to say what a failed pull left.
const lookAfter = 10 * time.Second

// recorded pulls an image and records what with.
func (p *Puller) recorded(ctx context.Context, w *want, credentials []Credential) (ref string, used int, err error) {
	records := p.cfg.Records
	if records == nil {
		return p.try(ctx, w, credentials)
	}
	before, _, there, err := p.service.ImagePresent(ctx, w.name)
	switch {
	case err != nil:
		return "", 0, fmt.Errorf("look for the image before its pull: %w", err)
	case !there:
		before = ""
	}
	if err := records.Begin(w.image); err != nil {
		return "", 0, fmt.Errorf("Failed to record image pull intent for container image %q: %w", w.image, err)
	}
	ref, used, err = p.try(ctx, w, credentials)
	if err != nil {
		records.End(w.image, p.left(ctx, w, before))
		return "", 0, err
	}
	by := sourceOf(credentials, used)
	records.End(w.image, Outcome{Ref: ref, By: &by})
	return ref, used, nil
}

// try pulls with one credential after the other.
func (p *Puller) try(ctx context.Context, w *want, credentials []Credential) (ref string, used int, err error) {
	if len(credentials) == 0 {
		if ref, err = p.service.PullImage(ctx, w.pod, w.name, nil); err != nil {
			return "", 0, refused([]error{err})
		}
		return ref, anonymous, nil
	}
	var errs []error
	for i := range credentials {
		if ref, err = p.service.PullImage(ctx, w.pod, w.name, &credentials[i].Auth); err == nil {
			return ref, i, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return "", 0, refused(errs)
}

// left tells what a pull that failed has left on the node. One that is given up
// may be done when the runtime hears of it: the image would be there for all, as
// if it had been brought to the node by its administrator.
func (p *Puller) left(ctx context.Context, w *want, before string) Outcome {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookAfter)
	defer cancel()
	ref, _, there, err := p.service.ImagePresent(ctx, w.name)
	switch {
	case err != nil:
		p.log.Info("What a failed pull left is not known, pods that want the image have to show that they may have it",
			zap.String("image", w.image), zap.Error(err))
		return Outcome{Unsure: true}
	case !there || ref == before:
		return Outcome{}
	}
	return Outcome{Ref: ref}
}
