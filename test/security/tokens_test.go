//go:build e2e

package security

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// sign makes a service account's token by hand.
func sign(t *testing.T, key *ecdsa.PrivateKey, claims map[string]any) string {
	t.Helper()
	part := func(v any) string {
		text, err := json.Marshal(v)
		must(t, "encoding a token", err)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	text := part(map[string]string{"alg": "ES256", "typ": "JWT"}) + "." + part(claims)
	hash := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, key, hash[:])
	must(t, "signing a token", err)
	signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	return keepSecret(text + "." + base64.RawURLEncoding.EncodeToString(signature))
}

// signer is the key that the bed's service accounts are signed with.
func (f *fixture) signer(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	content, err := os.ReadFile(f.pki("sa.key"))
	must(t, "reading the key of service accounts", err)
	block, _ := pem.Decode(content)
	key, err := x509.ParseECPrivateKey(block.Bytes)
	must(t, "parsing the key of service accounts", err)
	return key
}

// claims are those of a good token of the account that may do everything.
func (f *fixture) claims(t *testing.T) map[string]any {
	t.Helper()
	sa, err := f.bed.Client().CoreV1().ServiceAccounts(namespace).Get(t.Context(), "proxy", metav1.GetOptions{})
	must(t, "reading a service account", err)
	issuer, now := "https://kubernetes.default.svc.cluster.local", time.Now()
	return map[string]any{
		"iss": issuer, "aud": []string{issuer}, "sub": account("proxy"),
		"iat": now.Add(-time.Hour).Unix(), "nbf": now.Add(-time.Hour).Unix(), "exp": now.Add(time.Hour).Unix(),
		"kubernetes.io": map[string]any{
			"namespace": namespace, "serviceaccount": map[string]string{"name": "proxy", "uid": string(sa.UID)},
		},
	}
}

func (f *fixture) claimsWith(t *testing.T, name string, value any) map[string]any {
	t.Helper()
	c := f.claims(t)
	c[name] = value
	return c
}

func TestForgedTokens(t *testing.T) {
	f := cluster(t)
	key, good := f.signer(t), f.claims(t)
	if got := f.ask(t, who{token: sign(t, key, good)}, http.MethodGet, "/pods"); got.code != http.StatusOK {
		t.Fatalf("a token made by hand without a fault: %s", got)
	}
	head, rest, _ := strings.Cut(sign(t, key, good), ".")
	body, signature, _ := strings.Cut(rest, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))
	other := sign(t, key, f.claimsWith(t, "sub", account("nothing")))
	for name, token := range map[string]string{
		"garbage":             "garbage",
		"three dots":          "a.b.c",
		"ended":               sign(t, key, f.claimsWith(t, "exp", time.Now().Add(-time.Minute).Unix())),
		"not begun":           sign(t, key, f.claimsWith(t, "nbf", time.Now().Add(time.Hour).Unix())),
		"for others":          sign(t, key, f.claimsWith(t, "aud", []string{"vault"})),
		"of another issuer":   sign(t, key, f.claimsWith(t, "iss", "https://example.org")),
		"with another key":    sign(t, newKey(t), good),
		"of an older account": sign(t, key, f.claimsWith(t, "kubernetes.io", map[string]any{"namespace": namespace, "serviceaccount": map[string]string{"name": "proxy", "uid": "an-older-one"}})),
		"without signature":   head + "." + body + ".",
		"alg none":            none + "." + body + ".",
		"alg none, signed":    none + "." + body + "." + signature,
		"another's signature": head + "." + body + other[strings.LastIndex(other, "."):],
		"a megabyte":          strings.Repeat("a", 1_000_000),
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{"/pods", "/exec/default/" + victim + "/a?command=id&output=1"} {
				f.ask(t, who{token: token}, http.MethodGet, path).want(t, path, http.StatusUnauthorized, "Unauthorized")
			}
		})
	}
}

