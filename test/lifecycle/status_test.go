//go:build e2e

package lifecycle

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// TestMessages: what containers leave to be read when they have ended.
func TestMessages(t *testing.T) {
	const path = "/dev/termination-log"
	fallback, file := corev1.TerminationMessageFallbackToLogsOnError, corev1.TerminationMessageReadFile
	// Of what is too long the end is kept: 4096 bytes of a file, 2048 bytes and 80 lines of a log.
	long := "i=0; while [ $i -lt 1000 ]; do printf '%08d' $i; i=$((i+1)); done"
	digits := func(from, to int) string {
		var s strings.Builder
		for i := from; i < to; i++ {
			fmt.Fprintf(&s, "%08d", i)
		}
		return s.String()
	}
	for name, c := range map[string]struct {
		policy corev1.TerminationMessagePolicy
		path   string
		user   int64
		script string
		want   string
	}{
		"file":             {file, "", 0, "echo out; printf 'the end' >" + path + "; exit 1", "the end"},
		"file and success": {file, "", 0, "printf 'all is well\n' >" + path, "all is well\n"},
		"no file":          {file, "", 0, "echo out; exit 1", ""},
		"other path":       {file, "/some/path", 0, "printf other >/some/path", "other"},
		"other user":       {file, "", 1234, "printf mine >" + path, "mine"},
		"other both":       {file, "/some/path", 1234, "printf both >/some/path", "both"},
		"too long":         {file, "", 0, "{ " + long + "; } >" + path, digits(488, 1000)},
		// Which of two streams comes first in the log is the runtime's to say.
		"fallback":           {fallback, "", 0, "echo one; echo two; exit 1", "one\ntwo\n"},
		"fallback, stderr":   {fallback, "", 0, "echo one >&2; echo two >&2; exit 1", "one\ntwo\n"},
		"fallback, success":  {fallback, "", 0, "echo one; exit 0", ""},
		"fallback, file":     {fallback, "", 0, "echo one; printf file >" + path + "; exit 1", "file"},
		"fallback, too long": {fallback, "", 0, long + "; exit 1", digits(1000-256, 1000)},
		"fallback, lines":    {fallback, "", 0, "i=0; while [ $i -lt 200 ]; do echo $i; i=$((i+1)); done; exit 1", lines(120, 200)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := sh("a", c.script)
			a.TerminationMessagePolicy, a.TerminationMessagePath = c.policy, c.path
			if c.user != 0 {
				a.SecurityContext = &corev1.SecurityContext{RunAsUser: &c.user}
			}
			l := live(t, newPod("message-"+dashes(name), never, a))
			p := l.until("at its end", func(p *corev1.Pod) bool { return succeeded(p) || failed(p) })
			if s := status(p, "a").State.Terminated; s == nil || s.Message != c.want {
				t.Errorf("the end is %+v, want the message (%d bytes) %q", s, len(c.want), c.want)
			}
		})
	}
}

func lines(from, to int) string {
	var s strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintln(&s, i)
	}
	return s.String()
}

// TestMessageLast: the message of the last container stays when the next runs,
// and the next begins with an empty file.
func TestMessageLast(t *testing.T) {
	t.Parallel()
	l := live(t, newPod("message-last", onFailure,
		sh("a", "test -e /d/x && exit 0; touch /d/x; printf 'the first' >/dev/termination-log; exit 4")))
	p := l.until("succeeded", succeeded)
	last := status(p, "a").LastTerminationState
	wantExit(t, "the first", last, 4, "Error")
	if last.Terminated != nil && last.Terminated.Message != "the first" {
		t.Errorf("the first left %q", last.Terminated.Message)
	}
	if now := status(p, "a").State.Terminated; now == nil || now.Message != "" || now.ExitCode != 0 {
		t.Errorf("the second left %+v, want no message", now)
	}
	wantRestarts(t, p, "a", 1)
}

