package volume

import (
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// ReasonFailedMount is the event reason of a volume that cannot be set up.
const ReasonFailedMount = "FailedMount"

// unprocessed is an error about a volume of which nobody knows yet what it is: a
// claim that is not bound, a type that is gone. An error of a type that has a
// method Unprocessed which says so is another.
type unprocessed struct{ error }

// Unprocessed says that it is one.
func (unprocessed) Unprocessed() bool { return true }

// Unwrap returns the cause.
func (u unprocessed) Unwrap() error { return u.error }

func isUnprocessed(err error) bool {
	if _, said := errors.AsType[*pod.Failure](err); said {
		return false // it says all that is to be said
	}
	var u interface{ Unprocessed() bool }
	return errors.As(err, &u) && u.Unprocessed()
}

// join makes one failure of all volumes that failed, in the spec's order. Each
// sentence that the kubelet would make an event of is a failure of its own for
// [pod.Failures].
func join(used []*corev1.Volume, failed []error) error {
	var all []error
	var missing, unknown, said []string
	var causes []error
	for i, err := range failed {
		if err == nil {
			continue
		}
		missing = append(missing, used[i].Name)
		if isUnprocessed(err) {
			unknown, said, causes = append(unknown, used[i].Name), append(said, err.Error()), append(causes, err)
			continue
		}
		all = append(all, setUpFailed(used[i].Name, err))
	}
	if len(unknown) > 0 {
		all = append(all, &pod.Failure{Reason: ReasonFailedMount, Err: errors.Join(causes...), Message: fmt.Sprintf(
			"Unable to attach or mount volumes: unmounted volumes=[%s], unattached volumes=[], failed to process volumes=[%s]: %s",
			strings.Join(missing, " "), strings.Join(unknown, " "), strings.Join(said, "; "))})
	}
	if len(all) == 0 {
		return nil
	}
	var messages []string
	for _, err := range all {
		messages = append(messages, err.Error())
	}
	return &pod.Failure{Reason: ReasonFailedMount, Message: strings.Join(messages, "; "), Err: errors.Join(all...)}
}

// setUpFailed is what users are told of a volume, in the kubelet's words. An error
// that is a failure already says all itself.
func setUpFailed(name string, err error) error {
	if f, is := errors.AsType[*pod.Failure](err); is {
		return f
	}
	return &pod.Failure{Reason: ReasonFailedMount, Message: fmt.Sprintf("MountVolume.SetUp failed for volume %q : %v", name, err), Err: err}
}

func failure(err error) error {
	if _, ok := errors.AsType[*pod.Failure](err); ok {
		return err
	}
	return &pod.Failure{Reason: ReasonFailedMount, Message: err.Error(), Err: err}
}
