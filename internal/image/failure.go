package image

import (
	"fmt"
	"strings"

	"nodeagent.dev/nodeagent/internal/pod"
)

// The reasons a container waits with when its image cannot be had, in the
// kubelet's words.
const (
	ReasonInvalidName         = "InvalidImageName"
	ReasonInspect             = "ImageInspectError"
	ReasonNeverPull           = "ErrImageNeverPull"
	ReasonPull                = "ErrImagePull"
	ReasonRegistryUnavailable = "RegistryUnavailable"
	ReasonSignature           = "SignatureValidationFailed"
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

// pullFailed sorts a runtime's error by the word it begins with: gRPC carries
// errors as text, and CRI agrees on these words.
func pullFailed(name string, err error) error {
	// gRPC's code says nothing when it is Unknown.
	text := strings.TrimPrefix(err.Error(), "rpc error: code = Unknown desc = ")
	if detail, ok := strings.CutPrefix(text, ReasonRegistryUnavailable); ok {
		return &pod.Failure{Reason: ReasonRegistryUnavailable, Err: err,
			Message: fmt.Sprintf("image pull failed for %s because the registry is unavailable%s", name, detail)}
	}
	if detail, ok := strings.CutPrefix(text, ReasonSignature); ok {
		return &pod.Failure{Reason: ReasonSignature, Err: err,
			Message: fmt.Sprintf("image pull failed for %s because the signature validation failed%s", name, detail)}
	}
	return &pod.Failure{Reason: ReasonPull, Message: text, Err: err}
}
