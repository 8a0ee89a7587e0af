package access

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
)

const patience = 30 * time.Second

func TestTokens(t *testing.T) {
	api := newAPIServer(t)
	n := newNode(t, api, Config{Webhook: true, TokenCacheTTL: time.Hour, AllowedTTL: time.Hour})
	c := caller(t, nil)
	for range 3 {
		n.wants(t, c, "/exec/ns/p/c", 200, "jane [staff,system:authenticated]", "Authorization: Bearer good")
	}
	if tokens, asked := api.counts(); tokens != 1 || asked != 1 {
		t.Errorf("the API server was asked about %d tokens and %d accesses, want each once", tokens, asked)
	}
	if got := api.tokens[0]; got.Token != "good" || got.Audiences != nil {
		t.Errorf("TokenReview %+v", got)
	}
	spec := api.asked[0]
	if a := *spec.ResourceAttributes; a != (authorizationv1.ResourceAttributes{
		Verb: "get", Version: "v1", Resource: "nodes", Subresource: "proxy", Name: "n1",
	}) {
		t.Errorf("SubjectAccessReview of %+v", a)
	}
	if spec.User != "jane" || spec.UID != "7" || !slices.Equal(spec.Groups, []string{"staff", "system:authenticated"}) ||
		!slices.Equal(spec.Extra["k"], []string{"v"}) {
		t.Errorf("SubjectAccessReview by %+v", spec)
	}
	for _, header := range []string{
		"X-Nothing: 1", "Authorization: Bearer bad", "Authorization: Bearer ", "Authorization: Basic Z29vZA==", "Authorization: good",
	} {
		n.wants(t, c, "/exec/ns/p/c", 401, "Unauthorized", header)
	}
}

func TestTokenOfWebsocket(t *testing.T) {
	api := newAPIServer(t)
	n := newNode(t, api, Config{Webhook: true})
	n.wants(t, caller(t, nil), "/exec/ns/p/c", 200, "jane [staff,system:authenticated]", "Connection: Upgrade", "Upgrade: websocket",
		"Sec-WebSocket-Protocol: v5.channel.k8s.io, "+bearerProtocol+base64.RawURLEncoding.EncodeToString([]byte("good")))
	if got := n.header.Values("Sec-WebSocket-Protocol"); !slices.Equal(got, []string{"v5.channel.k8s.io"}) {
		t.Errorf("the handler got the protocols %q", got)
	}
}

func TestAnonymous(t *testing.T) {
	api := newAPIServer(t)
	api.allows = func(spec authorizationv1.SubjectAccessReviewSpec) authorizationv1.SubjectAccessReviewStatus {
		return authorizationv1.SubjectAccessReviewStatus{Allowed: spec.ResourceAttributes.Subresource == "healthz"}
	}
	n := newNode(t, api, Config{Webhook: true, Anonymous: true})
	c := caller(t, nil)
	n.wants(t, c, "/healthz", 200, "system:anonymous [system:unauthenticated]")
	n.wants(t, c, "/metrics", 403, "Forbidden (user=system:anonymous, verb=get, resource=nodes, subresource(s)=[metrics])\n")
	n.wants(t, c, "/healthz", 401, "Unauthorized", "Authorization: Bearer bad")

	n = newNode(t, api, Config{Webhook: true})
	n.wants(t, caller(t, nil), "/healthz", 401, "Unauthorized")
}

func TestAlwaysAllow(t *testing.T) {
	n := newNode(t, nil, Config{Mode: AlwaysAllow, Anonymous: true})
	n.wants(t, caller(t, nil), "/exec/ns/p/c", 200, "system:anonymous [system:unauthenticated]")
	// No way to be anybody: everybody is refused, as by the kubelet.
	n = newNode(t, nil, Config{Mode: AlwaysAllow})
	n.wants(t, caller(t, nil), "/healthz", 401, "Unauthorized", "Authorization: Bearer good")
}

