package server

import (
	"net/http"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/component-base/metrics/prometheus/slis"
)

// Handler is the whole API behind the guard.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	s.always(mux)
	if s.cfg.Handlers.Debugging {
		s.debugging(mux)
	} else {
		s.noDebugging(mux)
	}
	return s.from.Count("readwrite", limit(s.cfg.Guard(letIn(mux))))
}

// ReadOnlyHandler is what everybody may see, without a guard.
func (s *Server) ReadOnlyHandler() http.Handler {
	mux := http.NewServeMux()
	s.always(mux)
	s.noDebugging(mux)
	return s.from.Count("readonly", limit(letIn(mux)))
}

// always adds what is served on either port.
func (s *Server) always(mux *http.ServeMux) {
	healthz.InstallHandler(mux, healthz.PingHealthz, healthz.NamedCheck("log", healthy),
		healthz.NamedCheck("syncloop", func(r *http.Request) error { return s.from.Alive(r.Context()) }),
		healthz.NamedCheck("device-plugin", healthy))
	slis.SLIMetricsWithReset{}.Install(mux)
	pods := methods(http.HandlerFunc(s.servePods), http.MethodGet)
	mux.Handle("/pods", pods)
	mux.Handle("/pods/{$}", pods)
	mux.Handle("/pods/", http.HandlerFunc(nowhere))
	mux.Handle("/stats/", http.HandlerFunc(nowhere))
	mux.Handle("/metrics", s.from.Metrics)
	if s.from.Probes != nil {
		mux.Handle("/metrics/probes", s.from.Probes)
	}
	s.statistics(mux)
}

// healthy is the check of what cannot fail: a log that has no buffer which could
// hang, and the registration of device plugins, which there is none of.
func healthy(*http.Request) error { return nil }

// debugging adds what enableDebuggingHandlers is about.
func (s *Server) debugging(mux *http.ServeMux) {
	const container = "/{namespace}/{pod}/{container}"
	const containerUID = "/{namespace}/{pod}/{uid}/{container}"
	stream := func(h http.HandlerFunc) http.Handler {
		return methods(closing(long(s.oneOf(s.streams, "streams", h))), http.MethodGet, http.MethodPost)
	}
	both := func(path string, h http.Handler) {
		mux.Handle(path+container, h)
		mux.Handle(path+containerUID, h)
	}
	both("/exec", stream(s.serveExec))
	both("/attach", stream(s.serveAttach))
	both("/run", methods(long(s.oneOf(s.streams, "streams", s.serveRun)), http.MethodPost))
	mux.Handle("/portForward/{namespace}/{pod}", stream(s.servePortForward))
	mux.Handle("/portForward/{namespace}/{pod}/{uid}", stream(s.servePortForward))
	mux.Handle("/containerLogs"+container, methods(long(s.oneOf(s.followers, "log readers", s.serveLogs)), http.MethodGet))
	mux.Handle("/runningpods/{$}", methods(http.HandlerFunc(s.serveRunningPods), http.MethodGet))
	mux.Handle("/configz", http.HandlerFunc(s.serveConfig))
	for _, path := range []string{"/run", "/exec", "/attach", "/portForward", "/containerLogs"} {
		mux.Handle(path, http.HandlerFunc(nowhere))
		mux.Handle(path+"/", http.HandlerFunc(nowhere))
	}
	mux.Handle("/runningpods/", http.HandlerFunc(nowhere))
	if s.cfg.Handlers.AllocatedPods {
		all, one := methods(http.HandlerFunc(s.serveAllocatedPods), http.MethodGet), methods(http.HandlerFunc(s.serveAllocatedPod), http.MethodGet)
		mux.Handle("/allocatedPods", all)
		mux.Handle("/allocatedPods/{$}", all)
		mux.Handle("/allocatedPods/{namespace}/{pod}", one)
		mux.Handle("/allocatedPods/{namespace}/{pod}/{uid}", one)
		mux.Handle("/allocatedPods/", http.HandlerFunc(nowhere))
	}
	if s.cfg.Handlers.Checkpoint {
		mux.Handle("/checkpoint/", http.HandlerFunc(nowhere))
		mux.Handle("/checkpoint"+container, methods(long(s.oneOf(s.streams, "streams", s.serveCheckpoint)), http.MethodPost))
	}
	s.debugPages(mux)
	s.zPages(mux)
}

// debugPages adds what has a switch of its own.
func (s *Server) debugPages(mux *http.ServeMux) {
	add := func(path, subpath string, on bool, what string, h http.Handler) {
		if !on {
			h = disabled(what + " endpoint is disabled.")
		}
		mux.Handle(path, h)
		if subpath != "" {
			mux.Handle(path+subpath, h)
		}
	}
	h := s.cfg.Handlers
	add("/logs/", "", h.SystemLogs, "logs", methods(s.systemLogs("/logs/"), http.MethodGet))
	add("/debug/pprof/", "", h.Profiling, "profiling", methods(long(profiles(h.Profiling && h.ContentionProfiling)), http.MethodGet))
	add("/debug/flags/v", "", h.Flags, "flags", http.HandlerFunc(s.serveVerbosity))
}

// nowhere answers for what is below a path that is known, and is nothing.
func nowhere(w http.ResponseWriter, _ *http.Request) {
	fail(w, http.StatusNotFound, "404: Page Not Found")
}

// noDebugging answers for what is switched off.
func (s *Server) noDebugging(mux *http.ServeMux) {
	h := disabled("Debug endpoints are disabled.")
	for _, path := range []string{"/run/", "/exec/", "/attach/", "/portForward/", "/containerLogs/", "/runningpods/", "/debug/pprof/", "/logs/"} {
		mux.Handle(path, h)
	}
}

func disabled(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, text, http.StatusMethodNotAllowed)
	})
}

// oneOf serves a request while it holds one of a bounded number of places.
func (s *Server) oneOf(places chan struct{}, what string, h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		give, ok := take(w, places, what)
		if !ok {
			return
		}
		defer s.leave(give)
		h(w, r)
	})
}

// methods refuses other methods than those named.
func methods(next http.Handler, allowed ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(allowed, r.Method) {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			fail(w, http.StatusMethodNotAllowed, "405: Method Not Allowed")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// fail answers with a text, which clients show as it is.
func fail(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text))
}
