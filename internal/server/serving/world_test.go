package serving

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// newPair returns a self-signed certificate for name, and its key.
func newPair(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IsCA: true,
		BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	must(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(signer)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// writePair puts a pair for name into a directory.
func writePair(t *testing.T, dir, name string) (certFile, keyFile string) {
	t.Helper()
	cert, key := newPair(t, name)
	certFile, keyFile = dir+"/tls.crt", dir+"/tls.key"
	must(t, os.MkdirAll(dir, 0o755), os.WriteFile(certFile, cert, 0o600), os.WriteFile(keyFile, key, 0o600))
	return certFile, keyFile
}

// lines is a log that can be waited for.
type lines struct {
	*zap.Logger
	*observer.ObservedLogs
	added chan string
}

func newLines() *lines {
	core, logs := observer.New(zap.DebugLevel)
	l := &lines{ObservedLogs: logs, added: make(chan string, 1000)}
	l.Logger = zap.New(core, zap.Hooks(func(e zapcore.Entry) error { l.added <- e.Message; return nil }))
	return l
}

func (l *lines) await(t *testing.T, part string) {
	t.Helper()
	for deadline := time.After(patience); ; {
		select {
		case got := <-l.added:
			if strings.Contains(got, part) {
				return
			}
		case <-deadline:
			t.Fatalf("the log never says %q", part)
		}
	}
}

func (l *lines) warnings() (all []string) {
	for _, e := range l.FilterLevelExact(zap.WarnLevel).All() {
		all = append(all, e.Message)
	}
	return all
}

// listen serves TLS as the node's API does and returns the address. The
// handler answers with the protocol.
func listen(t *testing.T, s *Serving, log *lines) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	srv := &http.Server{TLSConfig: s.TLS(), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto)
	})}
	srv.ErrorLog, err = zap.NewStdLogAt(log.Logger, zap.DebugLevel)
	must(t, err)
	ended := make(chan error)
	go func() { ended <- srv.ServeTLS(l, "", "") }()
	t.Cleanup(func() {
		_ = srv.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// run runs the Serving until the test ends.
func run(t *testing.T, r interface{ Run(context.Context) error }) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// start makes a Serving and serves with it until the test ends. with can change
// it before it runs.
func start(t *testing.T, cfg Config, with ...func(*Serving)) (addr string, log *lines) {
	t.Helper()
	log = newLines()
	s, err := New(cfg, log.Logger)
	must(t, err)
	for _, f := range with {
		f(s)
	}
	run(t, s)
	return listen(t, s, log), log
}

// shake makes a handshake, and with TLS 1.3 waits for the server's verdict.
func shake(t *testing.T, addr string, cfg *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	if cfg == nil {
		cfg = &tls.Config{}
	}
	cfg.InsecureSkipVerify = true
	conn, err := (&tls.Dialer{Config: cfg}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState(), nil
}

// awaitShown makes connections until one is shown a certificate for name.
func awaitShown(t *testing.T, addr, name string) {
	t.Helper()
	await(t, "a certificate for "+name, func() bool { return shown(t, addr) == name })
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for deadline := time.After(patience); !done(); {
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("there never is %s", what)
		}
	}
}

// shown returns the name in the certificate that a new connection is shown.
func shown(t *testing.T, addr string) string {
	t.Helper()
	state, err := shake(t, addr, nil)
	must(t, err)
	return state.PeerCertificates[0].DNSNames[0]
}
