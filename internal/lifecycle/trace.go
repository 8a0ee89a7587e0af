package lifecycle

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	"go.opentelemetry.io/otel/trace"

	"nodeagent.dev/nodeagent/internal/lifecycle/plan"
	"nodeagent.dev/nodeagent/internal/pod"
)

// spanPodStart is the span of a pod's start, from its first sight to Ready. The
// actions that bring the pod up are its children, and what they ask the runtime
// for theirs.
const spanPodStart = "podStart"

// traceAction begins the span of an action, below that of the pod's start as long
// as the pod is starting. Without a tracer the span is one that does nothing.
func (w *worker) traceAction(ctx context.Context, s *state, a plan.Action) (context.Context, trace.Span) {
	tracer := w.deps.Tracer
	if tracer == nil {
		return ctx, trace.SpanFromContext(ctx)
	}
	// A pod that an earlier agent has started is not starting.
	if s.start == nil && !s.wasReady && s.spec.Pod != nil && len(s.observed.Sandboxes) == 0 && plan.Constructive(a) {
		_, s.start = tracer.Start(ctx, spanPodStart, trace.WithTimestamp(s.seen), trace.WithAttributes(podAttributes(w.ref)...))
	}
	if s.start != nil {
		ctx = trace.ContextWithSpan(ctx, s.start)
	}
	attributes := podAttributes(w.ref)
	if _, name, ok := strings.Cut(string(a.Target()), "/"); ok {
		attributes = append(attributes, semconv.K8SContainerName(name))
	}
	return tracer.Start(ctx, a.Verb(), trace.WithTimestamp(s.now), trace.WithAttributes(attributes...))
}

// traceReady ends the span of the pod's start.
func (s *state) traceReady() {
	if s.start != nil {
		s.start.End(trace.WithTimestamp(s.now))
		s.start = nil
	}
}

// traceLeft ends it for a pod that nobody goes on to start.
func (s *state) traceLeft() {
	if s.start != nil {
		s.start.SetStatus(codes.Error, "the pod was given up before it was ready")
		s.start.End()
		s.start = nil
	}
}

// traceEnd ends the span of an action.
func traceEnd(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
		span.SetAttributes(attribute.String("reason", pod.Reason(err, "")))
	}
	span.End()
}

func podAttributes(ref pod.Ref) []attribute.KeyValue {
	return []attribute.KeyValue{semconv.K8SPodName(ref.Name), semconv.K8SNamespaceName(ref.Namespace), semconv.K8SPodUID(string(ref.UID))}
}
