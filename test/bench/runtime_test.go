//go:build e2e

package bench

import (
	"sync"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/test/bed"
)

// stops notes when the runtime first says of a container, "pod-container", that
// it has stopped: no agent that listens to it can know earlier.
type stops struct {
	mu sync.Mutex
	at map[string]time.Time
	// awaited are told, once.
	awaited map[string]chan time.Time
}

func watchRuntime(t *testing.T, b *bed.Bed) *stops {
	t.Helper()
	conn, err := b.Runtime()
	must(t, "connecting to the runtime", err)
	stream, err := runtimeapi.NewRuntimeServiceClient(conn).GetContainerEvents(t.Context(), &runtimeapi.GetEventsRequest{})
	must(t, "listening to the runtime", err)
	s := &stops{at: map[string]time.Time{}, awaited: map[string]chan time.Time{}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			ev, err := stream.Recv()
			if err != nil {
				return // the test has ended; else samples are missing
			}
			s.put(ev, time.Now())
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-ended
	})
	return s
}

func (s *stops) put(ev *runtimeapi.ContainerEventResponse, at time.Time) {
	if ev.GetContainerEventType() != runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT {
		return
	}
	for _, c := range ev.GetContainersStatuses() {
		if c.GetId() != ev.GetContainerId() {
			continue
		}
		name := ev.GetPodSandboxStatus().GetMetadata().GetName() + "-" + c.GetMetadata().GetName()
		s.mu.Lock()
		if _, known := s.at[name]; !known {
			s.at[name] = at
			if c := s.awaited[name]; c != nil {
				c <- at
			}
		}
		s.mu.Unlock()
	}
}

func (s *stops) of(name string) (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.at[name]
	return at, ok
}

// expect is told when a container that runs now has stopped.
func (s *stops) expect(name string) <-chan time.Time {
	c := make(chan time.Time, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.awaited[name] = c
	return c
}