func TestForbidden(t *testing.T) {
	api := newAPIServer(t)
	allowed := ""
	api.allows = func(spec authorizationv1.SubjectAccessReviewSpec) authorizationv1.SubjectAccessReviewStatus {
		return authorizationv1.SubjectAccessReviewStatus{Allowed: spec.ResourceAttributes.Subresource == allowed, Reason: "because of rules"}
	}
	n := newNode(t, api, Config{Webhook: true, TokenCacheTTL: time.Hour})
	c := caller(t, nil)
	const token = "Authorization: Bearer good"
	n.wants(t, c, "/pods", 403, "Forbidden (user=jane, verb=get, resource=nodes, subresource(s)=[pods proxy])\n", token)
	n.wants(t, c, "/stats/summary", 403, "Forbidden (user=jane, verb=get, resource=nodes, subresource(s)=[stats])\n", token)
	if !strings.Contains(n.logs.String(), "because of rules") {
		t.Error("the log does not say why")
	}
	if code, body := n.call(t, c, "PROPFIND", "/exec/a/b/c", token); code != 403 ||
		body != "Forbidden (user=jane, verb=, resource=nodes, subresource(s)=[proxy])\n" {
		t.Errorf("%d %q", code, body)
	}
	for _, allowed = range []string{"pods", "proxy"} {
		n.wants(t, c, "/pods", 200, "jane [staff,system:authenticated]", token)
	}
	// The path that counts is the one that is routed.
	allowed = "metrics"
	n.wants(t, c, "/metrics%2F..%2Fexec/a/b/c", 403, "Forbidden (user=jane, verb=get, resource=nodes, subresource(s)=[proxy])\n", token)
	n.wants(t, c, "/exec/a/%2e%2e/%2e%2e/metrics", 403, "Forbidden (user=jane, verb=get, resource=nodes, subresource(s)=[proxy])\n", token)
}

func TestAnswersAreRemembered(t *testing.T) {
	for _, c := range []struct {
		name            string
		allowed, denied time.Duration
		allow           bool
		want            int
	}{
		{"allowed", time.Hour, 0, true, 1},
		{"denied", 0, time.Hour, false, 1},
		{"allowed, not remembered", 0, time.Hour, true, 3},
		{"denied, not remembered", time.Hour, 0, false, 3},
		{"allowed, for a moment", time.Nanosecond, time.Hour, true, 3},
		{"denied, for a moment", time.Hour, time.Nanosecond, false, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			api := newAPIServer(t)
			api.allows = func(authorizationv1.SubjectAccessReviewSpec) authorizationv1.SubjectAccessReviewStatus {
				return authorizationv1.SubjectAccessReviewStatus{Allowed: c.allow}
			}
			n := newNode(t, api, Config{Webhook: true, TokenCacheTTL: time.Hour, AllowedTTL: c.allowed, DeniedTTL: c.denied})
			caller := caller(t, nil)
			for _, path := range []string{"/metrics", "/metrics/cadvisor", "/metrics/" + strings.Repeat("x", 20000)} {
				n.call(t, caller, http.MethodGet, path, "Authorization: Bearer good")
			}
			if _, asked := api.counts(); asked != c.want {
				t.Errorf("asked %d times, want %d", asked, c.want)
			}
		})
	}
}

func TestTokensAreForgotten(t *testing.T) {
	api := newAPIServer(t)
	n := newNode(t, api, Config{Webhook: true, AllowedTTL: time.Hour})
	c := caller(t, nil)
	n.wants(t, c, "/metrics", 200, "jane [staff,system:authenticated]", "Authorization: Bearer good")
	api.mu.Lock()
	api.users["good"] = authenticationv1.TokenReviewStatus{}
	api.mu.Unlock()
	n.wants(t, c, "/metrics", 401, "Unauthorized", "Authorization: Bearer good")
}

