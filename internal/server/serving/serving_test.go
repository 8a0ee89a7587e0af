package serving

import (
	"crypto/tls"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"nodeagent.dev/nodeagent/internal/server/access"
)

func TestSettings(t *testing.T) {
	cert, key := writePair(t, t.TempDir(), "node")
	const (
		gcm128 = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
		gcm256 = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
		cbc    = "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256"
	)
	only12 := func(suites ...uint16) *tls.Config {
		return &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: suites, NextProtos: []string{"h2", "http/1.1"}}
	}
	is := func(what string, ok func(tls.ConnectionState) bool) func(*testing.T, tls.ConnectionState) {
		return func(t *testing.T, state tls.ConnectionState) {
			if !ok(state) {
				t.Errorf("not %s: version %x, suite %s, curve %s, protocol %q", what, state.Version,
					tls.CipherSuiteName(state.CipherSuite), state.CurveID, state.NegotiatedProtocol)
			}
		}
	}
	for _, c := range []struct {
		name   string
		cfg    Config
		client *tls.Config
		agreed func(*testing.T, tls.ConnectionState) // nil: no handshake
		warns  string
	}{
		{
			name: "defaults", client: &tls.Config{NextProtos: []string{"h2", "http/1.1"}},
			agreed: is("TLS 1.3 and HTTP/2", func(s tls.ConnectionState) bool {
				return s.Version == tls.VersionTLS13 && s.NegotiatedProtocol == "h2"
			}),
		},
		{
			name: "HTTP/1.1, as upgrades need", client: &tls.Config{NextProtos: []string{"http/1.1"}},
			agreed: is("HTTP/1.1", func(s tls.ConnectionState) bool { return s.NegotiatedProtocol == "http/1.1" }),
		},
		{name: "1.1 is too old by default", client: &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}},
		{
			name: "1.1 if wanted", cfg: Config{MinVersion: "VersionTLS11"},
			client: &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
			agreed: is("TLS 1.1", func(s tls.ConnectionState) bool { return s.Version == tls.VersionTLS11 }),
		},
		{name: "1.2 is too old if 1.3 is wanted", cfg: Config{MinVersion: "VersionTLS13"}, client: only12()},
		{
			name: "1.3 has suites of its own", cfg: Config{MinVersion: "VersionTLS13", CipherSuites: []string{gcm256}}, client: &tls.Config{},
			agreed: is("TLS 1.3", func(s tls.ConnectionState) bool { return s.Version == tls.VersionTLS13 }),
			warns:  "tlsCipherSuites is ignored",
		},
		{name: "another suite", cfg: Config{CipherSuites: []string{gcm256}}, client: only12(tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)},
		{
			name: "a suite that HTTP/2 has no need of", cfg: Config{CipherSuites: []string{gcm256}}, client: only12(),
			agreed: is("the suite, with HTTP/1.1", func(s tls.ConnectionState) bool {
				return s.CipherSuite == tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 && s.NegotiatedProtocol == "http/1.1"
			}),
		},
		{
			name: "the suite of HTTP/2", cfg: Config{CipherSuites: []string{gcm128}}, client: only12(),
			agreed: is("the suite, with HTTP/2", func(s tls.ConnectionState) bool {
				return s.CipherSuite == tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 && s.NegotiatedProtocol == "h2"
			}),
		},
		{
			name: "an insecure suite", cfg: Config{CipherSuites: []string{cbc}}, client: only12(tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256),
			agreed: is("the suite", func(s tls.ConnectionState) bool { return s.CipherSuite == tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256 }),
			warns:  "insecure",
		},
		{
			name: "a curve", cfg: Config{Curves: []int32{int32(tls.CurveP384)}}, client: &tls.Config{},
			agreed: is("P-384", func(s tls.ConnectionState) bool { return s.CurveID == tls.CurveP384 }),
		},
		{name: "another curve", cfg: Config{Curves: []int32{int32(tls.CurveP384)}}, client: &tls.Config{CurvePreferences: []tls.CurveID{tls.X25519}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.CertFile, c.cfg.KeyFile = cert, key
			addr, log := start(t, c.cfg)
			state, err := shake(t, addr, c.client)
			switch {
			case c.agreed == nil && err == nil:
				t.Errorf("agreed on version %x, %s, %s", state.Version, tls.CipherSuiteName(state.CipherSuite), state.CurveID)
			case c.agreed != nil && err != nil:
				t.Error(err)
			case c.agreed != nil:
				c.agreed(t, state)
			}
			warned := strings.Join(log.warnings(), "\n")
			if (c.warns == "") != (warned == "") || !strings.Contains(warned, c.warns) {
				t.Errorf("warned %q, want %q", warned, c.warns)
			}
		})
	}
}

