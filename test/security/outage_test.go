//go:build e2e

package security

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	authenticationv1 "k8s.io/api/authentication/v1"

	"nodeagent.dev/nodeagent/test/bed"
)

// TestAPIServerAway has a bed of its own, whose agent lets anonymous users in as
// far as the API server allows, which is nowhere.
func TestAPIServerAway(t *testing.T) {
	b, err := bed.New(t.Context(), bed.Options{Output: os.Stderr, KubeletConfig: func(config map[string]any) {
		config["authentication"].(map[string]any)["anonymous"] = map[string]any{"enabled": true}
	}})
	must(t, "starting a bed", err)
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("closing the bed: %v", err)
		}
	})
	showLog(t, b)
	f := &fixture{bed: b}
	must(t, "preparing the bed", f.prepare(t.Context()))
	later, err := requestToken(t.Context(), b.Client(), "pods", authenticationv1.TokenRequestSpec{})
	must(t, "requesting a token", err)

	anonymous := forbidden("system:anonymous", "get", "pods", "proxy")
	stranger := who{cert: newAuthority(t, "stranger").client(t, "bed-admin", []string{"system:masters"}, nil)}
	known := func() {
		t.Helper()
		f.ask(t, who{}, "GET", "/pods").want(t, "anonymous", 403, anonymous)
		f.ask(t, f.users["nothing"], "GET", "/pods").want(t, "a user without rights", 403, forbidden(account("nothing"), "get", "pods", "proxy"))
		f.ask(t, stranger, "GET", "/pods").want(t, "a bad certificate", 401, "Unauthorized")
		for name, w := range map[string]who{"the administrator": f.admin, "one who may": f.users["pods"]} {
			if got := f.ask(t, w, "GET", "/pods"); got.code != http.StatusOK {
				t.Errorf("%s got %s", name, got)
			}
		}
	}
	f.ask(t, who{token: "garbage"}, "GET", "/pods").want(t, "a bad token", 401, "Unauthorized")
	known()
	if t.Failed() {
		return
	}
	server := b.Component("kube-apiserver")
	must(t, "killing the API server", server.Kill(t.Context())) // an orderly end takes it a minute
	known()                                                     // what was decided stays decided for a while

	mallory := who{cert: f.ca.client(t, "mallory", nil, nil)}
	denied := func(user, subresource string) string {
		return fmt.Sprintf("Authorization error (user=%s, verb=get, resource=nodes, subresource=%s)", user, subresource)
	}
	var group errgroup.Group
	for _, c := range []struct {
		name, path string
		w          who
		code       int
		body       string
	}{
		{"a token that was never seen", "/pods", who{token: later}, 401, "Unauthorized"},
		{"a certificate that was never seen", "/pods", mallory, 500, denied("mallory", "pods")},
		{"the administrator, elsewhere", "/stats/summary", f.admin, 500, denied("bed-admin", "stats")},
		{"a known user, elsewhere", "/metrics", f.users["pods"], 500, denied(account("pods"), "metrics")},
		{"anonymous, elsewhere", "/metrics", who{}, 500, denied("system:anonymous", "metrics")},
	} {
		group.Go(func() error {
			start := time.Now()
			f.ask(t, c.w, "GET", c.path).want(t, c.name, c.code, c.body)
			t.Logf("without the API server: %s: answered after %s", c.name, time.Since(start).Round(time.Millisecond))
			return nil
		})
	}
	_ = group.Wait()

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, "starting the API server", server.Start(ctx))
	for f.ask(t, who{token: later}, "GET", "/pods").code != http.StatusOK {
		must(t, "waiting for the agent to reach the API server again", pause(ctx))
	}
}