func TestAPIServerAway(t *testing.T) {
	api := newAPIServer(t)
	n := newNode(t, api, Config{Webhook: true, TokenCacheTTL: time.Hour, AllowedTTL: time.Hour})
	c := caller(t, nil)
	const token = "Authorization: Bearer good"
	api.set(true, 0)
	n.wants(t, c, "/metrics", 401, "Unauthorized", token)
	api.set(false, 0)
	n.wants(t, c, "/metrics", 200, "jane [staff,system:authenticated]", token)
	api.set(true, 0)
	n.wants(t, c, "/metrics", 200, "jane [staff,system:authenticated]", token) // remembered
	n.wants(t, c, "/pods", 500, "Authorization error (user=jane, verb=get, resource=nodes, subresource=pods)", token)
	api.set(false, 1) // one answer 500 is tried again
	n.wants(t, c, "/pods", 200, "jane [staff,system:authenticated]", token)
}

func TestReviewThatContradictsItself(t *testing.T) {
	api := newAPIServer(t)
	api.allows = func(authorizationv1.SubjectAccessReviewSpec) authorizationv1.SubjectAccessReviewStatus {
		return authorizationv1.SubjectAccessReviewStatus{Allowed: true, Denied: true}
	}
	n := newNode(t, api, Config{Webhook: true})
	n.wants(t, caller(t, nil), "/metrics", 500, "Authorization error (user=jane, verb=get, resource=nodes, subresource=metrics)",
		"Authorization: Bearer good")
}

func TestCertificates(t *testing.T) {
	ca, other := newAuthority(t, "ca"), newAuthority(t, "ca") // the same name, another key
	file := filepath.Join(t.TempDir(), "ca.crt")
	writeFile(t, file, ca.pem())
	n := newNode(t, nil, Config{Mode: AlwaysAllow, ClientCAFile: file})
	n.wants(t, caller(t, ca.issue(t, "kubelet-client", nil)), "/pods", 200, "kubelet-client [a,b,system:authenticated]")
	n.wants(t, caller(t, nil), "/pods", 401, "Unauthorized")
	n.wants(t, caller(t, other.issue(t, "kubelet-client", nil)), "/pods", 401, "Unauthorized")
	for name, with := range map[string]func(*x509.Certificate){
		"expired":        func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) },
		"not yet valid":  func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) },
		"for servers":    func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} },
		"without a name": func(c *x509.Certificate) { c.Subject.CommonName = "" },
	} {
		t.Run(name, func(t *testing.T) {
			n.wants(t, caller(t, ca.issue(t, "kubelet-client", with)), "/pods", 401, "Unauthorized")
		})
	}
	// Wrong certificates do not become anonymous.
	n = newNode(t, nil, Config{Mode: AlwaysAllow, ClientCAFile: file, Anonymous: true})
	n.wants(t, caller(t, other.issue(t, "kubelet-client", nil)), "/pods", 401, "Unauthorized")
	n.wants(t, caller(t, nil), "/pods", 200, "system:anonymous [system:unauthenticated]")
	// Nor do they count without a CA.
	n = newNode(t, nil, Config{Mode: AlwaysAllow})
	n.wants(t, caller(t, ca.issue(t, "kubelet-client", nil)), "/pods", 401, "Unauthorized")
}

type bell chan struct{}

func (b bell) Enqueue() { b <- struct{}{} }

func (b bell) await(t *testing.T) {
	t.Helper()
	select {
	case <-b:
	case <-time.After(patience):
		t.Fatal("the CA was not read again")
	}
}

