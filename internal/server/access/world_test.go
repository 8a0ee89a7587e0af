package access

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/request"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// authority is a CA.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
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

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// issue makes a client certificate, which with can change first.
func (a *authority) issue(t *testing.T, name string, with func(*x509.Certificate)) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: name, Organization: []string{"a", "b"}}, //nolint:misspell // a field of crypto/x509
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if with != nil {
		with(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// apiServer answers reviews over real HTTP, to the real client.
type apiServer struct {
	mu      sync.Mutex
	away    bool
	failing int // how many requests are answered with 500
	tokens  []authenticationv1.TokenReviewSpec
	asked   []authorizationv1.SubjectAccessReviewSpec

	users  map[string]authenticationv1.TokenReviewStatus
	allows func(authorizationv1.SubjectAccessReviewSpec) authorizationv1.SubjectAccessReviewStatus

	authn *authenticationclient.AuthenticationV1Client
	authz *authorizationclient.AuthorizationV1Client
}

func (s *apiServer) AuthenticationV1() authenticationclient.AuthenticationV1Interface { return s.authn }
func (s *apiServer) AuthorizationV1() authorizationclient.AuthorizationV1Interface    { return s.authz }

// newAPIServer knows the token "good" of jane, and allows what jane asks.
func newAPIServer(t *testing.T) *apiServer {
	t.Helper()
	s := &apiServer{
		users: map[string]authenticationv1.TokenReviewStatus{"good": {Authenticated: true, User: authenticationv1.UserInfo{
			Username: "jane", UID: "7", Groups: []string{"staff"}, Extra: map[string]authenticationv1.ExtraValue{"k": {"v"}},
		}}},
		allows: func(spec authorizationv1.SubjectAccessReviewSpec) authorizationv1.SubjectAccessReviewStatus {
			return authorizationv1.SubjectAccessReviewStatus{Allowed: spec.User == "jane"}
		},
	}
	srv := httptest.NewServer(s)
	cfg := &rest.Config{Host: srv.URL, QPS: -1, ContentConfig: rest.ContentConfig{ContentType: "application/json"}, WrapTransport: s.wire}
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close(); client.CloseIdleConnections() })
	if s.authn, err = authenticationclient.NewForConfigAndClient(cfg, client); err != nil {
		t.Fatal(err)
	}
	if s.authz, err = authorizationclient.NewForConfigAndClient(cfg, client); err != nil {
		t.Fatal(err)
	}
	return s
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// wire is what lies between the client and the server: sometimes nothing.
func (s *apiServer) wire(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		s.mu.Lock()
		away := s.away
		s.mu.Unlock()
		if away {
			return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		}
		return next.RoundTrip(r)
	})
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "application/json")
	var answer runtime.Object
	switch {
	case s.failing > 0:
		s.failing--
		w.WriteHeader(http.StatusInternalServerError)
		answer = &metav1.Status{
			TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
			Status:   metav1.StatusFailure, Reason: metav1.StatusReasonInternalError, Code: 500, Message: "etcd is having a day",
		}
	case r.URL.Path == "/apis/authentication.k8s.io/v1/tokenreviews":
		var review authenticationv1.TokenReview
		_ = json.Unmarshal(body, &review)
		s.tokens = append(s.tokens, review.Spec)
		status, ok := s.users[review.Spec.Token]
		if !ok {
			status.Error = "[invalid bearer token]"
		}
		review.Status = status
		answer = &review
	case r.URL.Path == "/apis/authorization.k8s.io/v1/subjectaccessreviews":
		var review authorizationv1.SubjectAccessReview
		_ = json.Unmarshal(body, &review)
		s.asked = append(s.asked, review.Spec)
		review.Status = s.allows(review.Spec)
		answer = &review
	default:
		w.WriteHeader(http.StatusNotFound)
		return
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (s *apiServer) set(away bool, failing int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away, s.failing = away, failing
}

// counts returns how many tokens and accesses have been asked about.
func (s *apiServer) counts() (tokens, asked int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tokens), len(s.asked)
}

// node is an Access behind TLS, with a handler that says whose request it got.
type node struct {
	url    string
	access *Access
	logs   *bytes.Buffer
	mu     sync.Mutex
	header http.Header // of the last request that reached the handler
}

// newNode serves with a configuration, over which cfg goes, until the test ends.
// with can change the Access before it runs.
func newNode(t *testing.T, clients Clients, cfg Config, with ...func(*Access)) *node {
	t.Helper()
	n := &node{logs: &bytes.Buffer{}}
	cfg.NodeName = "n1"
	if cfg.Mode == "" {
		cfg.Mode = Webhook
	}
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewDevelopmentEncoderConfig()), zapcore.Lock(zapcore.AddSync(n.logs)), zap.DebugLevel)
	var err error
	if n.access, err = New(cfg, clients, zap.New(core)); err != nil {
		t.Fatal(err)
	}
	for _, f := range with {
		f(n.access)
	}
	n.run(t)
	srv := httptest.NewUnstartedServer(n.access.Filter(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.mu.Lock()
		n.header = r.Header.Clone()
		n.mu.Unlock()
		who, ok := request.UserFrom(r.Context())
		if !ok {
			t.Error("a request without a user has passed")
			return
		}
		_, _ = io.WriteString(w, who.GetName()+" ["+strings.Join(who.GetGroups(), ",")+"]")
	})))
	srv.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	srv.Config.ErrorLog, _ = zap.NewStdLogAt(zap.NewNop(), zap.DebugLevel)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	n.url = srv.URL
	return n
}

// run runs the Access until the test ends.
func (n *node) run(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- n.access.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// caller is somebody with a certificate (or nil) and a connection.
func caller(t *testing.T, cert *tls.Certificate) *http.Client {
	t.Helper()
	cfg := &tls.Config{InsecureSkipVerify: true}
	if cert != nil {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	transport := &http.Transport{TLSClientConfig: cfg}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// call makes a request with header lines "Name: value".
func (n *node) call(t *testing.T, c *http.Client, method, path string, header ...string) (code int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, n.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func (n *node) wants(t *testing.T, c *http.Client, path string, code int, body string, header ...string) {
	t.Helper()
	gotCode, got := n.call(t, c, http.MethodGet, path, header...)
	if gotCode != code || got != body {
		t.Errorf("GET %s: %d %q, want %d %q", path, gotCode, got, code, body)
	}
}
