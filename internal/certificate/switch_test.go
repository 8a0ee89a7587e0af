package certificate

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// credentialOf is a certificate for an API server.
func credentialOf(t *testing.T, s *apiServer, life time.Duration) *generation {
	t.Helper()
	g, err := newGeneration(credential{&rest.Config{Host: s.URL, TLSClientConfig: rest.TLSClientConfig{CAData: certPEM(s.ca.cert.Raw)}}, s.ca.pair(t, life)})
	must(t, err)
	t.Cleanup(g.close)
	return g
}

func switchTo(t *testing.T, s *apiServer) (*Switch, *generation) {
	t.Helper()
	base, err := url.Parse(s.URL)
	must(t, err)
	sw, gen := newSwitch(base, nil), credentialOf(t, s, time.Hour)
	sw.hold = 50 * time.Millisecond
	sw.use(gen, nil)
	return sw, gen
}

func get(ctx context.Context, t *testing.T, sw *Switch, path string) (*http.Response, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, sw.base.String()+path, nil)
	must(t, err)
	return sw.RoundTrip(r)
}

// A watch ends like one that the server has closed; a call in flight goes on; the
// old connection is closed after it.
func TestSwitchLetsCallsEnd(t *testing.T) {
	api := newAPIServer(t)
	sw, _ := switchTo(t, api)
	watch, err := get(t.Context(), t, sw, "/things?watch=true")
	must(t, err)
	lines := bufio.NewReader(watch.Body)
	if line, err := lines.ReadString('\n'); err != nil || line != "hello\n" {
		t.Fatalf("%q, %v", line, err)
	}
	slow, err := get(t.Context(), t, sw, slowPath)
	must(t, err) // its answer is not complete
	if n := api.open(); n != 1 {
		t.Fatalf("%d connections", n)
	}
	next := credentialOf(t, api, time.Hour)
	sw.use(next, nil)
	if rest, err := io.ReadAll(lines); err != nil || len(rest) != 0 {
		t.Errorf("the watch ends with %q, %v", rest, err)
	}
	must(t, watch.Body.Close())
	resp, err := get(t.Context(), t, sw, "/who")
	must(t, err)
	must(t, resp.Body.Close())
	eventually(t, "second connection beside the first", func() bool { return api.open() == 2 })
	close(api.finish)
	if text, err := io.ReadAll(slow.Body); err != nil || string(text) != "system:node:n\n" {
		t.Errorf("the call in flight ends with %q, %v", text, err)
	}
	must(t, slow.Body.Close())
	eventually(t, "end of the old connection", func() bool { return api.open() == 1 })
}

// No call fails while credentials change all the time.
func TestSwitchUnderLoad(t *testing.T) {
	api := newAPIServer(t)
	sw, _ := switchTo(t, api)
	ctx, stop := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for ctx.Err() == nil {
				r, err := http.NewRequest(http.MethodPost, sw.base.String()+"/who", strings.NewReader("body"))
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := sw.RoundTrip(r)
				if err != nil {
					t.Errorf("a call has failed: %v", err)
					return
				}
				text, err := io.ReadAll(resp.Body)
				if err != nil || !bytes.Equal(text, []byte("system:node:n\n")) {
					t.Errorf("an answer: %q, %v", text, err)
				}
				_ = resp.Body.Close()
			}
		})
	}
	for range 30 {
		sw.use(credentialOf(t, api, time.Hour), nil)
	}
	stop()
	callers.Wait()
	eventually(t, "end of all old connections", func() bool { return api.open() <= 1 })
}

// Without a credential that can work calls wait for one, and not for ever.
func TestSwitchHolds(t *testing.T) {
	api := newAPIServer(t)
	base, err := url.Parse(api.URL)
	must(t, err)
	sw := newSwitch(base, nil)
	sw.hold = 20 * time.Millisecond
	sw.use(nil, errors.New("no certificate yet"))
	if _, err := get(t.Context(), t, sw, "/who"); err == nil || !strings.Contains(err.Error(), "no certificate yet") {
		t.Errorf("without any: %v", err)
	}
	sw.hold = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := get(ctx, t, sw, "/who"); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no certificate yet") {
		t.Errorf("until the caller gives up: %v", err)
	}
	ended := make(chan error)
	go func() {
		resp, err := get(t.Context(), t, sw, "/who")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				err = fmt.Errorf("status %d", resp.StatusCode)
			}
		}
		ended <- err
	}()
	gen := credentialOf(t, api, time.Hour)
	sw.use(gen, nil)
	must(t, <-ended)
	// One that has expired by our clock is tried: the server decides.
	sw.hold = time.Millisecond
	sw.use(nil, errors.New("it has expired"))
	resp, err := get(t.Context(), t, sw, "/who")
	must(t, err)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("status %d", resp.StatusCode)
	}
}

// Answers of 401 are counted from the first to the first other one.
func TestSwitchNotesRefusals(t *testing.T) {
	api := newAPIServer(t)
	sw, _ := switchTo(t, api)
	news := 0
	sw.told = func() { news++ }
	ask := func() {
		resp, err := get(t.Context(), t, sw, "/who")
		must(t, err)
		_ = resp.Body.Close()
	}
	ask()
	api.set(func() { api.refuse = true })
	before := time.Now()
	ask()
	ask()
	if since := sw.refusedSince(); since.Before(before) || since.After(time.Now()) || news != 2 {
		t.Errorf("refused since %v, %d news", since, news)
	}
	api.set(func() { api.refuse = false })
	ask()
	if since := sw.refusedSince(); !since.IsZero() || news != 3 {
		t.Errorf("refused since %v, %d news", since, news)
	}
}

// A server that has moved gets the calls that were addressed to the old one.
func TestSwitchFollowsTheServer(t *testing.T) {
	var seen []string
	moved := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = append(seen, r.Host+r.URL.RequestURI()) }))
	t.Cleanup(moved.Close)
	for from, to := range map[string]string{"https://old:6443": "", "https://old/a/b": "/c", "https://old/a": ""} {
		base, err := url.Parse(from)
		must(t, err)
		sw := newSwitch(base, nil)
		gen, err := newGeneration(credential{&rest.Config{Host: moved.URL + to}, nil})
		must(t, err)
		t.Cleanup(gen.close)
		sw.use(gen, nil)
		seen = nil
		resp, err := get(t.Context(), t, sw, "/api/v1/pods?x=y")
		must(t, err)
		_ = resp.Body.Close()
		if want := strings.TrimPrefix(moved.URL, "http://") + to + "/api/v1/pods?x=y"; len(seen) != 1 || seen[0] != want {
			t.Errorf("%s: asked for %q, want %q", from, seen, want)
		}
	}
}
