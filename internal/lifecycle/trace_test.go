package lifecycle

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// traced returns a world whose spans are recorded.
func traced(t *testing.T) (*world, *tracetest.SpanRecorder) {
	r := tracetest.NewSpanRecorder()
	provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(r))
	return newWorld(t, func(_ *world, d *Deps) { d.Tracer = provider.Tracer("test") }), r
}

// starts returns the spans of pods' starts that have ended.
func starts(r *tracetest.SpanRecorder) (all []sdk.ReadOnlySpan) {
	for _, s := range r.Ended() {
		if s.Name() == spanPodStart {
			all = append(all, s)
		}
	}
	return all
}

func TestStartIsOneTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, r := traced(t)
		w.setRule(func(_ context.Context, verb, _ string) error {
			if verb == "Mount" {
				time.Sleep(3 * time.Second)
			}
			return nil
		})
		begin := time.Now()
		w.want(newPod("p", "c"))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		all := starts(r)
		if len(all) != 1 {
			t.Fatalf("%d starts, want 1", len(all))
		}
		root := all[0]
		if took := root.EndTime().Sub(root.StartTime()); took < 3*time.Second || took > 4*time.Second || !root.StartTime().Equal(begin) {
			t.Errorf("the start lasts %s from %s, want 3 s from %s", took, root.StartTime(), begin)
		}
		// What comes later is no part of the start.
		actions := map[string]int{}
		for _, s := range r.Ended() {
			if s.SpanContext().TraceID() == root.SpanContext().TraceID() && s.Parent().SpanID() == root.SpanContext().SpanID() {
				actions[s.Name()]++
			}
		}
		w.crash("p", "c")
		time.Sleep(time.Minute)
		synctest.Wait()
		later := 0
		for _, s := range r.Ended() {
			if s.Name() == "StartContainer" && s.SpanContext().TraceID() != root.SpanContext().TraceID() {
				later++
			}
		}
		if actions["MountVolumes"] != 1 || actions["CreateSandbox"] != 1 || actions["StartContainer"] != 1 || later != 1 || len(starts(r)) != 1 {
			t.Errorf("in the start: %v; containers started later: %d; starts: %d", actions, later, len(starts(r)))
		}
	})
}

func TestStartThatIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, r := traced(t)
		w.setRule(func(_ context.Context, verb, _ string) error {
			if verb == "Mount" {
				return errors.New("no such thing")
			}
			return nil
		})
		w.want(newPod("p", "c"))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := len(starts(r)); n != 0 {
			t.Fatalf("%d starts have ended while the pod is starting", n)
		}
		w.want()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		all := starts(r)
		if len(all) != 1 || all[0].Status().Code != codes.Error {
			t.Fatalf("the starts that ended: %v, want one that failed", all)
		}
		for _, s := range r.Ended() {
			if s.Name() == "MountVolumes" && (s.Status().Code != codes.Error || s.Status().Description != "no such thing") {
				t.Errorf("the span of a mount that failed: %v", s.Status())
			}
		}
	})
}
