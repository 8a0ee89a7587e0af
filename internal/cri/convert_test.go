package cri

import (
	"errors"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

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
