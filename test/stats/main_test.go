//go:build e2e

package stats

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

const (
	// patience bounds what takes as long as the machine is slow. The kubelet measures
	// volumes after up to two minutes for the first time.
	patience = 150 * time.Second
	// again is the time between two questions; nodes answer those who ask within a
	// second alike.
	again = 1100 * time.Millisecond
)

// shared is the bed that all tests use, each with pods of its own. The kubelet finds
// containers only where containerd usually is.
var shared = bedtest.Shared{Options: bed.Options{
	UsualSocket:   true,
	KubeletConfig: func(config map[string]any) { config["volumeStatsAggPeriod"] = "5s" },
}}

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("4") // the tests wait more than they compute
	}
	os.Exit(shared.Run(m))
}

// node asks the bed's node.
type node struct {
	*testing.T
	bed *bed.Bed
}

func cluster(t *testing.T) node {
	t.Helper()
	t.Parallel()
	return node{t, shared.Bed(t)}
}

// get returns what the node answers to everybody who may ask.
func (n node) get(path string) (string, error) {
	body, err := n.bed.Client().CoreV1().RESTClient().Get().
		RequestURI("/api/v1/nodes/" + n.bed.NodeName + "/proxy/" + path).DoRaw(n.Context())
	return string(body), err
}

// summary asks until done is content with the summary of a pod, and returns the last
// one.
func (n node) summary(name string, done func(*statsapi.PodStats) error) (statsapi.Summary, statsapi.PodStats) {
	n.Helper()
	var last error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(again) {
		var s statsapi.Summary
		text, err := n.get("stats/summary")
		if err == nil {
			err = json.Unmarshal([]byte(text), &s)
		}
		if err != nil {
			last = err
			continue
		}
		p := podOf(&s, name)
		if p == nil {
			last = fmt.Errorf("the pod is not shown")
			continue
		}
		if last = done(p); last == nil {
			return s, *p
		}
	}
	n.Fatalf("pod %s: %v", name, last)
	return statsapi.Summary{}, statsapi.PodStats{}
}

func podOf(s *statsapi.Summary, name string) *statsapi.PodStats {
	for i := range s.Pods {
		if s.Pods[i].PodRef.Name == name {
			return &s.Pods[i]
		}
	}
	return nil
}

// containerOf is nil if the pod shows no such container.
func containerOf(p *statsapi.PodStats, name string) *statsapi.ContainerStats {
	for i := range p.Containers {
		if p.Containers[i].Name == name {
			return &p.Containers[i]
		}
	}
	return nil
}

// started makes a pod and returns it when all its containers run.
func (n node) started(p *corev1.Pod) *corev1.Pod {
	n.Helper()
	bedtest.Create(n.T, n.bed, p)
	return bedtest.Await(n.T, n.bed.Client(), p.Name, "ready", patience, bedtest.Ready)
}

// newPod returns a pod with one busybox container for each command: a, b, c.
func newPod(name string, commands ...string) *corev1.Pod { return bedtest.NewPod(name, 1, commands...) }

// within reports whether a figure is in a range.
func within(what string, got *uint64, least, most uint64) error {
	if got == nil {
		return fmt.Errorf("%s is missing", what)
	}
	if *got < least || *got > most {
		return fmt.Errorf("%s is %d, want %d to %d", what, *got, least, most)
	}
	return nil
}