func TestCARotates(t *testing.T) {
	one, two := newAuthority(t, "one"), newAuthority(t, "two")
	dir := t.TempDir()
	file := filepath.Join(dir, "ca.crt")
	writeFile(t, file, one.pem())
	rung := make(bell, 10)
	n := newNode(t, nil, Config{Mode: AlwaysAllow, ClientCAFile: file}, func(a *Access) {
		a.recheck = time.Hour // the events alone
		a.ClientCA().AddListener(rung)
	})
	first, second := caller(t, one.issue(t, "first", nil)), caller(t, two.issue(t, "second", nil))
	const ok = " [a,b,system:authenticated]"
	n.wants(t, first, "/pods", 200, "first"+ok)
	n.wants(t, second, "/pods", 401, "Unauthorized")

	writeFile(t, file+".new", append(one.pem(), two.pem()...))
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	rung.await(t)
	n.wants(t, first, "/pods", 200, "first"+ok)
	n.wants(t, second, "/pods", 200, "second"+ok)

	// An unusable file changes nothing; the next usable one counts. The first
	// caller is refused on the connection it has.
	writeFile(t, file, []byte("no certificate"))
	n.wants(t, first, "/pods", 200, "first"+ok)
	writeFile(t, file, two.pem())
	rung.await(t)
	n.wants(t, first, "/pods", 401, "Unauthorized")
	n.wants(t, second, "/pods", 200, "second"+ok)
	if got := n.access.ClientCA().CurrentCABundleContent(); string(got) != string(two.pem()) {
		t.Error("ClientCA is not the file's")
	}
}

// Certificate tools swap a link and leave its old target, which no event tells of.
func TestLinkedCARotates(t *testing.T) {
	one, two := newAuthority(t, "one"), newAuthority(t, "two")
	dir := t.TempDir()
	file := filepath.Join(dir, "ca.crt")
	link := func(target string) {
		if err := errors.Join(os.Symlink(target, file+".new"), os.Rename(file+".new", file)); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, file+".1", one.pem())
	writeFile(t, file+".2", two.pem())
	link("ca.crt.1")
	rung := make(bell, 10)
	n := newNode(t, nil, Config{Mode: AlwaysAllow, ClientCAFile: file}, func(a *Access) {
		a.recheck = 10 * time.Millisecond
		a.ClientCA().AddListener(rung)
	})
	first, second := caller(t, one.issue(t, "first", nil)), caller(t, two.issue(t, "second", nil))
	const ok = " [a,b,system:authenticated]"
	n.wants(t, first, "/pods", 200, "first"+ok)
	n.wants(t, second, "/pods", 401, "Unauthorized")
	link("ca.crt.2")
	rung.await(t)
	n.wants(t, first, "/pods", 401, "Unauthorized")
	n.wants(t, second, "/pods", 200, "second"+ok)
}

func TestCredentialsStayHere(t *testing.T) {
	api := newAPIServer(t)
	api.users["s3cret-good"] = api.users["good"]
	ca := newAuthority(t, "ca")
	file := filepath.Join(t.TempDir(), "ca.crt")
	writeFile(t, file, ca.pem())
	api.allows = func(spec authorizationv1.SubjectAccessReviewSpec) authorizationv1.SubjectAccessReviewStatus {
		return authorizationv1.SubjectAccessReviewStatus{Allowed: spec.ResourceAttributes.Subresource == "proxy"}
	}
	n := newNode(t, api, Config{Webhook: true, Anonymous: true, ClientCAFile: file})
	stranger, known := caller(t, nil), caller(t, ca.issue(t, "known", nil))
	for name, c := range map[string]struct {
		by     *http.Client
		header []string
	}{
		"token":               {stranger, []string{"Authorization: Bearer s3cret-good"}},
		"token twice":         {stranger, []string{"Authorization: Bearer s3cret-good", "Authorization: Bearer s3cret-2"}},
		"basic, anonymous":    {stranger, []string{"Authorization: Basic s3cret"}},
		"certificate":         {known, []string{"Authorization: Bearer s3cret"}},
		"certificate and ws":  {known, []string{"Sec-WebSocket-Protocol: a," + bearerProtocol + "s3cret", "Sec-WebSocket-Protocol: b"}},
		"nothing but a token": {known, []string{"Sec-WebSocket-Protocol: " + bearerProtocol + "s3cret"}},
	} {
		n.header = nil
		if code, body := n.call(t, c.by, http.MethodGet, "/exec/a/b/c", c.header...); code != 200 || n.header == nil {
			t.Fatalf("%s: %d %s", name, code, body)
		}
		for field, values := range n.header {
			if strings.Contains(strings.Join(values, " "), "s3cret") {
				t.Errorf("%s: the handler got %s: %q", name, field, values)
			}
		}
		n.call(t, c.by, http.MethodGet, "/metrics", c.header...)
	}
	n.call(t, stranger, http.MethodGet, "/pods", "Authorization: Bearer s3cret-bad")
	api.set(true, 0)
	n.call(t, stranger, http.MethodGet, "/pods", "Authorization: Bearer s3cret-unknown")
	if text := n.logs.String(); strings.Contains(text, "s3cret") || !strings.Contains(text, "could not be authenticated") {
		t.Errorf("the log:\n%s", text)
	}
}