// The server speaks what was agreed on.
func TestProtocols(t *testing.T) {
	cert, key := writePair(t, t.TempDir(), "node")
	addr, _ := start(t, Config{CertFile: cert, KeyFile: key})
	for _, http2 := range []bool{true, false} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: http2}
		resp, err := (&http.Client{Transport: transport}).Get("https://" + addr)
		must(t, err)
		text, err := io.ReadAll(resp.Body)
		must(t, err, resp.Body.Close())
		transport.CloseIdleConnections()
		if got := string(text); (got == "HTTP/2.0") != http2 {
			t.Errorf("a client with HTTP/2 %v got %s", http2, got)
		}
	}
}

func TestPairRotates(t *testing.T) {
	dir := t.TempDir()
	cert, key := writePair(t, dir, "one")
	addr, log := start(t, Config{CertFile: cert, KeyFile: key, Reload: true}, eventsAlone)
	if got := shown(t, addr); got != "one" {
		t.Fatalf("shown %s", got)
	}
	writePair(t, dir, "two")
	log.await(t, "loaded again")
	awaitShown(t, addr, "two")
	// Renamed over.
	newCert, newKey := writePair(t, dir+"/new", "three")
	must(t, os.Rename(newKey, key), os.Rename(newCert, cert))
	awaitShown(t, addr, "three")
}

// eventsAlone leaves a Serving what the kernel tells of.
func eventsAlone(s *Serving) { s.recheck = time.Hour }

// often makes a Serving find at once what no event tells of.
func often(s *Serving) { s.recheck = 10 * time.Millisecond }

// Half of a pair is not served; the whole one is.
func TestHalfAPair(t *testing.T) {
	cert, key := writePair(t, t.TempDir(), "one")
	addr, log := start(t, Config{CertFile: cert, KeyFile: key, Reload: true}, often)
	newCert, newKey := newPair(t, "two")
	must(t, os.WriteFile(cert, newCert, 0o600))
	log.await(t, "stays in use")
	if got := shown(t, addr); got != "one" {
		t.Errorf("shown %s with half a pair", got)
	}
	must(t, os.WriteFile(key, newKey, 0o600))
	awaitShown(t, addr, "two")
}

// Mounted secrets swap a link and remove what it led to; certificate tools
// leave that, so that no event tells of it.
func TestLinkedPairRotates(t *testing.T) {
	for name, c := range map[string]struct {
		with   func(*Serving)
		remove bool
	}{
		"mounted secret":   {eventsAlone, true},
		"certificate tool": {often, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			writePair(t, dir+"/..1", "one")
			writePair(t, dir+"/..2", "two")
			must(t, os.Symlink("..1", dir+"/..data"), os.Symlink("..data/tls.crt", dir+"/tls.crt"), os.Symlink("..data/tls.key", dir+"/tls.key"))
			addr, _ := start(t, Config{CertFile: dir + "/tls.crt", KeyFile: dir + "/tls.key", Reload: true}, c.with)
			if got := shown(t, addr); got != "one" {
				t.Fatalf("shown %s", got)
			}
			must(t, os.Symlink("..2", dir+"/..new"), os.Rename(dir+"/..new", dir+"/..data"))
			if c.remove {
				must(t, os.RemoveAll(dir+"/..1"))
			}
			awaitShown(t, addr, "two")
		})
	}
}

