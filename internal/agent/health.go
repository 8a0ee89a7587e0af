package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
	"k8s.io/component-base/metrics/prometheus/slis"

	"nodeagent.dev/nodeagent/internal/config"
)

const (
	// rebind is how long a taken port is left alone, as in the kubelet.
	rebind         = 5 * time.Second
	requestTimeout = 30 * time.Second
	maxHeader      = 64 << 10
)

// serveHealth serves /healthz on the health port. A port that is taken is tried
// again for ever: health must not keep the agent from running pods.
func serveHealth(ctx context.Context, cfg config.Server, alive func(context.Context) error, log *zap.Logger) error {
	if cfg.HealthzPort == 0 {
		return nil
	}
	mux := healthHandler(alive)
	addr := addrPort(cfg.HealthzAddress, cfg.HealthzPort)
	for {
		err := serve(ctx, "tcp", addr.String(), mux)
		if ctx.Err() != nil {
			return nil
		}
		log.Warn("cannot serve health, will try again; is another kubelet running?",
			zap.String("address", addr.String()), zap.Duration("in", rebind), zap.Error(err))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(rebind):
		}
	}
}

// healthHandler answers /healthz. What it says is counted under the name of the
// one check that the kubelet has there, and shown by /metrics/slis.
func healthHandler(alive func(context.Context) error) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		err := alive(r.Context())
		status := slis.Success
		if err != nil {
			status = slis.Error
		}
		_ = slis.ObserveHealthcheck(r.Context(), "ping", "healthz", status) // never fails
		if err != nil {
			http.Error(w, "the pod loop does not answer: "+err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = w.Write([]byte("ok"))
	})
	return mux
}

// serve listens and serves until ctx ends or the listener fails.
func serve(ctx context.Context, network, addr string, h http.Handler) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, network, addr)
	if err != nil {
		return fmt.Errorf("listening on %s: %w", addr, err)
	}
	return serveOn(ctx, l, h)
}

// serveOn serves on a listener until ctx ends, then closes it.
func serveOn(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: requestTimeout, ReadTimeout: requestTimeout,
		WriteTimeout: 2 * requestTimeout, IdleTimeout: 3 * requestTimeout, MaxHeaderBytes: maxHeader}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving on %s: %w", l.Addr(), err)
	}
	return nil
}
