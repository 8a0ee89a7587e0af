//go:build e2e

package tracing

import (
	"context"
	"encoding/hex"
	"net"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// span is one that was sent.
type span struct {
	id, parent, trace, name string
	service, host           string
	attributes              map[string]string
	begin, end              time.Time
	failed                  bool
}

// backend is an OTLP collector on loopback that keeps what it is sent.
type backend struct {
	collector.UnimplementedTraceServiceServer
	address string

	mu   sync.Mutex
	got  []span
	more chan struct{} // closed when there is more
}

func newBackend(t *testing.T) *backend {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	bedtest.Must(t, "listening for spans", err)
	b := &backend{address: l.Addr().String(), more: make(chan struct{})}
	s := grpc.NewServer()
	collector.RegisterTraceServiceServer(s, b)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		bedtest.Must(t, "serving the collector", <-ended)
	})
	return b
}

// Export implements the OTLP service.
func (b *backend) Export(_ context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, res := range r.GetResourceSpans() {
		from := values(res.GetResource().GetAttributes())
		for _, scope := range res.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				b.got = append(b.got, span{
					id: hex.EncodeToString(s.GetSpanId()), parent: hex.EncodeToString(s.GetParentSpanId()),
					trace: hex.EncodeToString(s.GetTraceId()), name: s.GetName(),
					service: from["service.name"], host: from["host.name"], attributes: values(s.GetAttributes()),
					begin:  time.Unix(0, int64(s.GetStartTimeUnixNano())),
					end:    time.Unix(0, int64(s.GetEndTimeUnixNano())),
					failed: s.GetStatus().GetCode() == spans.Status_STATUS_CODE_ERROR,
				})
			}
		}
	}
	close(b.more)
	b.more = make(chan struct{})
	return &collector.ExportTraceServiceResponse{}, nil
}

func values(kvs []*common.KeyValue) map[string]string {
	all := map[string]string{}
	for _, kv := range kvs {
		all[kv.GetKey()] = kv.GetValue().GetStringValue()
	}
	return all
}

// await returns all spans once done is true of them.
func (b *backend) await(t *testing.T, what string, done func([]span) bool) []span {
	t.Helper()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	for {
		b.mu.Lock()
		got, more := b.got, b.more
		b.mu.Unlock()
		if done(got) {
			return got
		}
		select {
		case <-more:
		case <-limit.C:
			names := map[string]int{}
			for _, s := range got {
				names[s.name]++
			}
			t.Fatalf("no %s among the spans that were sent: %v", what, names)
		}
	}
}
