//go:build e2e

package monitoring

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

const (
	namespace = bedtest.Namespace
	// patience bounds what takes as long as the machine is slow.
	patience = 4 * time.Minute
	// glance is how often a test looks at what has no events for it.
	glance = 500 * time.Millisecond

	// burns computes until the file exists.
	burns = "while [ ! -e /x/idle ]; do :; done; exec sleep 1000000"
	// hogs holds as much memory of its own as the number of bytes: dd has read
	// them and cannot get rid of them.
	hogs = "dd if=/dev/zero bs=%d count=1 2>/dev/null | sleep 1000000"
)

// shared is the bed that all tests use, each with pods of its own.
var shared = bedtest.Shared{Options: bed.Options{
	// The kubelet knows nothing of containers without it.
	UsualSocket:   os.Getenv(bed.AgentEnv) == bed.Kubelet,
	KubeletConfig: func(config map[string]any) { config["volumeStatsAggPeriod"] = "5s" },
	// metrics-server is reached by the address of its endpoint: there is no
	// kube-proxy behind the addresses of services.
	APIServerArgs: []string{"--enable-aggregator-routing=true"},
	ControllerManagerArgs: []string{
		"--horizontal-pod-autoscaler-sync-period=1s",
		"--horizontal-pod-autoscaler-initial-readiness-delay=1s",
		"--horizontal-pod-autoscaler-cpu-initialization-period=1s",
	},
}}

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("4") // the tests wait more than they compute
	}
	os.Exit(shared.Run(m))
}

var must = bedtest.Must

// kubectl runs kubectl as the administrator; it has to succeed.
func kubectl(t *testing.T, b *bed.Bed, args ...string) string {
	t.Helper()
	out, err := b.Kubectl(t.Context(), args...)
	must(t, "calling kubectl", err)
	return out
}

// until tries something until it works; the last error says what it is about.
func until(t *testing.T, what string, try func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(glance)
	defer tick.Stop()
	var last error
	for {
		err := try(ctx)
		if err == nil {
			return
		}
		if ctx.Err() == nil || last == nil { // else it says only that the time is over
			last = err
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not so after %s: %v", what, patience, last)
		case <-tick.C:
		}
	}
}

// within is an error when a figure is not between two others, both included. What is
// no number is not between any.
func within(what string, got, least, most float64) error {
	if !(got >= least && got <= most) {
		return fmt.Errorf("%s is %g, want %g to %g", what, got, least, most)
	}
	return nil
}

// start makes a pod and waits until it is ready.
func start(t *testing.T, b *bed.Bed, p *corev1.Pod) *corev1.Pod {
	t.Helper()
	bedtest.Create(t, b, p)
	return bedtest.Await(t, b.Client(), p.Name, "ready", patience, bedtest.Ready)
}

// limited is what containers may have: all of it, and no more.
func limited(cpu, memory string) corev1.ResourceRequirements {
	list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	return corev1.ResourceRequirements{Requests: list, Limits: list}
}

// folder makes a folder of this machine for containers, who see it at /x. It goes
// with the bed.
func folder(t *testing.T, b *bed.Bed, name string, pod *corev1.PodSpec) string {
	t.Helper()
	dir := filepath.Join(b.Dir, name)
	must(t, "making a folder", os.Mkdir(dir, 0o755))
	pod.Volumes = append(pod.Volumes, corev1.Volume{
		Name: "x", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir}},
	})
	for i := range pod.Containers {
		c := &pod.Containers[i]
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "x", MountPath: "/x"})
	}
	return dir
}

// memory is how many bytes of it the machine has.
func memory(t *testing.T) float64 {
	t.Helper()
	var info unix.Sysinfo_t
	must(t, "asking for the machine's memory", unix.Sysinfo(&info))
	return float64(info.Totalram) * float64(info.Unit)
}
