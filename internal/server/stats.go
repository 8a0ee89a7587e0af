package server

import (
	"encoding/json"
	"net/http"

	"go.uber.org/zap"
)

// statistics adds what pods and the node use.
func (s *Server) statistics(mux *http.ServeMux) {
	if s.from.Resource != nil {
		mux.Handle("/metrics/resource", s.from.Resource)
	}
	if s.from.CAdvisor != nil {
		mux.Handle("/metrics/cadvisor", s.from.CAdvisor)
	}
	if s.from.Summary != nil {
		summary := methods(http.HandlerFunc(s.serveSummary), http.MethodGet, http.MethodPost)
		mux.Handle("/stats/summary", summary)
		mux.Handle("/stats/summary/{$}", summary)
	}
}

// serveSummary answers as the kubelet does: only_cpu_and_memory counts when it is
// there once and says "true", in the query or in a posted form.
func (s *Server) serveSummary(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		s.failInternal(w, "/stats/summary", "parse form failed: "+err.Error())
		return
	}
	only := r.Form["only_cpu_and_memory"]
	summary, err := s.from.Summary(r.Context(), len(only) == 1 && only[0] == "true")
	if err != nil {
		s.failInternal(w, "/stats/summary", err.Error())
		return
	}
	text, err := json.Marshal(summary)
	if err != nil {
		s.failInternal(w, "/stats/summary", err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text)
}

func (s *Server) failInternal(w http.ResponseWriter, path, text string) {
	s.log.Warn("cannot answer a request", zap.String("path", path), zap.String("error", text))
	fail(w, http.StatusInternalServerError, "Internal Error: "+text)
}
