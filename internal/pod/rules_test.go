package pod

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestStopMerge(t *testing.T) {
	deletion := &Stop{Deadline: t0.Add(30 * time.Second), Delete: true}
	sooner := &Stop{Deadline: t0.Add(5 * time.Second), Delete: true}
	evicted := &Stop{Reason: "Evicted", Message: "m", Phase: corev1.PodFailed, Deadline: t0.Add(10 * time.Second)}
	late := &Stop{Reason: "DeadlineExceeded", Phase: corev1.PodFailed, Deadline: t0.Add(time.Hour)}
	for name, c := range map[string]struct{ first, then, want *Stop }{
		"nothing":                       {},
		"the first":                     {nil, deletion, deletion},
		"nothing new":                   {deletion, nil, deletion},
		"the deadline comes nearer":     {deletion, sooner, sooner},
		"the deadline never moves away": {sooner, deletion, sooner},
		"the first reason stays":        {evicted, late, evicted},
		"deletion of an evicted pod":    {evicted, deletion, &Stop{Reason: "Evicted", Message: "m", Phase: corev1.PodFailed, Deadline: evicted.Deadline, Delete: true}},
		"eviction of a deleted pod":     {deletion, evicted, &Stop{Reason: "Evicted", Message: "m", Phase: corev1.PodFailed, Deadline: evicted.Deadline, Delete: true}},
		"deletion is never taken back":  {deletion, late, &Stop{Reason: "DeadlineExceeded", Phase: corev1.PodFailed, Deadline: deletion.Deadline, Delete: true}},
	} {
		t.Run(name, func(t *testing.T) {
			var before Stop
			if c.first != nil {
				before = *c.first
			}
			got := c.first.Merge(c.then)
			if !got.Equal(c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if c.first != nil && *c.first != before {
				t.Error("the first stop was changed")
			}
			if again := got.Merge(c.then); !again.Equal(got) {
				t.Errorf("merging again changes it to %+v", again)
			}
		})
	}
}

func TestRestartAfter(t *testing.T) {
	dead := func(crashes int, ran time.Duration) *Container {
		return &Container{Attempt: 7, CrashCount: crashes, CreatedAt: t0, StartedAt: t0, FinishedAt: t0.Add(ran), Hash: "h"}
	}
	type test struct {
		dead    *Container
		hash    string
		limit   time.Duration
		delay   time.Duration
		crashes int
	}
	tests := map[string]test{
		"a run just not forgiven": {dead(3, 10*time.Minute), "h", MaxBackoff, 40 * time.Second, 4},
		"a run forgiven":          {dead(3, 10*time.Minute+1), "h", MaxBackoff, 0, 1},
		"edited":                  {dead(5, time.Second), "other", MaxBackoff, 0, 1},
		"hash not known":          {dead(2, time.Second), "", MaxBackoff, 20 * time.Second, 3},
		"of a kubelet":            {dead(-1, time.Second), "h", MaxBackoff, 300 * time.Second, 8},
		"capped":                  {dead(9, time.Second), "h", time.Minute, time.Minute, 10},
		"cap below the base":      {dead(1, time.Second), "h", time.Second, time.Second, 2},
		"never started":           {&Container{CrashCount: 1, CreatedAt: t0}, "h", MaxBackoff, 10 * time.Second, 2},
	}
	for i, seconds := range []time.Duration{0, 10, 20, 40, 80, 160, 300, 300, 300} {
		tests[fmt.Sprint("crash ", i)] = test{dead(i, time.Second), "h", MaxBackoff, seconds * time.Second, i + 1}
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			r := RestartAfter(c.dead, c.hash, c.limit, false)
			end := c.dead.FinishedAt
			if end.IsZero() {
				end = c.dead.CreatedAt
			}
			if r.Delay != c.delay || !r.At.Equal(end.Add(c.delay)) || r.CrashCount != c.crashes {
				t.Errorf("got %+v, want a delay of %s and crash count %d", r, c.delay, c.crashes)
			}
		})
	}
}

func TestAttemptRetries(t *testing.T) {
	for i, want := range []struct{ retry, pull time.Duration }{
		{1, 10}, {2, 20}, {4, 40}, {8, 80}, {16, 160}, {30, 300}, {30, 300},
	} {
		a := Attempt{Count: i + 1, At: t0}
		if got := a.Retry().Sub(t0); got != want.retry*time.Second {
			t.Errorf("retry after failure %d: %s, want %d s", i+1, got, want.retry)
		}
		if got := a.PullRetry().Sub(t0); got != want.pull*time.Second {
			t.Errorf("pull after failure %d: %s, want %d s", i+1, got, want.pull)
		}
	}
	if a := (Attempt{Count: 1 << 40, At: t0}); a.Retry().Sub(t0) != retryCap || a.PullRetry().Sub(t0) != MaxBackoff {
		t.Error("a large count is not capped")
	}
}

