//go:build e2e

package security

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// patience bounds every exchange: a server that hangs fails the test.
const patience = 30 * time.Second

// who is what a client has to show: a certificate, a token, both or nothing.
type who struct {
	cert  *tls.Certificate
	token string
}

// answer is a response as it was read, to its end.
type answer struct {
	code int
	head http.Header
	body string
	// cut says that the connection ended before the response did.
	cut error
}

func (a answer) String() string {
	return fmt.Sprintf("%d %q (%s)", a.code, clip(a.body, 300), a.head.Get("Content-Type"))
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n] + "..."
	}
	return s
}

// dial opens a TLS connection that shows the client's certificate whatever
// authorities the server names. It ends with the test at the latest.
func dial(t *testing.T, addr string, cert *tls.Certificate, protos ...string) *tls.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	d := tls.Dialer{Config: &tls.Config{
		InsecureSkipVerify: true, NextProtos: protos, // the server's identity is another test's business
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if cert == nil {
				return &tls.Certificate{}, nil
			}
			return cert, nil
		},
	}}
	c, err := d.DialContext(ctx, "tcp", addr)
	must(t, "connecting to the agent", err)
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c.(*tls.Conn)
}

// raw sends bytes as they are and reads the responses to the given methods;
// it stops early when the server closes the connection.
func raw(t *testing.T, addr string, cert *tls.Certificate, request string, methods ...string) []answer {
	t.Helper()
	c := dial(t, addr, cert)
	defer c.Close()
	go func() { _, _ = io.WriteString(c, request) }() // a refusal may come before the end
	in := bufio.NewReader(c)
	var all []answer
	for _, m := range methods {
		a, err := readAnswer(in, m)
		if err != nil {
			if !closed(err) {
				t.Fatalf("reading answer %d to %q: %v", len(all)+1, clip(request, 200), err)
			}
			return all
		}
		all = append(all, a)
	}
	return all
}

func readAnswer(in *bufio.Reader, method string) (answer, error) {
	resp, err := http.ReadResponse(in, &http.Request{Method: method})
	if err != nil {
		return answer{}, err
	}
	a := answer{code: resp.StatusCode, head: resp.Header}
	if a.code == http.StatusSwitchingProtocols {
		return a, nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	a.body, a.cut = string(body), err
	return a, nil
}

// closed tells that the other side ended the connection.
func closed(err error) bool {
	var timeout net.Error
	return err != nil && (!errors.As(err, &timeout) || !timeout.Timeout())
}

// line makes a request as a careful client would, with the credentials; more
// are whole header lines without their ends.
func (f *fixture) line(w who, method, target string, more ...string) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, target, f.addr)
	if w.token != "" {
		fmt.Fprintf(&s, "Authorization: Bearer %s\r\n", w.token)
	}
	for _, h := range more {
		s.WriteString(h + "\r\n")
	}
	return s.String() + "\r\n"
}

// ask sends one request on a connection of its own.
func (f *fixture) ask(t *testing.T, w who, method, target string, more ...string) answer {
	t.Helper()
	got := raw(t, f.addr, w.cert, f.line(w, method, target, append(more, "Connection: close")...), method)
	if len(got) != 1 {
		t.Fatalf("%s %s: the connection was closed without an answer", method, clip(target, 200))
	}
	return got[0]
}

// want fails the test unless the answer has this status and exactly this body.
func (a answer) want(t *testing.T, what string, code int, body string) {
	t.Helper()
	if a.code != code || a.body != body {
		t.Errorf("%s: got %s, want %d %q", what, a, code, body)
	}
}

// forbidden is the kubelet's sentence about what a user may not.
func forbidden(user, verb string, subresources ...string) string {
	return fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=nodes, subresource(s)=[%s])\n", user, verb, strings.Join(subresources, " "))
}
