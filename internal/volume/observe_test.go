package volume

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// TestObserve: every volume is told of, with its type.
func TestObserve(t *testing.T) {
	var mu sync.Mutex
	var got []string
	broken := false
	f := &fake{mount: func(context.Context, Request) error {
		if broken {
			return errors.New("broken")
		}
		return nil
	}}
	m, err := New(Config{RootDir: t.TempDir(), Observe: func(plugin string, unmount bool, _ time.Duration, err error) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, fmt.Sprint(plugin, " ", unmount, " ", err == nil))
	}}, []Plugin{f}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	p := testPod("u", empty("a"), empty("b"))
	if _, err := m.Mount(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	broken = true
	if _, err := m.Mount(t.Context(), testPod("v", empty("a"))); err == nil {
		t.Fatal("mounted what is broken")
	}
	if err := m.Unmount(t.Context(), pod.RefOf(p)); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	want := []string{"example.com/fake false false", "example.com/fake false true", "example.com/fake false true", "example.com/fake true true", "example.com/fake true true"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestTypeOf(t *testing.T) {
	m := newManager(t, &fake{})
	a, claim, odd := empty("a"), corev1.Volume{Name: "b"}, corev1.Volume{Name: "c"}
	claim.PersistentVolumeClaim = &corev1.PersistentVolumeClaimVolumeSource{}
	for _, c := range []struct {
		volume *corev1.Volume
		want   string
	}{{&a, "example.com/fake"}, {&claim, ""}, {&odd, ""}} {
		if got := m.TypeOf(c.volume); got != c.want {
			t.Errorf("%s is of type %q, want %q", c.volume.Name, got, c.want)
		}
	}
}
