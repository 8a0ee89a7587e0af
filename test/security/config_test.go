//go:build e2e

package security

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"nodeagent.dev/nodeagent/test/bed"
)

// variants is a bed without a control plane whose agent is started again with
// each configuration.
type variants struct {
	fixture
	base map[string]any
}

func newVariants(t *testing.T) *variants {
	t.Helper()
	b, err := bed.New(t.Context(), bed.Options{Output: os.Stderr, Standalone: true})
	must(t, "starting a standalone bed", err)
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("closing the bed: %v", err)
		}
	})
	showLog(t, b)
	v := &variants{fixture: fixture{bed: b}}
	u, err := url.Parse(b.AgentURL())
	must(t, "parsing the agent's address", err)
	v.addr = u.Host
	v.ca, err = loadAuthority(v.pki(""))
	must(t, "loading the bed's authority", err)
	v.admin.cert = v.keyPair(t, "admin")
	text, err := os.ReadFile(b.KubeletConfig)
	must(t, "reading the configuration", err)
	must(t, "parsing the configuration", json.Unmarshal(text, &v.base))
	return v
}

// with starts the agent again with a changed configuration.
func (v *variants) with(t *testing.T, changes map[string]any) {
	t.Helper()
	config := maps.Clone(v.base)
	maps.Copy(config, changes)
	text, err := json.Marshal(config)
	must(t, "encoding the configuration", err)
	must(t, "writing the configuration", os.WriteFile(v.bed.KubeletConfig, text, 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, "starting the agent with another configuration", v.bed.Component("agent").Restart(ctx))
	if changes["enableServer"] == false {
		return
	}
	for {
		c, err := net.Dial("tcp", v.addr)
		if err == nil {
			_ = c.Close()
			return
		}
		must(t, "waiting for the node API", pause(ctx))
	}
}

// x509 is the authentication section with this authority.
func x509Section(caFile string, anonymous bool) map[string]any {
	return map[string]any{
		"anonymous": map[string]any{"enabled": anonymous}, "webhook": map[string]any{"enabled": false},
		"x509": map[string]any{"clientCAFile": caFile},
	}
}

// offer dials with these limits and says what was agreed.
func (v *variants) offer(t *testing.T, limits *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	limits.InsecureSkipVerify = true
	d := tls.Dialer{Config: limits, NetDialer: &net.Dialer{Timeout: patience}}
	c, err := d.DialContext(t.Context(), "tcp", v.addr)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer c.Close()
	return c.(*tls.Conn).ConnectionState(), nil
}

func TestOtherConfigurations(t *testing.T) {
	v := newVariants(t)
	t.Run("debugging handlers off", v.debuggingOff)
	t.Run("single handlers off", v.handlersOff)
	t.Run("anonymous and a read-only port", v.anonymous)
	t.Run("TLS 1.3", v.newTLS)
	t.Run("one cipher suite and a certificate of its own", v.cipherSuite)
	t.Run("rotation", v.rotation)
	t.Run("no server", v.noServer)
}

// debugPaths are those that enableDebuggingHandlers and the read-only port
// answer with a sentence.
func debugPaths() []string {
	return []string{
		"/run/default/x/a", "/exec/default/x/a", "/attach/default/x/a", "/portForward/default/x", "/containerLogs/default/x/a",
		"/runningpods/", "/debug/pprof/", "/debug/pprof/heap", "/logs/", "/logs/messages",
	}
}

func (v *variants) debuggingOff(t *testing.T) {
	v.with(t, map[string]any{"enableDebuggingHandlers": false})
	for _, path := range debugPaths() {
		for _, method := range []string{"GET", "POST"} {
			v.ask(t, who{}, method, path).want(t, "nobody: "+path, 401, "Unauthorized")
			v.ask(t, v.admin, method, path).want(t, method+" "+path, 405, "Debug endpoints are disabled.\n")
		}
		_, got := v.upgrade(t, v.admin, "GET", path, asksWebSocket...)
		got.want(t, "a WebSocket to "+path, 405, "Debug endpoints are disabled.\n")
	}
	for _, path := range []string{"/configz", "/debug/flags/v"} {
		if got := v.ask(t, v.admin, "GET", path); got.code != 404 {
			t.Errorf("%s: got %s", path, got)
		}
	}
	for _, path := range []string{"/pods", "/healthz", "/metrics"} {
		v.ask(t, who{}, "GET", path).want(t, "nobody: "+path, 401, "Unauthorized")
		if got := v.ask(t, v.admin, "GET", path); got.code != 200 {
			t.Errorf("%s: got %s", path, got)
		}
	}
}

func (v *variants) handlersOff(t *testing.T) {
	v.with(t, map[string]any{"enableProfilingHandler": false, "enableSystemLogHandler": false, "enableDebugFlagsHandler": false})
	for path, text := range map[string]string{
		"/debug/pprof/": "profiling endpoint is disabled.\n", "/debug/pprof/heap": "profiling endpoint is disabled.\n",
		"/logs/": "logs endpoint is disabled.\n", "/logs/x": "logs endpoint is disabled.\n",
		"/debug/flags/v": "flags endpoint is disabled.\n",
	} {
		v.ask(t, who{}, "GET", path).want(t, "nobody: "+path, 401, "Unauthorized")
		v.ask(t, v.admin, "GET", path).want(t, path, 405, text)
		v.ask(t, v.admin, "PUT", path).want(t, "PUT "+path, 405, text)
	}
}

func (v *variants) anonymous(t *testing.T) {
	readOnly := freePort(t, v.bed.NodeIP)
	v.with(t, map[string]any{"readOnlyPort": readOnly, "authentication": x509Section(v.pki("ca.crt"), true)})
	for _, path := range []string{"/pods", "/configz", "/debug/pprof/cmdline"} {
		if got := v.ask(t, who{}, "GET", path); got.code != 200 {
			t.Errorf("anonymous: %s: got %s", path, got)
		}
	}
	// Credentials that are no good are not taken for none.
	bad := newAuthority(t, "stranger").client(t, "bed-admin", []string{"system:masters"}, nil)
	v.ask(t, who{cert: bad}, "GET", "/pods").want(t, "a bad certificate", 401, "Unauthorized")

	addr := net.JoinHostPort(v.bed.NodeIP, fmt.Sprint(readOnly))
	for path, code := range map[string]int{
		"/healthz": 200, "/pods": 200, "/metrics": 200, "/configz": 404, "/debug/flags/v": 404, "/checkpoint/default/x/a": 404, "/nope": 404,
	} {
		if got := plain(t, addr, "GET", path); got.code != code {
			t.Errorf("read-only: %s: got %s, want %d", path, got, code)
		}
	}
	for _, path := range debugPaths() {
		for _, method := range []string{"GET", "POST"} {
			plain(t, addr, method, path).want(t, "read-only: "+method+" "+path, 405, "Debug endpoints are disabled.\n")
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE"} {
		if got := plain(t, addr, method, "/pods"); got.code != 405 {
			t.Errorf("read-only: %s /pods: got %s", method, got)
		}
	}
}

func plain(t *testing.T, addr, method, target string) answer {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, patience)
	must(t, "connecting to the read-only port", err)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, err = fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", method, target)
	must(t, "asking the read-only port", err)
	got, err := readAnswer(bufio.NewReader(c), method)
	must(t, "reading from the read-only port", err)
	return got
}

func freePort(t *testing.T, ip string) int {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	must(t, "looking for a free port", err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (v *variants) newTLS(t *testing.T) {
	v.with(t, map[string]any{"tlsMinVersion": "VersionTLS13"})
	if _, err := v.offer(t, &tls.Config{MaxVersion: tls.VersionTLS12}); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.2 got %v", err)
	}
	if got, err := v.offer(t, &tls.Config{}); err != nil || got.Version != tls.VersionTLS13 {
		t.Errorf("TLS 1.3 got %x, %v", got.Version, err)
	}
}

// Without files the agent makes a certificate, for itself alone.
func (v *variants) cipherSuite(t *testing.T) {
	certs := filepath.Join(v.bed.RootDir, "pki")
	v.with(t, map[string]any{
		// The kubelet does not start without the suites that HTTP/2 demands.
		"tlsCertFile": "", "tlsPrivateKeyFile": "", "tlsCipherSuites": []string{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"},
	})
	other := []uint16{
		tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	}
	if _, err := v.offer(t, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: other}); err == nil {
		t.Error("a cipher suite that is not allowed was agreed on")
	}
	got, err := v.offer(t, &tls.Config{MaxVersion: tls.VersionTLS12})
	must(t, "connecting with TLS 1.2", err)
	if name := tls.CipherSuiteName(got.CipherSuite); !strings.HasSuffix(name, "_AES_128_GCM_SHA256") {
		t.Errorf("agreed on %s", name)
	}
	leaf := got.PeerCertificates[0]
	if err := leaf.VerifyHostname(v.bed.NodeName); err != nil {
		t.Errorf("the certificate the agent made: %v", err)
	}
	info, err := os.Stat(filepath.Join(certs, "kubelet.key"))
	must(t, "looking at the key the agent made", err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the key the agent made has mode %v", info.Mode())
	}
	v.ask(t, who{}, "GET", "/pods").want(t, "nobody", 401, "Unauthorized")
}

func (v *variants) noServer(t *testing.T) {
	v.with(t, map[string]any{"enableServer": false})
	c, err := net.Dial("tcp", v.addr)
	if err == nil {
		_ = c.Close()
	}
	if err == nil || !strings.Contains(err.Error(), syscall.ECONNREFUSED.Error()) {
		t.Errorf("connecting got %v", err)
	}
}

// rotation replaces the authority of clients and the serving certificate on
// disk, under a running agent.
func (v *variants) rotation(t *testing.T) {
	dir := t.TempDir()
	caFile, certFile, keyFile := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	first, second := newAuthority(t, "clients"), newAuthority(t, "clients")
	serve := func(name string) {
		pair := v.ca.server(t, name, v.bed.NodeIP)
		replace(t, keyFile, keyPEM(t, pair.PrivateKey))
		replace(t, certFile, certPEM(pair.Certificate[0]))
	}
	serve("one")
	replace(t, caFile, first.pem())
	v.with(t, map[string]any{"tlsCertFile": certFile, "tlsPrivateKeyFile": keyFile, "authentication": x509Section(caFile, false)})
	old, fresh := who{cert: first.client(t, "old", nil, nil)}, who{cert: second.client(t, "fresh", nil, nil)}
	v.ask(t, fresh, "GET", "/pods").want(t, "a client of another authority", 401, "Unauthorized")
	kept := dial(t, v.addr, old.cert)
	ask := func() int {
		_, err := io.WriteString(kept, v.line(who{}, "GET", "/pods"))
		must(t, "asking on a connection that was kept", err)
		_ = kept.SetDeadline(time.Now().Add(patience))
		got, err := readAnswer(bufio.NewReader(kept), "GET")
		must(t, "reading from a connection that was kept", err)
		return got.code
	}
	if code := ask(); code != 200 {
		t.Fatalf("before the rotation the client got %d", code)
	}
	pid, err := v.bed.Component("agent").PID(t.Context())
	must(t, "asking for the agent's process", err)

	replace(t, caFile, []byte("-----BEGIN CERTIFICATE-----\nhalf of a fi"))
	if code := ask(); code != 200 {
		t.Errorf("with a damaged authority on disk the client got %d", code)
	}
	replace(t, caFile, second.pem())
	v.eventually(t, "the new authority", func() bool { return v.ask(t, fresh, "GET", "/pods").code == http.StatusOK })
	v.ask(t, old, "GET", "/pods").want(t, "the old client", 401, "Unauthorized")
	if code := ask(); code != 401 {
		t.Errorf("the old client's old connection got %d", code)
	}

	serve("two")
	v.eventually(t, "the new serving certificate", func() bool {
		got, err := v.offer(t, &tls.Config{})
		must(t, "connecting", err)
		return got.PeerCertificates[0].Subject.CommonName == "two"
	})
	if now, err := v.bed.Component("agent").PID(t.Context()); err != nil || now != pid {
		t.Errorf("the agent was started again: process %d became %d (%v)", pid, now, err)
	}
}

// eventually waits; both agents also look at the files once a minute.
func (v *variants) eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	for !done() {
		must(t, "waiting for "+what, pause(ctx))
	}
	t.Logf("%s after %s", what, time.Since(start).Round(time.Millisecond))
}
