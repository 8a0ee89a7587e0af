package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"nodeagent.dev/nodeagent/internal/agent/inspect"
)

func TestDescribe(t *testing.T) {
	for want, p := range map[string]inspect.Pod{
		"Unknown, 0 of 0 containers run": {},
		"Running, ready: 1 of 1 containers": {
			Phase: "Running", Ready: true, Containers: []inspect.Container{{State: "running", Ready: true}},
			Waits: []inspect.Wait{{What: "nothing that matters"}},
		},
		"Pending, 1 of 2 containers run; waits for x, y; b: ErrImagePull: no such image": {
			Phase: "Pending", Waits: []inspect.Wait{{What: "x"}, {What: "y"}},
			Containers: []inspect.Container{{Name: "a", State: "running"}, {Name: "b", State: "waiting", Reason: "ErrImagePull", Message: "no such image"}},
		},
	} {
		if got := describe(&p); got != want {
			t.Errorf("describe(%+v) = %q, want %q", p, got, want)
		}
	}
}

func TestReadyNeedsAllWantedPods(t *testing.T) {
	w := watch{wanted: []string{"a-n", "b-n"}}
	a, b := inspect.Pod{Name: "a-n", Ready: true}, inspect.Pod{Name: "b-n"}
	for _, c := range []struct {
		pods []inspect.Pod
		want bool
	}{
		{nil, false},
		{[]inspect.Pod{a}, false},
		{[]inspect.Pod{a, b}, false},
		{[]inspect.Pod{a, {Name: "b-n", Ready: true}}, true},
	} {
		if got := w.ready(c.pods); got != c.want {
			t.Errorf("ready(%+v) = %v", c.pods, got)
		}
	}
	if got := w.of([]inspect.Pod{a, {Name: "other"}, b}); len(got) != 2 {
		t.Errorf("of keeps %+v", got)
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	w := watch{socket: filepath.Join(t.TempDir(), "none"), wanted: []string{"a"}, out: io.Discard}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := w.run(ctx); !errors.Is(err, errNotReady) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want the reason and the last problem", err)
	}
}

func TestManifests(t *testing.T) {
	m, err := readManifests("")
	if err != nil {
		t.Fatal(err)
	}
	if got := m.pods("Demo"); !slices.Contains(got, "web-demo") || len(got) != len(m.files) {
		t.Errorf("pods of deploy/demo: %v", got)
	}
	into := t.TempDir()
	if err := m.install(into); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(into); len(entries) != len(m.files) {
		t.Errorf("installed: %v", entries)
	}
	if _, err := readManifests(t.TempDir()); err == nil {
		t.Error("an empty folder is taken")
	}
	bad := t.TempDir()
	if err := os.WriteFile(filepath.Join(bad, "x.yaml"), []byte("kind: Deployment\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readManifests(bad); err == nil {
		t.Error("a deployment is taken for a pod")
	}
}
