package cri

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/pod"
)

func TestHostileObjects(t *testing.T) {
	ref := pod.Ref{UID: "u"}
	labels := map[string]string{containerspec.LabelPodUID: "u"}
	for name, s := range map[string]*runtimeapi.PodSandbox{
		"nil": nil, "empty": {}, "no labels": {Id: "x"}, "other pod": {Id: "x", Labels: map[string]string{containerspec.LabelPodUID: "v"}},
	} {
		if got, ok := sandboxOf(s, ref); ok {
			t.Errorf("sandbox %s: %+v", name, got)
		}
	}
	for name, c := range map[string]*runtimeapi.Container{
		"nil": nil, "empty": {}, "no labels": {Id: "x"}, "no name": {Id: "x", Labels: labels},
	} {
		if got, ok := containerOf(c, ref); ok {
			t.Errorf("container %s: %+v", name, got)
		}
	}
	c, ok := containerOf(&runtimeapi.Container{
		Id: "x", Labels: map[string]string{containerspec.LabelPodUID: "u", containerspec.LabelContainerName: "n"},
		Annotations: map[string]string{containerspec.AnnotationRestartCount: "-4", containerspec.AnnotationCrashCount: "-2"},
		CreatedAt:   math.MinInt64, State: 99,
	}, ref)
	if !ok || c.Name != "n" || c.Attempt != 0 || c.CrashCount != -1 || !c.CreatedAt.IsZero() || c.State != pod.ContainerUnknown {
		t.Errorf("%+v", c)
	}
	c, _ = containerOf(&runtimeapi.Container{
		Id: "x", Labels: labels, Metadata: &runtimeapi.ContainerMetadata{Name: "n", Attempt: math.MaxUint32},
		Annotations: map[string]string{containerspec.AnnotationRestartCount: "4"},
	}, ref)
	if c.Attempt != 4 {
		t.Errorf("attempt %d", c.Attempt)
	}
	if got := containerDetail(c, nil); got != c {
		t.Errorf("no status: %+v", got)
	}
	if got := containerDetail(c, &runtimeapi.ContainerStatus{Id: "other", ExitCode: 9}); got != c {
		t.Errorf("another's status: %+v", got)
	}
	got := containerDetail(c, &runtimeapi.ContainerStatus{Id: "x", Message: strings.Repeat("é", 1<<20), Reason: "\xff"})
	if len(got.Message) > maxText || !utf8.ValidString(got.Message) || !utf8.ValidString(got.Reason) {
		t.Errorf("%d bytes", len(got.Message))
	}
	s := sandboxDetail(pod.Sandbox{ID: "x"}, &runtimeapi.PodSandboxStatus{
		Id: "x", Network: &runtimeapi.PodSandboxNetworkStatus{Ip: "10.0.0.1", AdditionalIps: []*runtimeapi.PodIP{nil}},
	})
	if len(s.IPs) != 0 {
		t.Errorf("%+v", s)
	}
}

func TestLastWords(t *testing.T) {
	const (
		file = string(corev1.TerminationMessageReadFile)
		logs = string(corev1.TerminationMessageFallbackToLogsOnError)
	)
	broken := errors.New("broken")
	for _, c := range []struct {
		name         string
		runtime      string // its message
		written      string
		readErr      error
		log          string
		logErr       error
		path, policy string
		code         int32
		reason       string
		running      bool
		want         string
	}{
		{name: "written", written: "why", path: "/log", policy: file, want: "why"},
		{name: "written, and there is a log", written: "why", log: "log", path: "/log", policy: logs, code: 1, want: "why"},
		{name: "both", runtime: "oops", written: "why", path: "/log", policy: file, want: "oops: why"},
		{name: "the runtime alone", runtime: "oops", path: "/log", policy: file, code: 1, want: "oops"},
		{name: "a relative path", written: "why", path: "log", policy: file, want: "why"},
		{name: "no path", written: "why", policy: file, want: ""},
		{name: "another mount", written: "why", path: "/other", policy: file, want: ""},
		{name: "log", log: "log", path: "/log", policy: logs, code: 1, want: "log"},
		{name: "log without a path", log: "log", policy: logs, code: 1, want: "log"},
		{name: "log after a success", log: "log", path: "/log", policy: logs, want: ""},
		{name: "log of what never ran", log: "log", path: "/log", policy: logs, code: 128, reason: "ContainerCannotRun", want: ""},
		{name: "log is not asked for", log: "log", path: "/log", policy: file, code: 1, want: ""},
		{name: "unreadable", runtime: "oops", readErr: broken, log: "log", path: "/log", policy: logs, code: 1, want: "oops: Error on reading termination log /h/log: broken"},
		{name: "unreadable log", logErr: broken, path: "/log", policy: logs, code: 1, want: "Error on reading termination message from logs: broken"},
		{name: "it still runs", written: "why", log: "log", path: "/log", policy: logs, code: 1, running: true, want: ""},
		{name: "hostile", runtime: strings.Repeat("r", 2*maxText), written: strings.Repeat("w", 2*maxText) + "\xff", path: "/log", policy: file,
			want: strings.Repeat("r", maxText) + ": " + strings.Repeat("w", maxText)},
	} {
		client := &Client{cfg: Config{
			ReadMessage: func(path string) (string, error) {
				if path != "/h/log" {
					t.Errorf("%s: reads %s", c.name, path)
				}
				return c.written, c.readErr
			},
			TailLog: func(path string) (string, error) {
				if path != "/var/log/0.log" {
					t.Errorf("%s: reads %s", c.name, path)
				}
				return c.log, c.logErr
			},
		}}
		st := &runtimeapi.ContainerStatus{
			Id: "x", State: runtimeapi.ContainerState_CONTAINER_EXITED, ExitCode: c.code, Reason: c.reason, Message: c.runtime,
			Annotations: map[string]string{containerspec.AnnotationTerminationMessagePath: c.path, containerspec.AnnotationTerminationMessagePolicy: c.policy},
			Mounts:      []*runtimeapi.Mount{nil, {ContainerPath: "/log", HostPath: "/h/log"}}, LogPath: "/var/log/0.log",
		}
		if c.running {
			st.State = runtimeapi.ContainerState_CONTAINER_RUNNING
		}
		if got := client.lastWords(containerDetail(pod.Container{ID: "x"}, st), st).Message; got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		bare := (&Client{}).lastWords(containerDetail(pod.Container{ID: "x"}, st), st)
		if bare.Message != cut(c.runtime) {
			t.Errorf("%s: nobody reads, but %q", c.name, bare.Message)
		}
		if other := client.lastWords(pod.Container{ID: "y", State: pod.ContainerExited}, st); other.Message != "" {
			t.Errorf("%s: another's message %q", c.name, other.Message)
		}
	}
}

