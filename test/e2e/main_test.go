//go:build e2e

package e2e

import (
	"context"
	"flag"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

var (
	apiOutage     = flag.Duration("api-outage", 15*time.Second, "how long TestAPIServerOutage keeps the API server away")
	runtimeOutage = flag.Duration("runtime-outage", 30*time.Second, "how long TestRuntimeOutage keeps containerd away")
)

const (
	image     = bedtest.Image
	namespace = bedtest.Namespace
	obeys     = bedtest.Obeys
	ignores   = bedtest.Ignores
)

// shared is the bed that most tests use, each with pods of its own.
var shared bedtest.Shared

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(shared.Run(m))
}

// cluster returns the shared bed.
func cluster(t *testing.T) *bed.Bed {
	t.Helper()
	return shared.Bed(t)
}

// nodeagentOnly leaves a test out that is about what the kubelet has not.
func nodeagentOnly(t *testing.T, b *bed.Bed) {
	t.Helper()
	if b.Agent() != bed.Nodeagent {
		t.Skipf("only nodeagent has this; the agent is %s", b.Agent())
	}
}

// newPod returns a pod with one busybox container for each command.
func newPod(name string, commands ...string) *corev1.Pod { return bedtest.NewPod(name, 2, commands...) }

// What tests on beds have in common, under short names.
var (
	create = bedtest.Create
	await  = bedtest.Await
	ready  = bedtest.Ready
	must   = bedtest.Must
	tail   = bedtest.Tail
)

// gone waits until the pod's object is deleted and returns when that was seen.
func gone(t *testing.T, client kubernetes.Interface, p *corev1.Pod, limit time.Duration) time.Time {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	w, err := client.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + p.Name})
	if err != nil {
		t.Fatalf("watching pod %s: %v", p.Name, err)
	}
	defer w.Stop()
	for ev := range w.ResultChan() {
		if ev.Type == watch.Deleted {
			return time.Now()
		}
	}
	t.Fatalf("pod %s is not gone after %s", p.Name, limit)
	return time.Time{}
}

// restarts returns the restart count of the first container.
func restarts(p *corev1.Pod) int32 {
	if len(p.Status.ContainerStatuses) == 0 {
		return 0
	}
	return p.Status.ContainerStatuses[0].RestartCount
}
