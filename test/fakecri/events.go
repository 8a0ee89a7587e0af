package fakecri

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// events is the fan-out to the subscribers; the state's mutex guards it.
type events struct {
	subscribers map[*subscriber]struct{}
	late        []*time.Timer
	done        bool
}

// subscriber is one open stream. Its queue has no limit: a slow reader must not
// hold up the runtime.
type subscriber struct {
	queue []*cri.ContainerEventResponse
	wake  chan struct{} // capacity 1
}

func (e *events) close() {
	e.done = true
	for _, t := range e.late {
		t.Stop()
	}
}

// emit sends an event to everybody, through whatever fault it is given.
func (st *state) emit(id, uid string, kind cri.ContainerEventType) {
	ev := &cri.ContainerEventResponse{
		ContainerId: id, ContainerEventType: kind, CreatedAt: time.Now().UnixNano(),
	}
	for _, sb := range st.sandboxes {
		if sb.meta.Uid == uid {
			ev.PodSandboxStatus = &cri.PodSandboxStatus{Id: sb.id, Metadata: sb.metadata(), State: sb.state(), CreatedAt: sb.created.UnixNano(), Labels: sb.config.GetLabels()}
			break
		}
	}
	if ev.PodSandboxStatus == nil {
		// containerd answers so for a sandbox that is gone: the ID and nothing else.
		ev.PodSandboxStatus = &cri.PodSandboxStatus{Metadata: &cri.PodSandboxMetadata{Uid: uid}}
	}
	if kind == cri.ContainerEventType_CONTAINER_STOPPED_EVENT {
		for _, k := range st.containersThat(func(k *container) bool { return k.podUID == uid }) {
			ev.ContainersStatuses = append(ev.ContainersStatuses, st.statusOf(k))
		}
	}
	var f EventFault
	if st.cfg.EventFault != nil {
		f = st.cfg.EventFault(Event{ID: id, PodUID: uid, Type: kind.String()})
	}
	if f.Drop {
		return
	}
	if f.Delay > 0 && !st.events.done {
		st.events.late = append(st.events.late, time.AfterFunc(f.Delay, func() {
			st.mu.Lock()
			defer st.mu.Unlock()
			st.deliver(ev, f.Duplicate)
		}))
		return
	}
	st.deliver(ev, f.Duplicate)
}

func (st *state) deliver(ev *cri.ContainerEventResponse, twice bool) {
	for sub := range st.events.subscribers {
		sub.queue = append(sub.queue, ev)
		if twice {
			sub.queue = append(sub.queue, ev)
		}
		select {
		case sub.wake <- struct{}{}:
		default:
		}
	}
}

// GetContainerEvents streams what happens from now on.
func (r *runtimeService) GetContainerEvents(_ *cri.GetEventsRequest, out grpc.ServerStreamingServer[cri.ContainerEventResponse]) error {
	st := r.s.state
	if st.cfg.NoEvents {
		return status.Error(codes.Unimplemented, "method GetContainerEvents not implemented")
	}
	sub := &subscriber{wake: make(chan struct{}, 1)}
	st.mu.Lock()
	if st.events.subscribers == nil {
		st.events.subscribers = map[*subscriber]struct{}{}
	}
	st.events.subscribers[sub] = struct{}{}
	st.mu.Unlock()
	defer func() {
		st.mu.Lock()
		delete(st.events.subscribers, sub)
		st.mu.Unlock()
	}()
	if err := out.SendHeader(nil); err != nil {
		return err
	}
	for {
		select {
		case <-out.Context().Done():
			return status.FromContextError(out.Context().Err()).Err()
		case <-sub.wake:
		}
		st.mu.Lock()
		queue := sub.queue
		sub.queue = nil
		st.mu.Unlock()
		for _, ev := range queue {
			if err := out.Send(ev); err != nil {
				return err
			}
		}
	}
}
