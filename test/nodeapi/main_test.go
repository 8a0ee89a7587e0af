//go:build e2e

package nodeapi

import (
	"flag"
	"os"
	"regexp"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

const (
	image     = bedtest.Image
	namespace = bedtest.Namespace
	obeys     = bedtest.Obeys
	// whenTold ends the container once the file exists.
	whenTold = "while [ ! -e /tmp/go ]; do sleep 0.1; done; "

	// promptly is how soon something has to be seen that just happened.
	promptly = 5 * time.Second
	// patience bounds what takes as long as the machine is slow.
	patience = 60 * time.Second
)

// shared is the bed that all tests use, each with pods of its own. Logs are not
// rotated by the agent: the tests do it themselves.
var shared = bedtest.Shared{Options: bed.Options{
	KubeletConfig: func(config map[string]any) { config["containerLogMaxSize"] = "1Gi" },
}}

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("4") // the tests wait more than they compute
	}
	os.Exit(shared.Run(m))
}

// cluster returns the shared bed.
func cluster(t *testing.T) *bed.Bed {
	t.Helper()
	return shared.Bed(t)
}

// What tests on beds have in common, under short names.
var (
	create = bedtest.Create
	ready  = bedtest.Ready
	must   = bedtest.Must
	tail   = bedtest.Tail
)

// newPod returns a pod with one busybox container for each command: a, b, c.
func newPod(name string, commands ...string) *corev1.Pod { return bedtest.NewPod(name, 1, commands...) }

// await watches a pod until done says so, and returns it as it was then.
func await(t *testing.T, b *bed.Bed, name, what string, done func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	return bedtest.Await(t, b.Client(), name, what, patience, done)
}

// once is a pod whose containers are not restarted.
func once(p *corev1.Pod) *corev1.Pod {
	p.Spec.RestartPolicy = corev1.RestartPolicyNever
	return p
}

// started makes a pod and returns it when all its containers run.
func started(t *testing.T, b *bed.Bed, p *corev1.Pod) *corev1.Pod {
	t.Helper()
	create(t, b, p)
	return await(t, b, p.Name, "ready", ready)
}

func finished(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// status returns the status of a container of a pod.
func status(p *corev1.Pod, container string) corev1.ContainerStatus {
	for _, c := range p.Status.ContainerStatuses {
		if c.Name == container {
			return c
		}
	}
	return corev1.ContainerStatus{}
}

// same compares texts and shows where long ones differ.
func same(t *testing.T, what, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	from := max(0, at-40)
	cut := func(s string) string { return s[min(from, len(s)):min(at+200, len(s))] }
	t.Errorf("%s: %d bytes, want %d; from byte %d on they are\n%q, want\n%q", what, len(got), len(want), from, cut(got), cut(want))
}

// matches checks a text against a pattern.
func matches(t *testing.T, what, got, pattern string) {
	t.Helper()
	if !regexp.MustCompile(pattern).MatchString(got) {
		t.Errorf("%s: %q, want what matches %q", what, got, pattern)
	}
}
