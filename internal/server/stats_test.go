package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/zap"
)

// TestSummary: what is asked for, and who may not ask.
func TestSummary(t *testing.T) {
	var only []bool
	failure := error(nil)
	h := New(Config{}, Sources{
		Metrics: http.NotFoundHandler(), Alive: func(context.Context) error { return nil },
		Resource: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "resource") }),
		Summary: func(_ context.Context, brief bool) (any, error) {
			only = append(only, brief)
			return map[string]bool{"brief": brief}, failure
		},
	}, zap.NewNop()).ReadOnlyHandler()
	ask := func(method, target, form string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(form))
		if form != "" {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	for _, c := range []struct {
		method, target, form string
		code                 int
		body                 string
	}{
		{"GET", "/stats/summary", "", 200, `{"brief":false}`},
		{"GET", "/stats/summary/", "", 200, `{"brief":false}`},
		{"GET", "/stats/summary?only_cpu_and_memory=true", "", 200, `{"brief":true}`},
		{"GET", "/stats/summary?only_cpu_and_memory=1", "", 200, `{"brief":false}`},
		{"GET", "/stats/summary?only_cpu_and_memory=true&only_cpu_and_memory=true", "", 200, `{"brief":false}`},
		{"POST", "/stats/summary", "only_cpu_and_memory=true", 200, `{"brief":true}`},
		{"PUT", "/stats/summary", "", 405, "405: Method Not Allowed"},
		{"GET", "/stats/summary?a=%zz", "", 500, "Internal Error: parse form failed: invalid URL escape \"%zz\""},
		{"GET", "/stats/other", "", 404, "404: Page Not Found"},
		{"GET", "/metrics/resource", "", 200, "resource"},
	} {
		w := ask(c.method, c.target, c.form)
		if w.Code != c.code || w.Body.String() != c.body {
			t.Errorf("%s %s: %d %q, want %d %q", c.method, c.target, w.Code, w.Body, c.code, c.body)
		}
		if w.Code == 200 && strings.HasPrefix(c.target, "/stats") && w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %v", c.target, w.Header())
		}
	}
	failure = errors.New("no cgroups")
	if w := ask("GET", "/stats/summary", ""); w.Code != 500 || w.Body.String() != "Internal Error: no cgroups" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}
