package certificate

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/connrotation"
)

const (
	// What the kubelet's dialer and transport have.
	dialTimeout, keepAlive, handshakeTimeout = 30 * time.Second, 30 * time.Second, 10 * time.Second
	idlePerHost                              = 25
	// retirement is how long calls may go on, on connections whose credential
	// has been replaced.
	retirement = time.Minute
)

// credential is what the API server is shown, and where it is.
type credential struct {
	cfg  *rest.Config // the server, and credentials beside the pair
	pair *tls.Certificate
}

// generation is all connections that were made with one credential.
type generation struct {
	server    *url.URL
	transport *http.Transport
	rt        http.RoundTripper // transport and what adds tokens
	conns     *connrotation.Dialer

	mu      sync.Mutex
	active  int // calls whose answer has not been read to its end
	retired bool
	watches map[*answer]struct{}
	limit   *time.Timer // closes what is left after retirement
}

// newGeneration makes no connection yet.
func newGeneration(c credential) (*generation, error) {
	server, _, err := rest.DefaultServerUrlFor(c.cfg)
	if err != nil {
		return nil, fmt.Errorf("reading the address of the API server %q: %w", c.cfg.Host, err)
	}
	conf, err := rest.TLSConfigFor(c.cfg)
	if err != nil {
		return nil, fmt.Errorf("setting up TLS to the API server %s: %w", c.cfg.Host, err)
	}
	if conf == nil {
		conf = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if pair := c.pair; pair != nil {
		// Always this one, also if the server names other authorities.
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
	}
	proxy := c.cfg.Proxy
	if proxy == nil {
		proxy = http.ProxyFromEnvironment
	}
	g := &generation{
		server: server, watches: map[*answer]struct{}{},
		conns: connrotation.NewDialer((&net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}).DialContext),
	}
	g.transport = utilnet.SetTransportDefaults(&http.Transport{
		Proxy: proxy, TLSHandshakeTimeout: handshakeTimeout, TLSClientConfig: conf, MaxIdleConnsPerHost: idlePerHost,
		DialContext: g.conns.DialContext, DisableCompression: c.cfg.DisableCompression,
	})
	plain := rest.CopyConfig(c.cfg)
	plain.UserAgent = "" // each client has its own
	if g.rt, err = rest.HTTPWrappersForConfig(plain, g.transport); err != nil {
		return nil, fmt.Errorf("setting up the credentials for the API server %s: %w", c.cfg.Host, err)
	}
	return g, nil
}

// begin counts a call.
func (g *generation) begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.active++
}

// end counts a call out; the last one of a retired generation closes the door.
func (g *generation) end(a *answer) {
	g.mu.Lock()
	g.active--
	delete(g.watches, a)
	last := g.retired && g.active == 0
	g.mu.Unlock()
	if last {
		g.close()
	}
}

// retire lets calls end on their connections and ends watches, and closes the
// connections at last. It does not wait.
func (g *generation) retire() {
	g.mu.Lock()
	g.retired = true
	watches := g.watches
	g.watches = map[*answer]struct{}{}
	idle := g.active == 0
	if !idle {
		g.limit = time.AfterFunc(retirement, g.close)
	}
	g.mu.Unlock()
	for a := range watches {
		a.finish()
	}
	g.transport.CloseIdleConnections()
	if idle {
		g.close()
	}
}

// close closes every connection, whatever runs on it.
func (g *generation) close() {
	g.mu.Lock()
	if g.limit != nil {
		g.limit.Stop()
	}
	g.mu.Unlock()
	g.transport.CloseIdleConnections()
	g.conns.CloseAll()
}

// call makes a call that begin has counted. base is the server that requests
// are addressed to, which may have moved.
func (g *generation) call(r *http.Request, base *url.URL) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	a := &answer{generation: g, cancel: cancel}
	resp, err := g.rt.RoundTrip(g.address(r.WithContext(ctx), base))
	if err != nil {
		cancel()
		g.end(a)
		return nil, err
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		g.end(a) // nobody here does that; such a stream has no end that we see
		context.AfterFunc(r.Context(), cancel)
		return resp, nil
	}
	a.ReadCloser, resp.Body = resp.Body, a
	if isWatch(r.URL) {
		g.mu.Lock()
		late := g.retired
		if !late {
			g.watches[a] = struct{}{}
		}
		g.mu.Unlock()
		if late {
			a.finish()
		}
	}
	return resp, nil
}

// address points a request to where the server is now.
func (g *generation) address(r *http.Request, base *url.URL) *http.Request {
	if g.server.Scheme == base.Scheme && g.server.Host == base.Host && g.server.Path == base.Path {
		return r
	}
	to := *r.URL
	to.Scheme, to.Host = g.server.Scheme, g.server.Host
	to.Path = strings.TrimSuffix(g.server.Path, "/") + strings.TrimPrefix(r.URL.Path, strings.TrimSuffix(base.Path, "/"))
	to.RawPath = ""
	r.URL, r.Host = &to, "" // r is a copy already
	return r
}

func isWatch(u *url.URL) bool {
	return strings.Contains(u.RawQuery, "watch=") && u.Query().Get("watch") != "false"
}

// answer is the body of an answer. Its end is the end of the call.
type answer struct {
	io.ReadCloser
	generation *generation
	cancel     context.CancelFunc
	finished   atomic.Bool
	once       sync.Once
}

// Read implements io.Reader. A watch that was finished ends like one that the
// server has closed.
func (a *answer) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	if err != nil {
		if a.finished.Load() {
			err = io.EOF
		}
		a.over()
	}
	return n, err
}

// Close implements io.Closer.
func (a *answer) Close() error {
	err := a.ReadCloser.Close()
	a.over()
	return err
}

func (a *answer) over() {
	a.once.Do(func() {
		a.cancel()
		a.generation.end(a)
	})
}

// finish ends a watch from this side.
func (a *answer) finish() {
	a.finished.Store(true)
	a.cancel()
}
