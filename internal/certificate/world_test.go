package certificate

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// limit bounds what takes milliseconds, on a machine that is busy.
const limit = time.Minute

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %s", what)
		}
	}
}

// authority is a CA.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// sign makes a certificate for a key that began an hour ago and ends after life.
func (a *authority) sign(t testing.TB, name pkix.Name, public any, life time.Duration) []byte {
	t.Helper()
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)) // never fails
	template := &x509.Certificate{SerialNumber: serial, Subject: name, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return certPEM(der)
}

// issue makes a pair for the node n.
func (a *authority) issue(t testing.TB, life time.Duration) (cert, key []byte) {
	t.Helper()
	private := newKey(t)
	der, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return a.sign(t, subject("n"), private.Public(), life), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

func (a *authority) pair(t testing.TB, life time.Duration) *tls.Certificate {
	t.Helper()
	pair, err := parsePair(a.issue(t, life))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// node is the files of a node, and its log.
type node struct {
	dir  string
	cfg  Config
	api  *apiServer
	logs *observer.ObservedLogs
	log  *zap.Logger
}

func newNode(t *testing.T, api *apiServer, rotate bool) *node {
	t.Helper()
	dir := t.TempDir()
	n := &node{dir: dir, api: api, cfg: Config{NodeName: "n", Kubeconfig: dir + "/kubelet.conf", BootstrapKubeconfig: dir + "/bootstrap.conf", CertDir: dir + "/pki", Rotate: rotate}}
	var core zapcore.Core
	core, n.logs = observer.New(zap.DebugLevel)
	n.log = zap.New(core)
	t.Cleanup(func() {
		if t.Failed() {
			for _, e := range n.logs.All() {
				t.Log(e.Level, e.Message, e.ContextMap())
			}
		}
	})
	return n
}

func (n *node) pem() string { return n.cfg.CertDir + "/kubelet-client-current.pem" }

// kubeconfig writes one for the API server.
func (n *node) kubeconfig(t testing.TB, path string, user clientcmdapi.AuthInfo) {
	t.Helper()
	err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: n.api.URL, CertificateAuthorityData: certPEM(n.api.ca.cert.Raw)}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": &user},
		Contexts:       map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "x",
	}, path)
	if err != nil {
		t.Fatal(err)
	}
}

// put writes a pair as an agent does.
func (n *node) put(t testing.TB, pair [][]byte) {
	t.Helper()
	s, err := newStore(n.cfg.CertDir, clientPrefix, "", "", zap.NewNop(), nil)
	if err == nil {
		_, err = s.Update(pair[0], pair[1])
	}
	if err != nil {
		t.Fatal(err)
	}
}

// start makes the client and runs it until the test ends, or stop is called.
func (n *node) start(t *testing.T) (c *Client, stop func()) {
	t.Helper()
	c, err := New(n.cfg, n.log)
	must(t, err)
	c.pace, c.sw.hold = pace{10 * time.Millisecond, 100 * time.Millisecond}, 50*time.Millisecond
	return c, background(t, c.Run)
}

// background runs something until the test ends, or stop is called.
func background(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// ask makes a call and returns whom the server took it from.
func ask(t testing.TB, c *Client) (string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.sw.base.String()+"/who", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.sw.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var text strings.Builder
	buf := make([]byte, 512)
	for {
		n, err := resp.Body.Read(buf)
		text.Write(buf[:n])
		if err != nil {
			break
		}
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %d", resp.StatusCode)
	}
	return strings.TrimSpace(text.String()), nil
}

func accepted(t testing.TB, c *Client) func() bool {
	return func() bool { who, err := ask(t, c); return err == nil && who == "system:node:n" }
}

func listing(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func linked(t testing.TB, path string) string {
	t.Helper()
	target, err := os.Readlink(path)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Base(target)
}

// gathered returns the value of a figure, if it is a gauge, and its name.
func gathered(t testing.TB, c prometheus.Collector) (value float64, name string) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil || len(families) != 1 {
		t.Fatalf("%d figures, %v", len(families), err)
	}
	return families[0].GetMetric()[0].GetGauge().GetValue(), families[0].GetName()
}

func figure(t testing.TB, c prometheus.Collector) float64 {
	t.Helper()
	value, _ := gathered(t, c)
	return value
}