func TestRequestedTokens(t *testing.T) {
	f := cluster(t)
	client := f.bed.Client()
	elsewhere, err := requestToken(t.Context(), client, "proxy", authenticationv1.TokenRequestSpec{Audiences: []string{"vault"}})
	must(t, "requesting a token", err)
	f.ask(t, who{token: elsewhere}, http.MethodGet, "/pods").want(t, "a token for others", http.StatusUnauthorized, "Unauthorized")

	accounts := client.CoreV1().ServiceAccounts(namespace)
	_, err = accounts.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "leaver"}}, metav1.CreateOptions{})
	must(t, "creating a service account", err)
	token, err := requestToken(t.Context(), client, "leaver", authenticationv1.TokenRequestSpec{})
	must(t, "requesting a token", err)
	must(t, "deleting a service account", accounts.Delete(t.Context(), "leaver", metav1.DeleteOptions{}))
	f.forgotten(t, token)
	f.ask(t, who{token: token}, http.MethodGet, "/pods").want(t, "a token of a deleted account", http.StatusUnauthorized, "Unauthorized")
}

// forgotten returns when the API server no longer knows the token: it reads
// service accounts from a cache.
func (f *fixture) forgotten(t *testing.T, token string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
	for {
		got, err := f.bed.Client().AuthenticationV1().TokenReviews().Create(ctx, review, metav1.CreateOptions{})
		must(t, "reviewing a token", err)
		if !got.Status.Authenticated {
			return
		}
		must(t, "waiting for a deleted account to be forgotten", pause(ctx))
	}
}

// Where a token may be, and what goes before what.
func TestPlacesOfTokens(t *testing.T) {
	f := cluster(t)
	proxy, nothing := f.users["proxy"].token, f.users["nothing"].token
	bad := newAuthority(t, "stranger").client(t, "bed-admin", []string{"system:masters"}, nil)
	mallory := f.ca.client(t, "mallory", nil, nil)
	for _, c := range []struct {
		name   string
		w      who
		target string
		head   []string
		code   int
		body   string // not compared when empty
	}{
		{name: "lower-case scheme", head: []string{"Authorization: bearer " + proxy}, code: 200},
		{name: "another scheme", head: []string{"Authorization: Basic " + proxy}, code: 401, body: "Unauthorized"},
		{name: "no scheme", head: []string{"Authorization: " + proxy}, code: 401, body: "Unauthorized"},
		{name: "empty token", head: []string{"Authorization: Bearer "}, code: 401, body: "Unauthorized"},
		{name: "two spaces", head: []string{"Authorization: Bearer  " + proxy}, code: 401, body: "Unauthorized"},
		{name: "in the query", target: "/pods?access_token=" + proxy + "&token=" + proxy, code: 401, body: "Unauthorized"},
		{name: "in a cookie", head: []string{"Cookie: token=" + proxy}, code: 401, body: "Unauthorized"},
		{name: "in the proxy's header", head: []string{"Proxy-Authorization: Bearer " + proxy}, code: 401, body: "Unauthorized"},
		{name: "two, the bad first", head: []string{"Authorization: Bearer x", "Authorization: Bearer " + proxy}, code: 401, body: "Unauthorized"},
		{name: "two, the good first", head: []string{"Authorization: Bearer " + proxy, "Authorization: Bearer x"}, code: 200},
		{name: "two in one line", head: []string{"Authorization: Bearer x, Bearer " + proxy}, code: 401, body: "Unauthorized"},
		{name: "the certificate goes first", w: who{cert: mallory, token: proxy}, code: 403, body: forbidden("mallory", "get", "pods", "proxy")},
		{name: "a bad certificate does not spoil a token", w: who{cert: bad, token: proxy}, code: 200},
		{name: "nor give it rights", w: who{cert: bad, token: nothing}, code: 403, body: forbidden(account("nothing"), "get", "pods", "proxy")},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.target == "" {
				c.target = "/pods"
			}
			got := f.ask(t, c.w, http.MethodGet, c.target, c.head...)
			if got.code != c.code || c.body != "" && got.body != c.body {
				t.Errorf("got %s, want %d %q", got, c.code, c.body)
			}
		})
	}
}
