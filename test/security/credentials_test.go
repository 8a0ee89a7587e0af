//go:build e2e

package security

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"path/filepath"
	"testing"
	"time"
)

// endpoint is a path of the node API and the subresources it is guarded by.
type endpoint struct {
	path   string
	guards []string
}

func endpoints() []endpoint {
	proxy := []string{"proxy"}
	return []endpoint{
		{"/pods", []string{"pods", "proxy"}},
		{"/runningpods/", []string{"pods", "proxy"}},
		{"/configz", []string{"configz", "proxy"}},
		{"/healthz", []string{"healthz", "proxy"}},
		{"/healthz/ping", []string{"healthz", "proxy"}},
		{"/metrics", []string{"metrics"}},
		{"/metrics/cadvisor", []string{"metrics"}},
		{"/metrics/resource", []string{"metrics"}},
		{"/stats/summary", []string{"stats"}},
		{"/logs/", []string{"log"}},
		{"/containerLogs/default/" + victim + "/a", proxy},
		{"/exec/default/" + victim + "/a?command=id&output=1", proxy},
		{"/attach/default/" + victim + "/a?output=1", proxy},
		{"/portForward/default/" + victim, proxy},
		{"/run/default/" + victim + "/a?cmd=id", proxy},
		{"/debug/pprof/", proxy},
		{"/debug/pprof/cmdline", proxy},
		{"/debug/pprof/heap", proxy},
		{"/debug/flags/v", proxy},
	}
}

// everywhere asks every endpoint, both ways that are served.
func (f *fixture) everywhere(t *testing.T, w who, check func(t *testing.T, what, verb string, e endpoint, got answer)) {
	t.Helper()
	for _, e := range endpoints() {
		for method, verb := range map[string]string{http.MethodGet: "get", http.MethodPost: "create"} {
			check(t, method+" "+e.path, verb, e, f.ask(t, w, method, e.path))
		}
	}
}

func unauthorized(t *testing.T, what, _ string, _ endpoint, got answer) {
	t.Helper()
	got.want(t, what, http.StatusUnauthorized, "Unauthorized")
	if ct := got.head.Get("Content-Type"); ct != "text/plain; charset=utf-8" {
		t.Errorf("%s: the content type is %q", what, ct)
	}
}

func TestNobody(t *testing.T) {
	f := cluster(t)
	f.everywhere(t, who{}, unauthorized)
}

func TestUserWithoutRights(t *testing.T) {
	f := cluster(t)
	for name, w := range map[string]who{
		account("nothing"): f.users["nothing"],
		"mallory":          {cert: f.ca.client(t, "mallory", []string{"system:authenticated", "friends"}, nil)},
	} {
		f.everywhere(t, w, func(t *testing.T, what, verb string, e endpoint, got answer) {
			got.want(t, name+": "+what, http.StatusForbidden, forbidden(name, verb, e.guards...))
		})
	}
}

// The kubelet tells anybody what it does not serve; nodeagent asks first who
// wants to know.
func TestUnknownPaths(t *testing.T) {
	f := cluster(t)
	for _, path := range []string{"/", "/nope", "/spec", "/spec/", "/cri/exec/x", "/readyz", "/debug/vars", "/api/v1/nodes"} {
		nobody, user := f.ask(t, who{}, http.MethodGet, path), f.ask(t, f.users["nothing"], http.MethodGet, path)
		if f.nodeagent() {
			nobody.want(t, "nobody asks for "+path, http.StatusUnauthorized, "Unauthorized")
			user.want(t, "a user without rights asks for "+path, http.StatusForbidden, forbidden(account("nothing"), "get", "proxy"))
		} else {
			nobody.want(t, "nobody asks for "+path, http.StatusNotFound, "404 page not found\n")
			user.want(t, "a user without rights asks for "+path, http.StatusNotFound, "404 page not found\n")
		}
		f.ask(t, f.admin, http.MethodGet, path).want(t, "the administrator asks for "+path, http.StatusNotFound, "404 page not found\n")
	}
}

// The certificates would belong to the administrator if they were good.
func TestBadCertificates(t *testing.T) {
	f := cluster(t)
	masters := []string{"system:masters"}
	stranger := newAuthority(t, f.ca.cert.Subject.CommonName)
	leaf := f.ca.client(t, "mallory", nil, nil)
	forged := (&authority{cert: leaf.Leaf, key: leaf.PrivateKey.(crypto.Signer)}).client(t, "bed-admin", masters, nil)
	forged.Certificate = append(forged.Certificate, leaf.Certificate...)
	self := newAuthority(t, "bed-admin")
	for name, w := range map[string]who{
		"of a stranger with our authority's name": {cert: stranger.client(t, "bed-admin", masters, nil)},
		"that has ended": {cert: f.ca.client(t, "bed-admin", masters, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Minute)
		})},
		"that has not begun": {cert: f.ca.client(t, "bed-admin", masters, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
		})},
		"for servers only": {cert: f.ca.client(t, "bed-admin", masters, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		})},
		"for code only": {cert: f.ca.client(t, "bed-admin", masters, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
		})},
		"signed by one that may not sign": {cert: forged},
		"signed by itself":                {cert: self.client(t, "bed-admin", masters, nil)},
	} {
		t.Run(name, func(t *testing.T) { f.everywhere(t, w, unauthorized) })
	}
	good := f.ca.client(t, "bed-admin", masters, nil)
	if got := f.ask(t, who{cert: good}, http.MethodGet, "/pods"); got.code != http.StatusOK {
		t.Errorf("the same certificate without a fault: %s", got)
	}
}

// A proxy's certificate makes the API server believe these headers; the node
// has no proxies.
func TestClaimsInHeaders(t *testing.T) {
	f := cluster(t)
	claims := []string{
		"X-Remote-User: bed-admin", "X-Remote-Group: system:masters",
		"Impersonate-User: bed-admin", "Impersonate-Group: system:masters", "X-Forwarded-For: 127.0.0.1",
		"X-Forwarded-Client-Cert: Subject=\"CN=bed-admin,O=system:masters\"", "X-Client-Cert: bed-admin",
	}
	f.ask(t, who{}, http.MethodGet, "/pods", claims...).want(t, "nobody with claims", http.StatusUnauthorized, "Unauthorized")
	proxy := f.keyPair(t, "front-proxy-client")
	f.ask(t, who{cert: proxy}, http.MethodGet, "/pods", claims...).
		want(t, "a proxy with claims", http.StatusForbidden, forbidden("front-proxy-client", "get", "pods", "proxy"))
	f.ask(t, f.users["nothing"], http.MethodGet, "/pods", claims...).
		want(t, "a user with claims", http.StatusForbidden, forbidden(account("nothing"), "get", "pods", "proxy"))
	// The node itself may not, either.
	node := f.keyPair(t, "node")
	f.ask(t, who{cert: node}, http.MethodGet, "/containerLogs/default/"+victim+"/a").
		want(t, "the node", http.StatusForbidden, forbidden("system:node:"+f.bed.NodeName, "get", "proxy"))
}

// keyPair reads one of the bed's own certificates.
func (f *fixture) keyPair(t *testing.T, name string) *tls.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(f.pki(name+".crt"), f.pki(name+".key"))
	must(t, "reading a certificate of the bed", err)
	return &pair
}

func (f *fixture) pki(name string) string { return filepath.Join(f.bed.Dir, "pki", name) }
