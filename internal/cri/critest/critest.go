package critest

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/cri"
	"nodeagent.dev/nodeagent/internal/pod"
)

// The containers of the suite.
const (
	// Long runs until SIGTERM and then ends with code 143 or 0.
	Long = "long"
	// Short ends with code 7 at once.
	Short = "short"
	// Stubborn ignores SIGTERM.
	Stubborn = "stubborn"
	// Broken cannot be started.
	Broken = "broken"
)

// ShortCode is the exit code of Short.
const ShortCode = 7

const (
	// patience is how long the suite waits for something to happen.
	patience = 30 * time.Second
	interval = 5 * time.Millisecond
)

// trapped is a file that Long and Stubborn make once they can be told to end.
const trapped = "/trapped"

// script is what a real container runs.
func script(name string) []string {
	switch name {
	case Short:
		return []string{"/bin/sh", "-c", fmt.Sprintf("exit %d", ShortCode)}
	case Stubborn:
		return []string{"/bin/sh", "-c", "trap '' TERM; : > " + trapped + "; while true; do sleep 1; done"}
	case Broken:
		return []string{"/there/is/no/such/program"}
	}
	return []string{"/bin/sh", "-c", "trap 'exit 143' TERM; : > " + trapped + "; while true; do sleep 0.05; done"}
}

// bench is one pod of the suite on one runtime.
type bench struct {
	t     *testing.T
	c     *cri.Client
	pod   *corev1.Pod
	ref   pod.Ref
	image pod.Image
	sb    pod.SandboxRequest
	sbID  string
}

// Run runs the suite. image must be present or pullable and have /bin/sh, and
// the pods use the node's network, so that no network plugin is needed.
func Run(t *testing.T, c *cri.Client, image string) {
	for _, check := range []struct {
		name string
		f    func(*bench)
	}{
		{"info", checkInfo},
		{"images", checkImages},
		{"sandbox", checkSandbox},
		{"container", checkContainer},
		{"exit", checkExit},
		{"kill", checkKill},
		{"start failure", checkStartFailure},
		{"sandbox stop kills", checkSandboxStopKills},
		{"list all", checkListAll},
		{"events", checkEvents},
		{"streams", checkStreams},
		{"missing objects", checkMissing},
	} {
		t.Run(check.name, func(t *testing.T) { check.f(newBench(t, c, image)) })
	}
}

func newBench(t *testing.T, c *cri.Client, image string) *bench {
	t.Helper()
	b := &bench{t: t, c: c}
	ref, _, ok, err := c.ImagePresent(t.Context(), image)
	b.no(err)
	if !ok {
		ref, err = c.PullImage(t.Context(), &corev1.Pod{}, image, nil)
		b.no(err)
	}
	b.image = pod.Image{Name: image, Ref: ref, UserSpecified: image}
	stamp := time.Now().UnixNano()
	grace := int64(5)
	b.pod = &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("critest-%d", stamp), Namespace: "critest", UID: types.UID(fmt.Sprintf("critest-uid-%d", stamp)),
			Labels: map[string]string{"suite": "critest"}, Annotations: map[string]string{"suite": "critest"},
		},
		Spec: corev1.PodSpec{
			EnableServiceLinks: new(true),
			HostNetwork:        true, DNSPolicy: corev1.DNSDefault, TerminationGracePeriodSeconds: &grace,
			SecurityContext: &corev1.PodSecurityContext{},
		},
	}
	for _, name := range []string{Long, Short, Stubborn, Broken} {
		b.pod.Spec.Containers = append(b.pod.Spec.Containers, corev1.Container{
			Name: name, Image: image, Command: script(name), TerminationMessagePath: "/dev/termination-log",
			TerminationMessagePolicy: corev1.TerminationMessageReadFile,
		})
	}
	b.ref, b.sb = pod.RefOf(b.pod), pod.SandboxRequest{Pod: b.pod}
	t.Cleanup(b.remove)
	return b
}

// remove takes the pod away again, whatever the check left of it.
func (b *bench) remove() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	o, err := b.c.Observe(ctx, b.ref)
	if err != nil {
		b.t.Errorf("clean up: %v", err)
	}
	for _, s := range o.Sandboxes {
		if err := b.c.StopSandbox(ctx, s.ID); err != nil {
			b.t.Errorf("clean up: %v", err)
		}
		if err := b.c.RemoveSandbox(ctx, s.ID); err != nil {
			b.t.Errorf("clean up: %v", err)
		}
	}
	b.c.Forget(b.ref.UID)
}

func (b *bench) no(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// reason asserts that err is a failure with the reason.
func (b *bench) reason(err error, want string) {
	b.t.Helper()
	if err == nil {
		b.t.Fatalf("no error, want %s", want)
	}
	if got, _ := pod.ReasonOf(err, "(none)"); got != want {
		b.t.Errorf("reason %s, want %s: %v", got, want, err)
	}
}

func (b *bench) sandbox() {
	b.t.Helper()
	id, err := b.c.CreateSandbox(b.t.Context(), b.sb)
	b.no(err)
	b.sbID = id
}

func (b *bench) request(name string, attempt int) pod.ContainerRequest {
	b.t.Helper()
	for i := range b.pod.Spec.Containers {
		if c := &b.pod.Spec.Containers[i]; c.Name == name {
			return pod.ContainerRequest{
				Sandbox: b.sb, SandboxID: b.sbID, Container: c, Attempt: attempt, CrashCount: attempt, Image: b.image,
			}
		}
	}
	b.t.Fatalf("no container %q in the suite", name)
	return pod.ContainerRequest{}
}

// started makes and starts a container.
func (b *bench) started(name string, attempt int) string {
	b.t.Helper()
	id, err := b.c.CreateContainer(b.t.Context(), b.request(name, attempt))
	b.no(err)
	b.no(b.c.StartContainer(b.t.Context(), id))
	return id
}

// trapped waits until a container of the suite can be told to end.
func (b *bench) trapped(id string) {
	b.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(interval) {
		r, err := b.c.ExecSync(b.t.Context(), id, []string{"/bin/sh", "-c", "test -e " + trapped}, patience)
		b.no(err)
		if r.ExitCode == 0 {
			return
		}
	}
	b.t.Fatalf("container %s has not set its trap after %v", id, patience)
}

func (b *bench) observe() pod.Observation {
	b.t.Helper()
	o, err := b.c.Observe(b.t.Context(), b.ref)
	b.no(err)
	return o
}

// instance returns one observed container.
func (b *bench) instance(id string) pod.Container {
	b.t.Helper()
	o := b.observe()
	for i := range o.Containers {
		if o.Containers[i].ID == id {
			return o.Containers[i]
		}
	}
	b.t.Fatalf("container %s is not observed: %+v", id, o)
	return pod.Container{}
}

// until waits for a container to be in a state.
func (b *bench) until(id string, want pod.ContainerState) pod.Container {
	b.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(interval) {
		if k := b.instance(id); k.State == want {
			return k
		}
	}
	b.t.Fatalf("container %s is not %v after %v: %+v", id, want, patience, b.instance(id))
	return pod.Container{}
}
