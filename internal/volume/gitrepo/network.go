package gitrepo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// service is the only thing a server is asked for.
	service = "git-upload-pack"
	// agent: some servers answer who does not call himself git with a web page.
	agent = "git/2.0 (nodeagent)"
	// patience bounds the steps before a server's first byte.
	patience     = 30 * time.Second
	maxRedirects = 5
	gitPort      = "9418"
)

// network reaches git servers.
type network struct {
	dialer *net.Dialer
	http   *http.Client
}

// newNetwork returns one that goes to no address of the node's own and to no
// metadata service, whatever a name resolves to; local lifts that.
func newNetwork(local bool) *network {
	dialer := &net.Dialer{Timeout: patience}
	if !local {
		dialer.Control = func(_, address string, _ syscall.RawConn) error { return permit(address) }
	}
	transport := &http.Transport{
		// No proxy: it would connect for us, and to addresses that permit refuses.
		DialContext:            dialer.DialContext,
		TLSHandshakeTimeout:    patience,
		ResponseHeaderTimeout:  patience,
		MaxResponseHeaderBytes: 64 << 10,
		DisableKeepAlives:      true,
		DisableCompression:     true, // what is received is counted as it is sent
	}
	return &network{dialer: dialer, http: &http.Client{Transport: transport, CheckRedirect: redirect}}
}

// metadata are addresses beyond the link-local ones that give secrets to whoever
// asks from the node: AWS over IPv6, Azure, Alibaba.
func metadata() []netip.Addr {
	return []netip.Addr{
		netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("168.63.129.16"), netip.MustParseAddr("100.100.100.200"),
	}
}

// permit says whether an address, as it is connected to, may be.
func permit(address string) error {
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", address, err)
	}
	a := target.Addr().Unmap().WithZone("")
	thisNet := netip.PrefixFrom(netip.AddrFrom4([4]byte{}), 8)
	if a.IsLoopback() || a.IsUnspecified() || a.IsLinkLocalUnicast() || a.IsMulticast() || thisNet.Contains(a) || slices.Contains(metadata(), a) {
		return fmt.Errorf("the server's address, %s, is the node's own or link-local or a metadata service's, and is not connected to", a)
	}
	return nil
}

// redirect follows what git follows by default, the question for the references,
// and never to less security or another protocol.
func redirect(req *http.Request, via []*http.Request) error {
	from := via[len(via)-1]
	switch {
	case req.Method != http.MethodGet:
		return errors.New("the server redirects a question that may not be")
	case len(via) > maxRedirects:
		return fmt.Errorf("the server redirects more than %d times", maxRedirects)
	case req.URL.User != nil:
		return errors.New("the server redirects to a URL with credentials")
	case req.URL.Scheme != from.URL.Scheme && req.URL.Scheme != "https":
		return fmt.Errorf("the server redirects from %s to %s, which is not followed", from.URL.Scheme, req.URL.Scheme)
	}
	req.Header.Del("Referer")
	return nil
}

// connection is one conversation with a server: the references, then at most one
// request. Both readers end with the budget and with the context.
type connection interface {
	references(ctx context.Context) (io.Reader, error)
	request(ctx context.Context, body []byte) (io.Reader, error)
	close()
}

// connect begins a conversation that may bring so many bytes.
func (n *network) connect(ctx context.Context, u *url.URL, bytes int64) (connection, error) {
	left := &budget{limit: bytes, left: bytes}
	if u.Scheme != "git" {
		return &overHTTP{client: n.http, base: u, left: left}, nil
	}
	port := u.Port()
	if port == "" {
		port = gitPort
	}
	conn, err := n.dialer.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	return &overTCP{conn: conn, url: u, left: left, stop: stop}, nil
}

// budget is what may still be received.
type budget struct{ limit, left int64 }

func (b *budget) reader(r io.Reader) io.Reader { return &budgeted{r, b} }

type budgeted struct {
	r io.Reader
	b *budget
}

// Read implements io.Reader.
func (r *budgeted) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.b.left -= int64(n)
	if r.b.left < 0 {
		return 0, fmt.Errorf("the server has sent more than %d bytes, which is the limit", r.b.limit)
	}
	return n, err
}

// overHTTP is a conversation of two questions.
type overHTTP struct {
	client *http.Client
	base   *url.URL
	left   *budget
	body   io.Closer
}

func (c *overHTTP) references(ctx context.Context) (io.Reader, error) {
	u := *c.base
	u.RawQuery = "service=" + service
	body, at, err := c.ask(ctx, http.MethodGet, u.JoinPath("info", "refs"), nil)
	if err != nil {
		return nil, err
	}
	// Where this answer came from is where the next question goes.
	path, ok := strings.CutSuffix(at.EscapedPath(), "/info/refs")
	if !ok || at.RawQuery != u.RawQuery {
		return nil, errors.New("the server redirects to something that is no repository")
	}
	moved := *at
	moved.RawQuery = ""
	if moved.Path, err = url.PathUnescape(path); err != nil {
		return nil, fmt.Errorf("the server redirects to %q: %w", at.Redacted(), err)
	}
	moved.RawPath = path
	c.base = &moved
	return body, nil
}

func (c *overHTTP) request(ctx context.Context, body []byte) (io.Reader, error) {
	r, _, err := c.ask(ctx, http.MethodPost, c.base.JoinPath(service), body)
	return r, err
}

func (c *overHTTP) ask(ctx context.Context, method string, u *url.URL, body []byte) (io.Reader, *url.URL, error) {
	c.close()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	kind := "application/x-" + service + "-advertisement"
	if method == http.MethodPost {
		kind = "application/x-" + service + "-result"
		req.Header.Set("Content-Type", "application/x-"+service+"-request")
	}
	req.Header.Set("User-Agent", agent)
	req.Header.Set("Accept", kind)
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	c.body = resp.Body
	switch {
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		return nil, nil, fmt.Errorf("the server answers %d: it wants credentials, and gitRepo volumes have none", resp.StatusCode)
	case resp.StatusCode == http.StatusNotFound:
		return nil, nil, errors.New("the server answers 404: there is no such repository, or it is not public")
	case resp.StatusCode != http.StatusOK:
		return nil, nil, fmt.Errorf("the server answers %d", resp.StatusCode)
	case resp.Header.Get("Content-Type") != kind:
		return nil, nil, errors.New("the server's answer is not git's smart protocol")
	}
	return c.left.reader(resp.Body), resp.Request.URL, nil
}

func (c *overHTTP) close() {
	if c.body != nil {
		_ = c.body.Close() // it was only read
		c.body = nil
	}
}

// overTCP is a conversation with a git daemon.
type overTCP struct {
	conn net.Conn
	url  *url.URL
	left *budget
	stop func() bool
}

func (c *overTCP) references(context.Context) (io.Reader, error) {
	line := service + " " + c.url.Path + "\x00host=" + c.url.Host + "\x00"
	if _, err := io.WriteString(c.conn, packet(line)); err != nil {
		return nil, err
	}
	return c.left.reader(c.conn), nil
}

func (c *overTCP) request(_ context.Context, body []byte) (io.Reader, error) {
	if _, err := c.conn.Write(body); err != nil {
		return nil, err
	}
	return c.left.reader(c.conn), nil
}

func (c *overTCP) close() {
	c.stop()
	_ = c.conn.Close()
}