// TestReadinessGates: the pod is ready when its containers are and somebody else
// says so.
func TestReadinessGates(t *testing.T) {
	t.Parallel()
	pod := newPod("gates", always, sh("a", obeys))
	pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "test.example/one"}, {ConditionType: "test.example/two"}}
	l := live(t, pod)
	say := func(kind, status string) {
		l.patch("setting a condition", fmt.Sprintf(`{"status":{"conditions":[{"type":%q,"status":%q,"reason":"Mine","message":"my words"}]}}`, kind, status), "status")
	}
	p := l.until("running", func(p *corev1.Pod) bool { return condition(p, corev1.ContainersReady).Status == corev1.ConditionTrue })
	wantCondition(t, p, corev1.PodReady, corev1.ConditionFalse, "ReadinessGatesNotReady",
		`corresponding condition of pod readiness gate "test.example/one" does not exist., corresponding condition of pod readiness gate "test.example/two" does not exist.`)
	say("test.example/one", "True")
	say("test.example/two", "False")
	const half = `the status of pod readiness gate "test.example/two" is not "True", but False`
	p = l.until("half ready", func(p *corev1.Pod) bool { return condition(p, corev1.PodReady).Message == half })
	wantCondition(t, p, corev1.PodReady, corev1.ConditionFalse, "ReadinessGatesNotReady", half)
	say("test.example/two", "True")
	p = l.until("ready", ready)
	wantReady(t, p)
	for _, kind := range []corev1.PodConditionType{"test.example/one", "test.example/two"} {
		if c := condition(p, kind); c.Status != corev1.ConditionTrue || c.Reason != "Mine" || c.Message != "my words" {
			t.Errorf("the condition of somebody else became %+v", c)
		}
	}
	say("test.example/one", "False")
	p = l.until("not ready", notReady)
	wantCondition(t, p, corev1.ContainersReady, corev1.ConditionTrue, "", "")
}

// TestQOS: the class that the API server computed stays in the status.
func TestQOS(t *testing.T) {
	some := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("20m"), corev1.ResourceMemory: resource.MustParse("64Mi")}
	for class, r := range map[corev1.PodQOSClass]corev1.ResourceRequirements{
		corev1.PodQOSBestEffort: {},
		corev1.PodQOSBurstable:  {Requests: some},
		corev1.PodQOSGuaranteed: {Requests: some, Limits: some},
	} {
		t.Run(string(class), func(t *testing.T) {
			t.Parallel()
			a := sh("a", "exec sleep 3600")
			a.Resources = r
			l := live(t, newPod("qos-"+strings.ToLower(string(class)), always, a))
			p := l.until("ready", ready)
			if p.Status.QOSClass != class {
				t.Errorf("class %s, want %s", p.Status.QOSClass, class)
			}
		})
	}
}