func TestWithoutReload(t *testing.T) {
	dir := t.TempDir()
	cert, key := writePair(t, dir, "one")
	addr, _ := start(t, Config{CertFile: cert, KeyFile: key}, func(s *Serving) {
		if s.file != nil {
			t.Error("the files are read again")
		}
		writePair(t, dir, "two")
		must(t, s.current.RunOnce())
	})
	if got := shown(t, addr); got != "one" {
		t.Errorf("shown %s", got)
	}
}

// Clients are asked for certificates of the CA that the file has now.
func TestClientCA(t *testing.T) {
	dir := t.TempDir()
	cert, key := writePair(t, dir, "node")
	one, _ := newPair(t, "one")
	two, _ := newPair(t, "two")
	must(t, os.WriteFile(dir+"/ca.crt", one, 0o600))
	callers, err := access.New(access.Config{Mode: access.AlwaysAllow, ClientCAFile: dir + "/ca.crt"}, nil, zap.NewNop())
	must(t, err)
	addr, _ := start(t, Config{CertFile: cert, KeyFile: key, ClientCA: callers.ClientCA()})
	asked := func(addr string) string {
		names := "not asked"
		_, err := shake(t, addr, &tls.Config{GetClientCertificate: func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			names = ""
			for _, ca := range info.AcceptableCAs {
				names += string(ca)
			}
			return &tls.Certificate{}, nil // none: still a good connection
		}})
		must(t, err)
		return names
	}
	if got := asked(addr); !strings.Contains(got, "one") {
		t.Errorf("asked for %q", got)
	}
	run(t, callers)
	must(t, os.WriteFile(dir+"/ca.crt", two, 0o600))
	await(t, "a request for the new CA's certificates", func() bool { return strings.Contains(asked(addr), "two") })

	callers, err = access.New(access.Config{Mode: access.AlwaysAllow}, nil, zap.NewNop())
	must(t, err)
	for _, cfg := range []Config{{ClientCA: callers.ClientCA()}, {}} {
		cfg.CertFile, cfg.KeyFile = cert, key
		addr, _ = start(t, cfg)
		if got := asked(addr); got != "not asked" {
			t.Errorf("asked for %q without a CA", got)
		}
	}
}

func TestNewSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	cert, key := writePair(t, dir+"/1", "one")
	_, other := writePair(t, dir+"/2", "two")
	must(t, os.MkdirAll(dir+"/3/kubelet.crt", 0o755), os.WriteFile(dir+"/file", nil, 0o600))
	for _, c := range []struct {
		cfg  Config
		says []string
	}{
		{Config{CertFile: cert}, []string{"tlsPrivateKeyFile", "both"}},
		{Config{KeyFile: key}, []string{"tlsCertFile", "both"}},
		{Config{CertFile: cert, KeyFile: other}, []string{cert, other, "does not match", "belong together"}},
		{Config{CertFile: dir + "/missing", KeyFile: key}, []string{dir + "/missing", "tlsCertFile", "no such file"}},
		{Config{CertFile: dir, KeyFile: key}, []string{dir, "tlsCertFile", "is a directory"}},
		{Config{CertFile: cert, KeyFile: key, MinVersion: "1.2"}, []string{"tlsMinVersion", "VersionTLS12"}},
		{Config{CertFile: cert, KeyFile: key, CipherSuites: []string{"X"}}, []string{"tlsCipherSuites", "X", "TLS_ECDHE"}},
		{Config{CertFile: cert, KeyFile: key, Curves: []int32{29, 29}}, []string{"tlsCurvePreferences", "29"}},
		{Config{HostName: "n1"}, []string{"directory is \"\""}},
		{Config{CertDir: dir}, []string{"host name is \"\""}},
		{Config{CertDir: dir + "/3", HostName: "n1"}, []string{dir + "/3/kubelet.crt", "is a directory", "remove"}},
		{Config{CertDir: dir + "/file/pki", HostName: "n1"}, []string{dir + "/file", "not a directory"}},
	} {
		_, err := New(c.cfg, zap.NewNop())
		if err == nil {
			t.Errorf("%+v is no error", c.cfg)
			continue
		}
		for _, text := range c.says {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%q does not say %q", err, text)
			}
		}
	}
}
