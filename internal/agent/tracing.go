package agent

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/tracing"

	"nodeagent.dev/nodeagent/internal/config"
)

const (
	// traceService is what backends know the node's agent by; the kubelet's word, so
	// that nobody's queries change.
	traceService = "kubelet"
	// traceScope is where the spans that are not of a library come from.
	traceScope = "nodeagent.dev/nodeagent/internal/lifecycle"
	// traceFlush is how long the last spans have to be sent at the end, traceSilence
	// how often a backend that takes none is spoken of.
	traceFlush   = 3 * time.Second
	traceSilence = time.Minute
)

// tracer sends spans where KubeletConfiguration's tracing says. Nil sends none.
type tracer struct{ provider tracing.TracerProvider }

// newTracer returns nil unless the configuration asks for traces. A backend that is
// not there is no error: spans wait for it in a bounded queue, and then are lost.
func newTracer(ctx context.Context, cfg *config.Config, log *zap.Logger) (*tracer, error) {
	if cfg.Logging.Tracing == nil {
		return nil, nil //nolint:nilnil // no tracer is no failure
	}
	provider, err := tracing.NewProvider(ctx, cfg.Logging.Tracing, nil, []resource.Option{
		resource.WithAttributes(semconv.ServiceName(traceService), semconv.HostName(cfg.NodeName)),
	})
	if err != nil {
		return nil, fmt.Errorf("preparing to send traces (tracing): %w", err)
	}
	quiet := log.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(c, traceSilence, 1, 0)
	}))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		quiet.Warn("cannot send traces (tracing.endpoint); spans are lost until it answers", zap.Error(err))
	}))
	return &tracer{provider: provider}, nil
}

// end sends what is left.
func (t *tracer) end(ctx context.Context, log *zap.Logger) {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), traceFlush)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		log.Warn("the last traces were not sent", zap.Error(err))
	}
}

// spans is nil without a tracer, as the parts take it.
func (t *tracer) spans() trace.TracerProvider {
	if t == nil {
		return nil
	}
	return t.provider
}

// pods is the tracer of the pods' starts.
func (t *tracer) pods() trace.Tracer {
	if t == nil {
		return nil
	}
	return t.provider.Tracer(traceScope)
}

// calls has requests of a client traced.
func (t *tracer) calls(c *rest.Config) {
	if t != nil {
		c.Wrap(tracing.WrapperFor(t.provider))
	}
}

// requests has requests to the node's API traced.
func (t *tracer) requests(h http.Handler) http.Handler {
	if t == nil {
		return h
	}
	return tracing.WithTracing(h, t.provider, traceService)
}
