package server

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os"

	"nodeagent.dev/nodeagent/internal/server/nodelogs"
)

// queried answers requests with the parameters of a query, in the kubelet's codes
// and texts, and leaves the others to next. A query ends sooner than the deadline
// of a request, which ends a client that does not read.
func (s *Server) queried(files logFiles, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query, errs := nodelogs.Parse(r.URL.Query())
		if len(errs) > 0 {
			http.Error(w, errs.ToAggregate().Error(), http.StatusBadRequest)
			return
		}
		if query == nil {
			next.ServeHTTP(w, r)
			return
		}
		if r.URL.Path != "" && r.URL.Path != "/" {
			http.Error(w, "path not allowed in query mode", http.StatusNotAcceptable)
			return
		}
		if errs := query.Check(files.exists); len(errs) > 0 {
			http.Error(w, errs.ToAggregate().Error(), http.StatusNotAcceptable)
			return
		}
		if len(query.Files) == 1 {
			file := *r.URL
			file.Path, file.RawPath = query.Files[0], ""
			asked := *r
			asked.URL = &file
			next.ServeHTTP(w, &asked)
			return
		}
		give, ok := take(w, s.queries, "log queries")
		if !ok {
			return
		}
		defer give()
		serveServices(w, r, query, files)
	})
}

// serveServices writes what services have logged, compressed for clients that
// take nothing else.
func serveServices(w http.ResponseWriter, r *http.Request, query *nodelogs.Query, files logFiles) {
	w.Header().Set("Content-Type", "text/plain;charset=UTF-8")
	var out io.Writer = w
	if r.Header.Get("Accept-Encoding") == "gzip" {
		w.Header().Set("Content-Encoding", "gzip")
		packed, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // fails for unknown levels alone
		defer func() { _ = packed.Close() }()
		out = packed
	}
	query.Copy(r.Context(), out, files.Open)
}

// exists returns an error, in the kubelet's words, when there is no such file.
func (l logFiles) exists(name string) error {
	root, err := os.OpenRoot(l.dir)
	if err != nil {
		return fmt.Errorf("open the log directory: %w", err)
	}
	defer root.Close()
	_, err = root.Stat(name)
	return err
}
