//go:build e2e

package registry

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap/zaptest"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/image"
	"nodeagent.dev/nodeagent/internal/image/pullrecord"
	"nodeagent.dev/nodeagent/test/bed"
)

// sourceOf is what a pull with a secret is recorded by.
func sourceOf(s *corev1.Secret, hash string) image.Credential {
	return image.Credential{Source: image.Source{Secret: &image.SecretSource{UID: s.UID, Namespace: s.Namespace, Name: s.Name, Hash: hash}}}
}

// records opens what the agent, which is stopped, has left.
func records(t *testing.T, b *bed.Bed) *pullrecord.Store {
	t.Helper()
	s, err := pullrecord.New(pullrecord.Config{RootDir: b.RootDir, Policy: "NeverVerifyPreloadedImages"}, zaptest.NewLogger(t))
	must(t, "opening the records", err)
	t.Cleanup(func() { must(t, "closing the records", s.Close()) })
	return s
}

// TestRecords: package pullrecord reads what the agent has written, and the agent
// reads what pullrecord has: under the kubelet, that either goes on with what
// the other leaves. It is not parallel since it stops the agent.
func TestRecords(t *testing.T) {
	b := shared.Bed(t)
	f := newFaulty(t, b)
	byAgent, byUs, crashed, preloaded := f.push("by-agent:1"), f.push("by-us:1"), f.push("crashed:1"), f.push("preloaded:1")
	for _, image := range []string{byUs, crashed, preloaded} {
		_, err := b.Crictl(t.Context(), "pull", image)
		must(t, "loading "+image, err)
	}
	f.set(faults{private: true})
	good, bad := secret(t, b, "records-good", f.host, password), secret(t, b, "records-bad", f.host, "wrong")
	tell(t, b, puller("records-first", byAgent, ifNotPresent, "records-good")).recovers(byAgent)

	agent := b.Component("agent")
	must(t, "stopping the agent", agent.Stop(t.Context()))
	s := records(t, b)
	for name, c := range map[string]struct {
		list []image.Credential
		must bool
	}{
		"nobody":         {nil, true},
		"its secret":     {[]image.Credential{sourceOf(good, "any")}, false},
		"another secret": {[]image.Credential{sourceOf(bad, "other")}, true},
	} {
		got, err := s.MustPull(byAgent, f.id(byAgent), func() ([]image.Credential, error) { return c.list, nil })
		if err != nil || got != c.must {
			t.Errorf("%s must pull what the agent has recorded: %v, %v; want %v", name, got, err, c.must)
		}
	}
	must(t, "recording", s.Begin(byUs))
	by := sourceOf(bad, "hash").Source
	s.End(byUs, image.Outcome{Ref: f.id(byUs), By: &by})
	must(t, "recording", s.Begin(crashed))
	must(t, "starting the agent", agent.Start(t.Context()))

	tell(t, b, puller("records-has", byUs, ifNotPresent, "records-bad")).ready()
	tell(t, b, puller("records-preloaded", preloaded, ifNotPresent)).ready()
	// Nothing has been pulled since the start.
	if left, err := os.ReadDir(filepath.Join(b.RootDir, "image_manager", "pulling")); err != nil || len(left) != 0 {
		t.Errorf("intents that are left: %v, %v", left, err)
	}
	without, after := tell(t, b, puller("records-without", byUs, ifNotPresent)), tell(t, b, puller("records-after-crash", crashed, ifNotPresent))
	without.refused(byUs)
	after.refused(crashed)
}
