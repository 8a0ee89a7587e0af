package access

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilcache "k8s.io/apimachinery/pkg/util/cache"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
)

const (
	// maxAnswers is how many answers about users are kept, the latest used.
	maxAnswers = 8192
	// reviewTimeout ends the wait for an API server that does not answer, all
	// attempts together.
	reviewTimeout = 30 * time.Second
)

// reviewer says whether a user may do what is asked, and why not.
type reviewer interface {
	allows(ctx context.Context, what authorizer.AttributesRecord) (allowed bool, reason string, err error)
}

// alwaysAllow is the mode AlwaysAllow.
type alwaysAllow struct{}

func (alwaysAllow) allows(context.Context, authorizer.AttributesRecord) (bool, string, error) {
	return true, "", nil
}

// reviews asks the API server and remembers what it said.
type reviews struct {
	client              authorizationclient.SubjectAccessReviewInterface
	allowedTTL, denyTTL time.Duration
	answers             *utilcache.LRUExpireCache // [sha256.Size]byte -> answer
}

type answer struct {
	allowed bool
	reason  string
}

func newReviews(client authorizationclient.SubjectAccessReviewInterface, allowedTTL, deniedTTL time.Duration) *reviews {
	return &reviews{client: client, allowedTTL: allowedTTL, denyTTL: deniedTTL, answers: utilcache.NewLRUExpireCache(maxAnswers)}
}

// allows implements reviewer. What is remembered depends on the user and on a
// handful of verbs and subresources: a caller cannot fill the cache with paths.
func (r *reviews) allows(ctx context.Context, what authorizer.AttributesRecord) (bool, string, error) {
	spec := authorizationv1.SubjectAccessReviewSpec{
		User: what.User.GetName(), UID: what.User.GetUID(), Groups: what.User.GetGroups(),
		Extra: make(map[string]authorizationv1.ExtraValue),
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Verb: what.Verb, Version: what.APIVersion, Resource: what.Resource, Subresource: what.Subresource, Name: what.Name,
		},
	}
	for k, v := range what.User.GetExtra() {
		spec.Extra[k] = v
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return false, "", fmt.Errorf("encoding a SubjectAccessReview: %w", err)
	}
	key := sha256.Sum256(text)
	if known, ok := r.answers.Get(key); ok {
		a := known.(answer)
		return a.allowed, a.reason, nil
	}
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	var said *authorizationv1.SubjectAccessReview
	err = retry(ctx, func() (err error) {
		said, err = r.client.Create(ctx, &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return false, "", fmt.Errorf("asking the API server (SubjectAccessReview): %w", err)
	}
	s := said.Status
	if s.Allowed && s.Denied {
		return false, "", errors.New("the API server's SubjectAccessReview both allows and denies")
	}
	a := answer{s.Allowed, s.Reason}
	if s.EvaluationError != "" {
		a.reason += " (evaluation error: " + s.EvaluationError + ")"
	}
	ttl := r.denyTTL
	if a.allowed {
		ttl = r.allowedTTL
	}
	if ttl > 0 {
		r.answers.Add(key, a, ttl)
	}
	return a.allowed, a.reason, nil
}

// retry calls f until it succeeds or fails for good, at most five times within
// about four seconds: the pauses are those that Kubernetes has for calls that
// ask about a request.
func retry(ctx context.Context, f func() error) error {
	pauses := wait.Backoff{Duration: 500 * time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: 5}
	var last error
	err := wait.ExponentialBackoffWithContext(ctx, pauses, func(context.Context) (bool, error) {
		last = f()
		if transient(last) {
			return false, nil
		}
		return true, last
	})
	if last != nil {
		return last
	}
	return err // the context ended before the first call, or nil
}

// transient reports whether an error of the API server may be gone in a moment.
func transient(err error) bool {
	if err == nil {
		return false
	}
	_, told := apierrors.SuggestsClientDelay(err)
	return told || utilnet.IsConnectionReset(err) || utilnet.IsHTTP2ConnectionLost(err) ||
		apierrors.IsInternalError(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err)
}
