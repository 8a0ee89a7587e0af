//go:build e2e

package security

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// handshake shakes hands with this configuration, trusting the bed's authority.
func (f *fixture) handshake(t *testing.T, config *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	config.RootCAs = x509.NewCertPool()
	config.RootCAs.AddCert(f.ca.cert)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", f.addr)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer c.Close()
	return c.(*tls.Conn).ConnectionState(), nil
}

func TestTLS(t *testing.T) {
	f := cluster(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		if _, err := f.handshake(t, &tls.Config{MinVersion: version, MaxVersion: version}); err != nil {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
		if _, err := f.handshake(t, &tls.Config{MinVersion: version, MaxVersion: version}); err == nil {
			t.Errorf("%s was agreed on", tls.VersionName(version))
		}
	}
	for _, suite := range tls.InsecureCipherSuites() {
		if _, err := f.handshake(t, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite.ID}}); err == nil {
			t.Errorf("%s was agreed on", suite.Name)
		}
	}
	f.unencrypted(t)
}

// unencrypted asks in plain text.
func (f *fixture) unencrypted(t *testing.T) {
	t.Helper()
	c, err := net.DialTimeout("tcp", f.addr, patience)
	must(t, "connecting", err)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, err = io.WriteString(c, f.line(who{}, "GET", "/pods"))
	must(t, "asking", err)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	must(t, "reading the answer", err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a request in plain text got %s", resp.Status)
	}
}

// Whose name is in a certificate has chosen it; it must stay a name.
func TestNamesOfUsers(t *testing.T) {
	f := cluster(t)
	for _, name := range []string{
		"%s%d%!n", "<script>alert(1)</script>", "a b, verb=get, resource=pods", strings.Repeat("x", 10_000), "\u202eadmin", "a\x00b",
		"mallory\nE0101 00:00:00 forged line", "mallory\r\nX-Forged: yes\r\n\r\n",
	} {
		got := f.ask(t, who{cert: f.ca.client(t, name, nil, nil)}, "GET", "/metrics")
		got.want(t, clip(name, 40), http.StatusForbidden, forbidden(name, "get", "metrics"))
		if ct := got.head.Get("Content-Type"); strings.Contains(ct, "html") || got.head.Get("X-Forged") != "" {
			t.Errorf("%q: the header is %v", clip(name, 40), got.head)
		}
	}
	for line := range strings.Lines(f.bed.Component("agent").Log()) {
		if strings.HasPrefix(line, "E0101") || strings.HasPrefix(line, "X-Forged") {
			t.Errorf("a user wrote a line of the agent's log: %q", line)
		}
	}
}

// A chain may be long; looking for the way to the authority must not take long.
func TestLongChains(t *testing.T) {
	f := cluster(t)
	// Each looks like the authority of the next, and none is.
	chain := &tls.Certificate{}
	for range 60 {
		fake := newAuthority(t, f.ca.cert.Subject.CommonName)
		leaf := fake.client(t, "bed-admin", []string{"system:masters"}, nil)
		if chain.PrivateKey == nil {
			*chain = *leaf
		}
		chain.Certificate = append(chain.Certificate, fake.cert.Raw)
	}
	start := time.Now()
	f.ask(t, who{cert: chain}, "GET", "/pods").want(t, "a chain of strangers", http.StatusUnauthorized, "Unauthorized")
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	good := f.ca.client(t, "bed-admin", []string{"system:masters"}, nil)
	good.Certificate = append(good.Certificate, chain.Certificate...)
	if got := f.ask(t, who{cert: good}, "GET", "/pods"); got.code != http.StatusOK {
		t.Errorf("a good certificate in bad company got %s", got)
	}
	// What does not fit into a handshake ends it, and nothing else.
	for range 14 {
		good.Certificate = append(good.Certificate, good.Certificate...)[:min(len(good.Certificate)*2, 4000)]
	}
	config := &tls.Config{GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return good, nil }}
	config.MaxVersion = tls.VersionTLS12 // where a handshake fails for the client, too
	if _, err := f.handshake(t, config); err == nil {
		t.Error("a chain of 4,000 certificates was accepted")
	}
	f.promptly(t)
}
