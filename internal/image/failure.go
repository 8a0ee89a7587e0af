package image

import (
	"fmt"
	"strings"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	"nodeagent.dev/nodeagent/internal/pod"
)

// The reasons a container waits with when its image cannot be had, in the
// kubelet's words.
const (
	ReasonInvalidName         = "InvalidImageName"
	ReasonInspect             = "ImageInspectError"
	ReasonNeverPull           = "ErrImageNeverPull"
	ReasonPull                = pod.ReasonPull
	ReasonRegistryUnavailable = pod.ReasonRegistryUnavailable
	ReasonSignature           = pod.ReasonSignature
)

func invalidName(image string, err error) error {
	return &pod.Failure{Reason: ReasonInvalidName, Message: fmt.Sprintf("Failed to apply default image tag %q: %v", image, err), Err: err}
}

func inspectFailed(name string, err error) error {
	return &pod.Failure{Reason: ReasonInspect, Message: fmt.Sprintf("Failed to inspect image %q: %v", name, err), Err: err}
}

func neverPull(image string) error {
	return &pod.Failure{Reason: ReasonNeverPull, Message: fmt.Sprintf("Container image %q is not present with pull policy of Never", image)}
}

// pullFailed sorts errors by the word they begin with: gRPC carries errors as
// text, and CRI agrees on these words. image is the reference as the pod has it.
func pullFailed(image string, err error) error {
	text := err.Error()
	if detail, ok := strings.CutPrefix(text, ReasonRegistryUnavailable); ok {
		return &pod.Failure{Reason: ReasonRegistryUnavailable, Err: err,
			Message: fmt.Sprintf("image pull failed for %s because the registry is unavailable%s", image, detail)}
	}
	if detail, ok := strings.CutPrefix(text, ReasonSignature); ok {
		return &pod.Failure{Reason: ReasonSignature, Err: err,
			Message: fmt.Sprintf("image pull failed for %s because the signature validation failed%s", image, detail)}
	}
	return &pod.Failure{Reason: ReasonPull, Message: text, Err: err}
}

// refusal is what came of one credential. Its text is the runtime's, without
// gRPC's code where that says nothing.
type refusal struct{ err error }

// Error implements error.
func (r refusal) Error() string {
	return strings.TrimPrefix(r.err.Error(), "rpc error: code = Unknown desc = ")
}

// Unwrap returns the runtime's error.
func (r refusal) Unwrap() error { return r.err }

// refused joins what came of the credentials that were tried, as the kubelet
// does: "[first, second]", and what is said twice once.
func refused(list []error) error {
	joined := make([]error, len(list))
	for i, err := range list {
		joined[i] = refusal{err}
	}
	if len(joined) == 1 {
		return joined[0]
	}
	return utilerrors.NewAggregate(joined) //nolint:wrapcheck // it is our own
}