func TestPreStopOf(t *testing.T) {
	const ports = `[{"name":"a","containerPort":1},{"name":"web","containerPort":8080}]`
	for _, c := range []struct{ name, handler, ports, want string }{
		{name: "none"},
		{name: "exec", handler: `{"exec":{"command":["a","b"]}}`, want: `{"exec":{"command":["a","b"]}}`},
		{name: "sleep", handler: `{"sleep":{"seconds":5}}`, want: `{"sleep":{"seconds":5}}`},
		{name: "number", handler: `{"httpGet":{"port":80}}`, ports: ports, want: `{"httpGet":{"port":80}}`},
		{name: "name", handler: `{"httpGet":{"port":"web"}}`, ports: ports, want: `{"httpGet":{"port":8080}}`},
		{name: "unknown name", handler: `{"httpGet":{"port":"none"}}`, ports: ports, want: `{"httpGet":{"port":"none"}}`},
		{name: "bad ports", handler: `{"httpGet":{"port":"web"}}`, ports: `{`, want: `{"httpGet":{"port":"web"}}`},
		{name: "empty", handler: `{}`},
		{name: "null", handler: `null`},
		{name: "not JSON", handler: `{"exec":`},
		{name: "another type", handler: `{"exec":7}`},
		{name: "deep", handler: strings.Repeat("[", maxJSON)},
		{name: "huge", handler: `{"exec":{"command":["` + strings.Repeat("x", maxJSON) + `"]}}`},
	} {
		got := ""
		k := containerDetail(pod.Container{ID: "x"}, &runtimeapi.ContainerStatus{Id: "x", Annotations: map[string]string{
			containerspec.AnnotationPreStopHandler: c.handler, containerspec.AnnotationPorts: c.ports,
		}})
		if k.PreStop != nil {
			raw, err := json.Marshal(k.PreStop)
			if err != nil {
				t.Fatal(err)
			}
			got = string(raw)
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestUIDOf(t *testing.T) {
	for _, ev := range []*runtimeapi.ContainerEventResponse{nil, {}, {ContainersStatuses: []*runtimeapi.ContainerStatus{nil, {}}}} {
		if got := uidOf(ev); got != "" {
			t.Errorf("%v: %s", ev, got)
		}
	}
	ev := &runtimeapi.ContainerEventResponse{ContainersStatuses: []*runtimeapi.ContainerStatus{
		{Labels: map[string]string{containerspec.LabelPodUID: "u"}},
	}}
	if got := uidOf(ev); got != "u" {
		t.Errorf("%s", got)
	}
}

func TestReservedFor(t *testing.T) {
	for text, want := range map[string]string{
		`failed to reserve sandbox name "a_b": name "a_b" is reserved for "abc123"`: "abc123",
		`name "a" is reserved for "abc123": busy`:                                   "abc123",
		"other": "", "is reserved for ": "",
	} {
		if got := reservedFor(errors.New(text)); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzCut(f *testing.F) {
	f.Add("a", 0)
	f.Add("é", maxText)
	f.Fuzz(func(t *testing.T, s string, n int) {
		if n > 0 && n < 2*maxText {
			s = strings.Repeat("x", n) + s
		}
		got := cut(s)
		if !utf8.ValidString(got) || len(got) > 3*maxText || len(s) <= maxText && utf8.ValidString(s) && got != s {
			t.Fatalf("%q became %q", s, got)
		}
	})
}

func TestAbortedStarts(t *testing.T) {
	const cancelled = "failed to start containerd task \"x\": context canceled"
	for name, c := range map[string]struct {
		status *runtimeapi.ContainerStatus
		want   pod.ContainerState
	}{
		"given up with its caller": {&runtimeapi.ContainerStatus{State: runtimeapi.ContainerState_CONTAINER_EXITED, Reason: "StartError", Message: cancelled, ExitCode: 128}, pod.ContainerAborted},
		"a start that failed":      {&runtimeapi.ContainerStatus{State: runtimeapi.ContainerState_CONTAINER_EXITED, Reason: "StartError", Message: "no such file", ExitCode: 128}, pod.ContainerExited},
		"one that ran": {&runtimeapi.ContainerStatus{State: runtimeapi.ContainerState_CONTAINER_EXITED, Reason: "StartError", Message: cancelled,
			StartedAt: time.Unix(1, 0).UnixNano()}, pod.ContainerExited},
		"one that says so itself": {&runtimeapi.ContainerStatus{State: runtimeapi.ContainerState_CONTAINER_EXITED, Reason: "Error", Message: cancelled, ExitCode: 1}, pod.ContainerExited},
	} {
		c.status.Id = "id"
		if got := containerDetail(pod.Container{ID: "id"}, c.status).State; got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
