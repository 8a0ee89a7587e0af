package certificate

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
)

// apiServer knows clients by their certificates and signs requests for more.
type apiServer struct {
	*httptest.Server
	t      testing.TB
	ca     *authority
	tokens map[string]bool // of the bootstrap kubeconfig

	finish chan struct{} // closed when calls of slowPath may be answered

	mu       sync.Mutex
	refuse   bool          // everybody gets 401
	approve  bool          // requests are signed at once
	life     time.Duration // of what is signed
	requests map[string]*certificatesv1.CertificateSigningRequest
	news     chan struct{}       // closed when a request has changed
	by       map[string]int      // served requests by user
	conns    map[string]net.Conn // open connections
}

func newAPIServer(t *testing.T) *apiServer {
	t.Helper()
	s := &apiServer{finish: make(chan struct{}), t: t, ca: newAuthority(t, "cluster"), tokens: map[string]bool{"good": true}, approve: true, life: time.Hour,
		requests: map[string]*certificatesv1.CertificateSigningRequest{}, news: make(chan struct{}), by: map[string]int{}, conns: map[string]net.Conn{}}
	s.Server = httptest.NewUnstartedServer(s)
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, Certificates: []tls.Certificate{*s.ca.pair(t, time.Hour)}}
	s.Config.ErrorLog, _ = zap.NewStdLogAt(zap.NewNop(), zap.DebugLevel)
	s.Config.ConnState = func(c net.Conn, state http.ConnState) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if state == http.StateClosed {
			delete(s.conns, c.RemoteAddr().String())
		} else {
			s.conns[c.RemoteAddr().String()] = c
		}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *apiServer) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.news)
	s.news = make(chan struct{})
}

func (s *apiServer) count(user string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.by[user]
}

func (s *apiServer) open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// who is the caller; "" is nobody.
func (s *apiServer) who(r *http.Request) string {
	if token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "); s.tokens[token] {
		return "bootstrap"
	}
	for _, c := range r.TLS.PeerCertificates {
		pool := x509.NewCertPool()
		pool.AddCert(s.ca.cert)
		if _, err := c.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err == nil {
			return c.Subject.CommonName
		}
	}
	return ""
}

// slowPath is where an answer takes as long as the test wants.
const slowPath = "/slow"

const requestsPath = "/apis/certificates.k8s.io/v1/certificatesigningrequests"

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	user := s.who(r)
	if s.refuse {
		user = ""
	}
	s.by[user]++
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch {
	case user == "":
		status(w, http.StatusUnauthorized, metav1.StatusReasonUnauthorized)
	case r.URL.Path == requestsPath && r.Method == http.MethodPost:
		s.create(w, r, user)
	case strings.HasPrefix(r.URL.Path, requestsPath) && r.Method == http.MethodGet:
		s.read(w, r)
	case isWatch(r.URL): // of anything else: it says hello and waits
		fmt.Fprintln(w, "hello")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	case r.URL.Path == slowPath:
		_ = http.NewResponseController(w).Flush()
		select {
		case <-s.finish:
		case <-r.Context().Done():
		}
		fmt.Fprintln(w, user)
	default:
		fmt.Fprintln(w, user)
	}
}

func status(w http.ResponseWriter, code int, reason metav1.StatusReason) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Message: string(reason)})
}

func (s *apiServer) create(w http.ResponseWriter, r *http.Request, user string) {
	body, err := io.ReadAll(r.Body)
	c := &certificatesv1.CertificateSigningRequest{}
	if err == nil {
		_, _, err = scheme.Codecs.UniversalDeserializer().Decode(body, nil, c)
	}
	if err != nil {
		s.t.Error(err)
		status(w, http.StatusBadRequest, metav1.StatusReasonBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.Name == "" {
		c.Name = fmt.Sprintf("%s%d", c.GenerateName, len(s.requests))
	}
	if s.requests[c.Name] != nil {
		status(w, http.StatusConflict, metav1.StatusReasonAlreadyExists)
		return
	}
	c.UID, c.ResourceVersion, c.Spec.Username = types.UID("u-"+c.Name), "1", user
	c.TypeMeta = metav1.TypeMeta{Kind: "CertificateSigningRequest", APIVersion: "certificates.k8s.io/v1"}
	s.requests[c.Name] = c
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(c)
}

// signed returns the request as it is now, signed if requests are.
func (s *apiServer) signed(name string) *certificatesv1.CertificateSigningRequest {
	c := s.requests[name]
	if c == nil || !s.approve || len(c.Status.Conditions) > 0 {
		return c
	}
	block, _ := pem.Decode(c.Spec.Request)
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		s.t.Error(err)
		return c
	}
	c.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue}}
	c.Status.Certificate = s.ca.sign(s.t, request.Subject, request.PublicKey, s.life)
	c.ResourceVersion = "2"
	return c
}

func (s *apiServer) read(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, requestsPath), "/")
	if name == "" {
		name = strings.TrimPrefix(r.URL.Query().Get("fieldSelector"), "metadata.name=")
	} else {
		s.mu.Lock()
		defer s.mu.Unlock()
		_ = json.NewEncoder(w).Encode(s.signed(name))
		return
	}
	if r.URL.Query().Get("sendInitialEvents") != "" {
		status(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid) // a list has to do
		return
	}
	last := ""
	for {
		s.mu.Lock()
		c, news := s.signed(name).DeepCopy(), s.news
		s.mu.Unlock()
		if !isWatch(r.URL) {
			list := certificatesv1.CertificateSigningRequestList{TypeMeta: metav1.TypeMeta{Kind: "CertificateSigningRequestList", APIVersion: "certificates.k8s.io/v1"}}
			list.ResourceVersion = "1"
			if c != nil {
				list.Items = append(list.Items, *c)
			}
			_ = json.NewEncoder(w).Encode(&list)
			return
		}
		if c != nil && c.ResourceVersion != last && c.ResourceVersion != r.URL.Query().Get("resourceVersion") {
			last = c.ResourceVersion
			_ = json.NewEncoder(w).Encode(map[string]any{"type": "MODIFIED", "object": c})
			_ = http.NewResponseController(w).Flush()
		}
		select {
		case <-news:
		case <-r.Context().Done():
			return
		}
	}
}