func TestObservationOrder(t *testing.T) {
	o := Observation{
		Sandboxes: []Sandbox{{ID: "b", Attempt: 1, CreatedAt: t0}, {ID: "a", Attempt: 1, CreatedAt: t0}, {ID: "z", Attempt: 2}, {ID: "y", Attempt: 1, CreatedAt: t0.Add(1)}},
		Containers: []Container{
			{ID: "1", Name: "b", Attempt: 3, State: ContainerExited}, {ID: "2", Name: "a", Attempt: 1, CreatedAt: t0, State: ContainerExited},
			{ID: "3", Name: "a", Attempt: 1, CreatedAt: t0.Add(1), State: ContainerRunning}, {ID: "4", Name: "a", State: ContainerExited},
			{ID: "5", Name: "b", Attempt: 4, State: ContainerCreated}, {ID: "6", Name: "b", Attempt: 2, State: ContainerExited},
		},
	}
	for range 2 {
		o.Sort()
		ids := ""
		for _, s := range o.Sandboxes {
			ids += s.ID
		}
		for _, c := range o.Containers {
			ids += c.ID
		}
		if ids != "zyab"+"324516" {
			t.Fatalf("sorted as %s", ids)
		}
	}
	if o.Latest("a").ID != "3" || o.Latest("b").ID != "5" || o.Latest("c") != nil {
		t.Error("Latest is not the newest instance")
	}
	if p := o.Previous(o.Latest("a")); p == nil || p.ID != "2" {
		t.Errorf("before a: %+v", p)
	}
	if p := o.Previous(o.Latest("b")); p == nil || p.ID != "1" {
		t.Errorf("before b: %+v", p)
	}
	if p := o.Previous(&o.Containers[2]); p != nil {
		t.Errorf("before the first: %+v", p)
	}
	if !o.AnyLive() || (&Observation{Containers: []Container{{State: ContainerExited}, {State: ContainerCreated}}}).AnyLive() {
		t.Error("AnyLive counts the running and the unknown")
	}
}

func TestUsableSandbox(t *testing.T) {
	ok := Sandbox{ID: "s", Ready: true, IPs: []string{"10.0.0.1"}}
	host := Sandbox{ID: "s", Ready: true, HostNetwork: true}
	dead := Sandbox{ID: "d"}
	for name, c := range map[string]struct {
		host      bool
		sandboxes []Sandbox
		why       string
	}{
		"none":                           {false, nil, noSandbox},
		"one":                            {false, []Sandbox{ok}, ""},
		"one, and dead ones":             {false, []Sandbox{ok, dead}, ""},
		"not ready":                      {false, []Sandbox{dead}, sandboxNotReady},
		"the newest is dead":             {false, []Sandbox{dead, ok}, sandboxNotReady},
		"two":                            {false, []Sandbox{ok, ok}, multipleSandboxes},
		"no address":                     {false, []Sandbox{{Ready: true}}, sandboxWithoutIP},
		"host network without address":   {true, []Sandbox{host}, ""},
		"host network no longer wanted":  {false, []Sandbox{host}, networkChanged},
		"host network wanted since then": {true, []Sandbox{ok}, networkChanged},
	} {
		t.Run(name, func(t *testing.T) {
			in := &Input{Spec: Spec{Pod: &corev1.Pod{Spec: corev1.PodSpec{HostNetwork: c.host}}}, Observed: Observation{Sandboxes: c.sandboxes}}
			s, why := in.UsableSandbox()
			if why != c.why || (s != nil) != (why == "") {
				t.Errorf("got %v, %q, want %q", s, why, c.why)
			}
		})
	}
}