func TestLongCredentialsAreNotPassedOn(t *testing.T) {
	api := newAPIServer(t)
	long := strings.Repeat("a", maxCredentials)
	api.users[long[:maxCredentials-100]] = api.users["good"]
	n := newNode(t, api, Config{Webhook: true, Anonymous: true})
	c := caller(t, nil)
	n.wants(t, c, "/metrics", 401, "Unauthorized", "Authorization: Bearer "+long)
	n.wants(t, c, "/metrics", 401, "Unauthorized", "Authorization: Basic x", "Authorization: Bearer "+long)
	n.wants(t, c, "/metrics", 401, "Unauthorized", "Connection: Upgrade", "Upgrade: websocket",
		"Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: "+bearerProtocol+long)
	if tokens, asked := api.counts(); tokens+asked != 0 {
		t.Errorf("the API server was asked %d times", tokens+asked)
	}
	n.wants(t, c, "/metrics", 200, "jane [staff,system:authenticated]", "Authorization: Bearer "+long[:maxCredentials-100])
}

// Strangers cannot fill the disk with log lines.
func TestLogIsBounded(t *testing.T) {
	n := newNode(t, newAPIServer(t), Config{Webhook: true})
	c := caller(t, nil)
	for range 4 * strangerLines {
		n.wants(t, c, "/metrics", 401, "Unauthorized", "Authorization: Bearer bad")
	}
	// Two periods, if the minute ends meanwhile.
	if lines := strings.Count(n.logs.String(), "\n"); lines < strangerLines || lines > 2*strangerLines {
		t.Errorf("%d lines for %d requests", lines, 4*strangerLines)
	}
}

func TestNewSaysWhatToSet(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/empty", nil)
	writeFile(t, dir+"/none", []byte("no certificate"))
	for _, c := range []struct {
		cfg  Config
		says []string
	}{
		{Config{Webhook: true, Mode: AlwaysAllow}, []string{"no client provided, cannot use webhook authentication", "authentication.webhook.enabled to false"}},
		{Config{Mode: Webhook}, []string{"no client provided, cannot use webhook authorization", "authorization.mode to AlwaysAllow"}},
		{Config{}, []string{"no authorization mode specified"}},
		{Config{Mode: "RBAC"}, []string{"unknown authorization mode RBAC", "AlwaysAllow"}},
		{Config{Mode: AlwaysAllow, ClientCAFile: dir + "/missing"}, []string{"clientCAFile", dir + "/missing", "no such file"}},
		{Config{Mode: AlwaysAllow, ClientCAFile: dir + "/empty"}, []string{"clientCAFile", dir + "/empty"}},
		{Config{Mode: AlwaysAllow, ClientCAFile: dir + "/none"}, []string{"clientCAFile", dir + "/none", "PEM"}},
	} {
		_, err := New(c.cfg, nil, zap.NewNop())
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
