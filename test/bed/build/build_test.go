package build

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestComponentsArePinned(t *testing.T) {
	t.Parallel()
	checkout, err := Checkout()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Concat(All(), Conformance(), Monitoring()) {
		c, err := Lookup(name)
		if err != nil {
			t.Error(err)
			continue
		}
		dir := filepath.Join(checkout, "test", "bed", "components", c.Folder)
		version, err := moduleVersion(filepath.Join(dir, "go.mod"), c.Module)
		if err != nil {
			t.Error(err)
			continue
		}
		if key, err := c.key(dir, version); err != nil || len(key) < 20 {
			t.Errorf("key of %s: %q, %v", name, key, err)
		}
	}
	if _, err := Lookup("dockerd"); err == nil {
		t.Error("found a component that there is not")
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	got := kubernetes("kubelet").arguments("v1.37.1", "out")
	const flags = "-s -w -X k8s.io/component-base/version.gitVersion=v1.37.1 " +
		"-X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37"
	want := []string{"build", "-trimpath", "-mod=readonly", "-buildvcs=false", "-ldflags", flags, "-o", "out", "k8s.io/kubernetes/cmd/kubelet"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestArgumentsOfTests(t *testing.T) {
	t.Parallel()
	c, err := Lookup("e2e.test")
	if err != nil {
		t.Fatal(err)
	}
	got := c.arguments("v1.37.1", "out")
	if !slices.Equal(got[:3], []string{"test", "-c", "-trimpath"}) || got[len(got)-1] != "k8s.io/kubernetes/test/e2e" {
		t.Errorf("got %q", got)
	}
}

// The tests are those of the control plane they run against.
func TestConformanceIsOfTheSameVersion(t *testing.T) {
	t.Parallel()
	checkout, err := Checkout()
	if err != nil {
		t.Fatal(err)
	}
	var versions []string
	for _, folder := range []string{"kubernetes", "e2e"} {
		version, err := moduleVersion(filepath.Join(checkout, "test", "bed", "components", folder, "go.mod"), kubernetesModule)
		if err != nil {
			t.Fatal(err)
		}
		versions = append(versions, version)
	}
	if versions[0] != versions[1] {
		t.Errorf("the beds are %s, the tests %s", versions[0], versions[1])
	}
}

func TestKeyFollowsWhatIsPinned(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module x\nrequire k8s.io/kubernetes v1.2.3 // indirect\n")
	write("go.sum", "a")
	c := kubernetes("kubelet")
	version, err := moduleVersion(filepath.Join(dir, "go.mod"), kubernetesModule)
	if err != nil || version != "v1.2.3" {
		t.Fatalf("version %q, %v", version, err)
	}
	first, err := c.key(dir, version)
	if err != nil {
		t.Fatal(err)
	}
	write("go.sum", "b")
	second, err := c.key(dir, version)
	if err != nil || first == second {
		t.Errorf("keys %q and %q, %v", first, second, err)
	}
}

func TestOnceIsOnce(t *testing.T) {
	t.Parallel()
	cache := t.TempDir()
	if err := os.Mkdir(filepath.Join(cache, "locks"), 0o750); err != nil {
		t.Fatal(err)
	}
	var made atomic.Int32
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			b := &Builder{cache: cache, out: io.Discard} // as if in processes of their own
			path, err := b.Once(t.Context(), "key", "file", func(_ context.Context, tmp string) error {
				made.Add(1)
				time.Sleep(20 * time.Millisecond)
				return os.WriteFile(filepath.Join(tmp, "file"), []byte("x"), 0o600)
			})
			if content, readErr := os.ReadFile(path); err != nil || readErr != nil || string(content) != "x" {
				t.Errorf("%q, %v, %v", content, err, readErr)
			}
		})
	}
	group.Wait()
	if made.Load() != 1 {
		t.Errorf("made %d times", made.Load())
	}
}

func TestOnceForgetsFailures(t *testing.T) {
	t.Parallel()
	cache := t.TempDir()
	if err := os.Mkdir(filepath.Join(cache, "locks"), 0o750); err != nil {
		t.Fatal(err)
	}
	b := &Builder{cache: cache}
	broken := errors.New("broken")
	if _, err := b.Once(t.Context(), "key", "file", func(context.Context, string) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	entries, err := os.ReadDir(cache)
	if err != nil || len(entries) != 1 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

func TestLockCanBeInterrupted(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := Lock(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := Lock(ctx, path, cancel); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