func TestLatestAndFinished(t *testing.T) {
	exited := func(attempt int, code int32) []Container {
		return []Container{{ID: fmt.Sprint("id", attempt), Name: "c", Attempt: attempt, State: ContainerExited, ExitCode: code}}
	}
	ended := func(restarts int32, id string, code int32) []corev1.ContainerStatus {
		return []corev1.ContainerStatus{{Name: "c", RestartCount: restarts, ContainerID: id, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code}}}}
	}
	for name, c := range map[string]struct {
		policy   corev1.RestartPolicy
		observed []Container
		prior    []corev1.ContainerStatus
		latest   string
		finished bool
	}{
		"never seen":                         {corev1.RestartPolicyNever, nil, nil, "", false},
		"runs":                               {corev1.RestartPolicyNever, []Container{{ID: "x", Name: "c", State: ContainerRunning}}, nil, "x", false},
		"exited, never restarted":            {corev1.RestartPolicyNever, exited(0, 1), nil, "id0", true},
		"exited, always restarted":           {corev1.RestartPolicyAlways, exited(0, 0), nil, "id0", false},
		"failed, restarted":                  {corev1.RestartPolicyOnFailure, exited(0, 1), nil, "id0", false},
		"succeeded, not restarted":           {corev1.RestartPolicyOnFailure, exited(0, 0), nil, "id0", true},
		"forgotten, but published":           {corev1.RestartPolicyOnFailure, nil, ended(3, "r://id3", 0), "", true},
		"forgotten, to be restarted":         {corev1.RestartPolicyOnFailure, nil, ended(3, "r://id3", 1), "", false},
		"the newest was removed first":       {corev1.RestartPolicyOnFailure, exited(2, 1), ended(3, "r://id3", 0), "", true},
		"count ahead of the instance":        {corev1.RestartPolicyOnFailure, exited(2, 1), ended(3, "r://id2", 0), "id2", false},
		"status of long ago":                 {corev1.RestartPolicyOnFailure, exited(5, 0), ended(3, "r://id3", 1), "id5", true},
		"one that runs is never too old":     {corev1.RestartPolicyAlways, []Container{{ID: "x", Name: "c", State: ContainerRunning}}, ended(3, "r://id3", 0), "x", false},
		"published without an ID, seen dead": {corev1.RestartPolicyNever, exited(0, 0), ended(3, "", 1), "id0", true},
	} {
		t.Run(name, func(t *testing.T) {
			in := &Input{Spec: Spec{Pod: &corev1.Pod{Spec: corev1.PodSpec{RestartPolicy: c.policy}}}, Observed: Observation{Containers: c.observed}, Prior: corev1.PodStatus{ContainerStatuses: c.prior}}
			id := ""
			if l := in.Latest("c"); l != nil {
				id = l.ID
			}
			if id != c.latest {
				t.Errorf("the latest is %q, want %q", id, c.latest)
			}
			spec := &corev1.Container{Name: "c"}
			if got := in.Finished(KindRegular, spec); got != c.finished {
				t.Errorf("finished: %t", got)
			}
			in.Running = map[Target]Operation{ContainerTarget("c"): {}}
			if in.Finished(KindRegular, spec) {
				t.Error("finished although something is done with it")
			}
		})
	}
}

func TestUnsupported(t *testing.T) {
	no := false
	for want, spec := range map[string]corev1.PodSpec{
		"":                             {HostUsers: &no, Containers: []corev1.Container{{Name: "c", Command: []string{"x"}}}, InitContainers: []corev1.Container{{}}, HostNetwork: true},
		"resourceClaims":               {ResourceClaims: []corev1.PodResourceClaim{{}}},
		"volumeDevices of container c": {InitContainers: []corev1.Container{{Name: "c", VolumeDevices: []corev1.VolumeDevice{{}}}}},
	} {
		got := Unsupported(&corev1.Pod{Spec: spec})
		if (got == "") != (want == "") || !strings.HasSuffix(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestGrace(t *testing.T) {
	p := func(seconds int64) *corev1.Pod {
		return &corev1.Pod{Spec: corev1.PodSpec{TerminationGracePeriodSeconds: &seconds}}
	}
	for _, c := range []struct {
		p    *corev1.Pod
		want time.Duration
	}{{nil, 30 * time.Second}, {&corev1.Pod{}, 30 * time.Second}, {p(7), 7 * time.Second}, {p(0), time.Second}, {p(-5), time.Second}} {
		if got := Grace(c.p); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

func TestReasonOf(t *testing.T) {
	cause := errors.New("cause")
	for name, c := range map[string]struct {
		err             error
		reason, message string
	}{
		"plain":           {cause, "Fallback", "cause"},
		"a failure":       {&Failure{Reason: "R", Message: "m", Err: cause}, "R", "m"},
		"without message": {&Failure{Reason: "R", Err: cause}, "R", "R: cause"},
		"wrapped":         {fmt.Errorf("trying: %w", &Failure{Reason: "R", Message: "m", Err: cause}), "R", "trying: m"},
	} {
		t.Run(name, func(t *testing.T) {
			if reason, message := ReasonOf(c.err, "Fallback"); reason != c.reason || message != c.message || Reason(c.err, "Fallback") != c.reason {
				t.Errorf("got %q, %q", reason, message)
			}
			if !errors.Is(c.err, cause) {
				t.Error("the cause is lost")
			}
		})
	}
}

func TestTargets(t *testing.T) {
	for target, want := range map[Target]string{ImageTarget("a"): "", ContainerTarget("b"): "b", TargetSandbox: "", TargetVolumes: ""} {
		if name, ok := target.Container(); ok != (want != "") || ok && name != want {
			t.Errorf("%s: got %q, %t", target, name, ok)
		}
	}
}
