//go:build e2e

package cridiff

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
	"nodeagent.dev/nodeagent/test/diff"
)

// Environment variables. With keepEnv the results are kept in this folder as
// AGENT.json; reuseEnv names an agent whose kept result is taken instead of
// running it.
const (
	keepEnv  = "NODEAGENT_CRIDIFF_DIR"
	reuseEnv = "NODEAGENT_CRIDIFF_REUSE"
)

// TestSameRequests gives the corpus to both agents and compares what they ask
// the runtime for.
func TestSameRequests(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	list, err := Accepted()
	bedtest.Must(t, "reading what may differ", err)
	b := bed.Start(t, BedOptions("cgroupfs"))
	bedtest.ShowLog(t, b)
	target, corpus, done, err := OnBed(b, "cgroupfs")
	bedtest.Must(t, "preparing the corpus", err)
	t.Cleanup(func() { bedtest.Must(t, "tidying up", done()) })
	bedtest.Must(t, "making what the pods refer to", target.Prepare(ctx, corpus))
	compareAgents(ctx, t, b, target, corpus, list, "")

	// What depends on the node's configuration, with another one.
	bedtest.Must(t, "changing the configuration", Reconfigure(b, func(config map[string]any) {
		config["seccompDefault"], config["cpuCFSQuota"] = true, false
		config["clusterDNS"], config["resolvConf"] = []string{}, ""
		config["clusterDomain"] = "other.example"
	}))
	t.Run("configured", func(t *testing.T) {
		some := corpus.Only("dns-", "name-fqdn", "res-burst", "res-pod-level", "sec-seccomp", "static-")
		compareAgents(ctx, t, b, target, some, list, "-configured")
	})
}

// compareAgents gives the pods to both agents. The list says what may differ; all
// of it has to when there is no suffix, by which kept results are told apart.
func compareAgents(ctx context.Context, t *testing.T, b *bed.Bed, target *Target, corpus *Corpus, list []diff.Accepted, suffix string) {
	t.Helper()
	results := map[string]*Result{}
	for _, agent := range []string{bed.Kubelet, bed.Nodeagent} {
		begin := time.Now()
		results[agent] = resultOf(ctx, t, b, target, corpus, agent, suffix)
		t.Logf("%d pods under %s took %s", len(corpus.Pods), agent, time.Since(begin).Round(100*time.Millisecond))
	}
	for _, missing := range results[bed.Kubelet].Missing {
		t.Errorf("the kubelet did not make what the corpus expects: %s", missing)
	}
	verdict := Judge(results[bed.Kubelet], results[bed.Nodeagent], list)
	t.Log(verdict.Summary())
	pods, stale := verdict.Problems()
	for pod, lines := range pods {
		t.Run(pod, func(t *testing.T) { t.Errorf("differs from the kubelet:\n%s", lines) })
	}
	if suffix != "" {
		return // the list is for the whole corpus
	}
	for _, line := range stale {
		t.Error(line)
	}
}

// resultOf runs the corpus under an agent or takes what was kept.
func resultOf(ctx context.Context, t *testing.T, b *bed.Bed, target *Target, corpus *Corpus, agent, suffix string) *Result {
	t.Helper()
	file := filepath.Join(os.Getenv(keepEnv), agent+suffix+".json")
	if os.Getenv(reuseEnv) == agent {
		raw, err := os.ReadFile(file)
		bedtest.Must(t, "reading a kept result", err)
		result := &Result{}
		bedtest.Must(t, "reading a kept result", json.Unmarshal(raw, result))
		return result
	}
	result, err := RunOnBed(ctx, b, target, corpus, agent)
	bedtest.Must(t, "running the corpus under "+agent, err)
	if os.Getenv(keepEnv) != "" {
		raw, err := json.MarshalIndent(result, "", " ")
		bedtest.Must(t, "keeping a result", err)
		bedtest.Must(t, "keeping a result", os.WriteFile(file, raw, 0o600))
	}
	return result
}