// TestStatusFields: what the status says of a running pod.
func TestStatusFields(t *testing.T) {
	t.Parallel()
	user, group, more := int64(1234), int64(2345), []int64{3456}
	a := sh("a", obeys)
	a.SecurityContext = &corev1.SecurityContext{RunAsUser: &user, RunAsGroup: &group}
	pod := newPod("fields", always, a, sh("b", obeys))
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{SupplementalGroups: more}
	l := live(t, pod)
	p := l.until("ready", ready)
	s := p.Status
	if ip, err := netip.ParseAddr(s.PodIP); err != nil || !ip.Is4() || len(s.PodIPs) != 1 || s.PodIPs[0].IP != s.PodIP {
		t.Errorf("addresses %q, %v; want one", s.PodIP, s.PodIPs)
	}
	if node := l.bed.NodeIP; s.HostIP != node || len(s.HostIPs) != 1 || s.HostIPs[0].IP != node {
		t.Errorf("the host's addresses are %q, %v; want %s", s.HostIP, s.HostIPs, node)
	}
	if s.StartTime == nil || s.StartTime.Before(&p.CreationTimestamp) {
		t.Errorf("started at %v, created at %s", s.StartTime, p.CreationTimestamp)
	}
	for _, c := range []string{"a", "b"} {
		cs := status(p, c)
		if !strings.HasPrefix(cs.ContainerID, "containerd://") || cs.Image != image || !strings.HasPrefix(cs.ImageID, "sha256:") {
			t.Errorf("container %s: ID %s, image %s, %s", c, cs.ContainerID, cs.Image, cs.ImageID)
		}
		if cs.State.Running == nil || cs.State.Running.StartedAt.Before(s.StartTime) {
			t.Errorf("container %s: %+v, the pod started at %s", c, cs.State, s.StartTime)
		}
		wantFlags(t, p, c, true, true)
	}
	want := map[string]corev1.LinuxContainerUser{"a": {UID: user, GID: group, SupplementalGroups: []int64{group, 3456}}, "b": {SupplementalGroups: []int64{0, 3456}}}
	for name, w := range want {
		if u := status(p, name).User; u == nil || u.Linux == nil || fmt.Sprint(*u.Linux) != fmt.Sprint(w) {
			t.Errorf("container %s: user %+v, want %+v", name, u, w)
		}
	}
	if mounts := status(p, "a").VolumeMounts; len(mounts) != 1 || mounts[0].Name != "d" || mounts[0].MountPath != "/d" {
		t.Errorf("volume mounts %+v, want /d", mounts)
	}
}

// TestObservedGeneration: the status says which spec it is about; what is not in
// the spec makes no new generation, and no container is restarted.
func TestObservedGeneration(t *testing.T) {
	t.Parallel()
	l := live(t, newPod("generation", always, sh("a", obeys)))
	p := l.until("ready", ready)
	if p.Generation != 1 || p.Status.ObservedGeneration != 1 {
		t.Errorf("generation %d, observed %d; want 1 and 1", p.Generation, p.Status.ObservedGeneration)
	}
	if p := l.patch("changing a label", `{"metadata":{"labels":{"new":"label"}}}`); p.Generation != 1 {
		t.Errorf("generation %d after a change of a label", p.Generation)
	}
	l.patch("adding a toleration", `{"spec":{"tolerations":[{"key":"some.example/key","operator":"Exists"}]}}`)
	p2 := l.until("observed", func(p *corev1.Pod) bool { return p.Status.ObservedGeneration == 2 })
	l.until("observed in its conditions", func(p *corev1.Pod) bool { return condition(p, corev1.PodReady).ObservedGeneration == 2 })
	wantRestarts(t, p2, "a", 0)
	l.delete(-1)
	last := l.ended(p)
	if last.Generation != 3 || last.Status.ObservedGeneration != 3 {
		t.Errorf("generation %d, observed %d at the end; want 3 and 3", last.Generation, last.Status.ObservedGeneration)
	}
}

// TestLastState: the state before a restart is kept, and the one before it is not.
func TestLastState(t *testing.T) {
	t.Parallel()
	l := live(t, newPod("last-state", always, sh("a", "hold go; rm /d/go; exit 8")))
	first := l.until("ready", ready)
	l.put("go", "")
	p := l.until("restarted", all(restarted("a", 1), ready))
	last := status(p, "a").LastTerminationState
	wantExit(t, "the first container", last, 8, "Error")
	if last.Terminated != nil && (last.Terminated.ContainerID != status(first, "a").ContainerID ||
		!last.Terminated.StartedAt.Equal(&status(first, "a").State.Running.StartedAt)) {
		t.Errorf("the last state %+v is not that of the first container %+v", last.Terminated, status(first, "a"))
	}
	if now := status(p, "a").ContainerID; now == status(first, "a").ContainerID {
		t.Error("the second container has the first one's ID")
	}
	wantPhase(t, p, corev1.PodRunning)
}
