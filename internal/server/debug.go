package server

import (
	"fmt"
	"io"
	"net/http"
	"net/http/pprof"
	"runtime"
	"strconv"
	"strings"
)

// profiles serves Go's profiles of the agent; that of what goroutines wait for
// costs something and is recorded on demand only.
func profiles(contention bool) http.Handler {
	if contention {
		runtime.SetBlockProfileRate(1)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// serveConfig shows the configuration in force.
func (s *Server) serveConfig(w http.ResponseWriter, _ *http.Request) {
	s.writeJSON(w, map[string]any{"kubeletconfig": s.from.Config})
}

// maxLevel is the longest log level that is looked at, in bytes.
const maxLevel = 16

// serveVerbosity changes the log level, and answers like the kubelet's handlers of
// flags.
func (s *Server) serveVerbosity(w http.ResponseWriter, r *http.Request) {
	answer := func(code int, text string) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(code)
		_, _ = fmt.Fprintln(w, text)
	}
	if r.Method != http.MethodPut {
		answer(http.StatusNotAcceptable, "unsupported http method")
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxLevel))
	if err != nil {
		answer(http.StatusBadRequest, "error reading request body: "+err.Error())
		return
	}
	level := strings.TrimSpace(string(body))
	if _, err := strconv.ParseUint(level, 10, 32); err != nil {
		answer(http.StatusBadRequest, err.Error())
		return
	}
	if err := s.from.SetVerbosity(level); err != nil {
		answer(http.StatusBadRequest, fmt.Sprintf("failed set klog.logging.verbosity %s: %v", level, err))
		return
	}
	answer(http.StatusOK, "successfully set klog.logging.verbosity to "+level)
}
