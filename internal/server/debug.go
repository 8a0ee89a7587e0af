package server

import (
	"fmt"
	"io"
	"net/http"
	"net/http/pprof"
	"runtime"
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

// serveVerbosity changes the log level.
func (s *Server) serveVerbosity(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPut {
		fail(w, http.StatusNotAcceptable, "unrecognized http method") //nolint:misspell // the kubelet's text
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxLevel+1))
	if err != nil {
		fail(w, http.StatusInternalServerError, "error reading the new log level: "+err.Error())
		return
	}
	level := strings.TrimSpace(string(body))
	if err := s.from.SetVerbosity(level); err != nil || len(body) > maxLevel {
		fail(w, http.StatusBadRequest, fmt.Sprintf("failed to set klog.logging.verbosity %.*s: %v", maxLevel, level, err))
		return
	}
	fail(w, http.StatusOK, "successfully set klog.logging.verbosity to "+level)
}
