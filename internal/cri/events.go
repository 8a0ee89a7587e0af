package cri

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/pod"
)

// ErrNoEvents says that the runtime has no event stream.
var ErrNoEvents = errors.New("the runtime does not stream container events")

// WhyConnected is the Why of the first hint of a stream.
const WhyConnected = "event stream opened"

// Events calls f for every event until ctx ends or the stream breaks; it never
// returns nil. The first call, with no UID, says that the stream is open: what
// happened before is not in it. A hint without UID later means that something
// changed for a pod the runtime did not name. The error is [ErrNoEvents] when
// the runtime has no such stream.
//
// containerd 2 streams events without any setting; CRI-O wants
// enable_pod_events = true and ends the stream at once without it.
func (c *Client) Events(ctx context.Context, f func(pod.Hint)) error {
	begin := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.runtime.GetContainerEvents(ctx, &runtimeapi.GetEventsRequest{})
	c.cfg.Observe("get_container_events", time.Since(begin), err)
	if err != nil {
		return c.streamError(err)
	}
	f(pod.Hint{Why: WhyConnected})
	for {
		ev, err := stream.Recv()
		if err != nil {
			return c.streamError(err)
		}
		at := time.Unix(0, ev.GetCreatedAt())
		c.cfg.Event(time.Since(at))
		hint := pod.Hint{UID: uidOf(ev), Why: whyOf(ev), What: whatOf(ev), ID: ev.GetContainerId(), At: at}
		if hint.What == pod.Ended {
			c.cache.end(hint.UID, endIn(ev))
		}
		f(hint)
	}
}

func (c *Client) streamError(err error) error {
	if isUnimplemented(err) {
		return fmt.Errorf("%w: %w", ErrNoEvents, err)
	}
	return fmt.Errorf("stream container events: %w", c.explain(err))
}

// Ended returns a container as it ended by the last event of its pod, which has the
// status with it. ok is false when no event told of that end since the last look.
func (c *Client) Ended(uid types.UID, id string) (ended pod.Container, ok bool) {
	known := c.cache.get(uid)
	before := known.containers[id]
	if before == nil || known.end.GetId() != id {
		return pod.Container{}, false
	}
	ended = c.lastWords(containerDetail(*before, known.end), known.end)
	return ended, ended.State == pod.ContainerExited
}

// endIn finds the status of the container of an event, if that has ended.
func endIn(ev *runtimeapi.ContainerEventResponse) *runtimeapi.ContainerStatus {
	for _, st := range ev.GetContainersStatuses() {
		if st.GetId() == ev.GetContainerId() && st.GetState() == runtimeapi.ContainerState_CONTAINER_EXITED {
			return st
		}
	}
	return nil
}

// whatOf is what an event tells of.
func whatOf(ev *runtimeapi.ContainerEventResponse) pod.Happening {
	switch ev.GetContainerEventType() {
	case runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT, runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT:
		return pod.Made
	case runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT:
		return pod.Ended
	case runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT:
		return pod.Vanished
	}
	return pod.Anything
}

// uidOf finds the pod of an event; empty when it does not say.
func uidOf(ev *runtimeapi.ContainerEventResponse) types.UID {
	if uid := ev.GetPodSandboxStatus().GetMetadata().GetUid(); uid != "" {
		return types.UID(uid)
	}
	if uid := ev.GetPodSandboxStatus().GetLabels()[containerspec.LabelPodUID]; uid != "" {
		return types.UID(uid)
	}
	for _, s := range ev.GetContainersStatuses() {
		if uid := s.GetLabels()[containerspec.LabelPodUID]; uid != "" {
			return types.UID(uid)
		}
	}
	return ""
}

// whyOf is the event's name for people: "container stopped".
func whyOf(ev *runtimeapi.ContainerEventResponse) string {
	name := strings.TrimSuffix(ev.GetContainerEventType().String(), "_EVENT")
	return strings.ToLower(strings.ReplaceAll(name, "_", " "))
}
