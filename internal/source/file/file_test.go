package file

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/source"
	"nodeagent.dev/nodeagent/internal/source/sourcetest"
)

func manifestOf(name, image string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec: {containers: [{name: c, image: \"%s\"}]}\n", name, image)
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	for kind, dir := range map[string]string{"directory": "", "directory created later": "a/b"} {
		t.Run(kind, func(t *testing.T) {
			sourcetest.Run(t, sourcetest.Harness{New: func(t *testing.T) (source.Source, func(*testing.T, ...string)) {
				path := filepath.Join(t.TempDir(), dir)
				return newSource(t, path), func(t *testing.T, names ...string) { setDir(t, path, names) }
			}})
		})
	}
}

func setDir(t *testing.T, dir string, names []string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	keep := map[string]bool{}
	for _, n := range names {
		keep[n] = true
		write(t, filepath.Join(dir, n), manifestOf(n, "i"))
	}
	for _, e := range entries {
		if !keep[e.Name()] {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// start runs a source whose period is so long that only events can help it.
func start(t *testing.T, s *Source) <-chan []*corev1.Pod {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, ended := make(chan []*corev1.Pod), make(chan error, 1)
	go func() { ended <- s.Run(ctx, out) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return out
}

// expect receives until the set has exactly the pods "name=image".
func expect(t *testing.T, out <-chan []*corev1.Pod, want ...string) []*corev1.Pod {
	t.Helper()
	deadline := time.After(5 * time.Second)
	last := "nothing"
	for {
		select {
		case set := <-out:
			got := make([]string, 0, len(set))
			for _, p := range set {
				got = append(got, strings.TrimSuffix(p.Name, "-node-1")+"="+p.Spec.Containers[0].Image)
			}
			if last = strings.Join(got, " "); last == strings.Join(want, " ") {
				return set
			}
		case <-deadline:
			t.Fatalf("last set: %s; want %s", last, strings.Join(want, " "))
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 500 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("not in time: %s", what)
}

func TestBrokenManifestDoesNotDisturbOthersAndHeals(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "b.yaml")
	write(t, filepath.Join(dir, "a.yaml"), manifestOf("a", "i"))
	write(t, bad, "kind: Po")
	s := newSource(t, dir)
	out := start(t, s)
	expect(t, out, "a=i")
	if p := s.Problems(); len(p) != 1 || p[bad].Text == "" || p[bad].Warning {
		t.Fatalf("problems: %v", p)
	}
	write(t, bad, manifestOf("b", "1"))
	expect(t, out, "a=i", "b=1")
	eventually(t, "no problems", func() bool { return len(s.Problems()) == 0 })

	// A good manifest that breaks keeps its last good version for a period.
	write(t, bad, manifestOf("b", "2")[:30])
	eventually(t, "a problem", func() bool { return s.Problems()[bad].Text != "" })
	write(t, bad, manifestOf("b", "3"))
	expect(t, out, "a=i", "b=3")
}

func TestBrokenManifestEndsItsPodAfterAPeriod(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.yaml")
	write(t, path, manifestOf("a", "i"))
	s, err := New(Config{Path: dir, NodeName: "node-1", CheckFrequency: 300 * time.Millisecond}, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	out := start(t, s)
	expect(t, out, "a=i")
	write(t, path, "broken")
	begin := time.Now()
	expect(t, out)
	if took := time.Since(begin); took < 250*time.Millisecond {
		t.Errorf("the last good version was dropped after %s", took)
	}
}

func TestOddFiles(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	write(t, filepath.Join(elsewhere, "target"), manifestOf("linked", "i"))
	for link, target := range map[string]string{"link": filepath.Join(elsewhere, "target"), "dangling": "/nowhere", "loop": "loop"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", filepath.Join(dir, "zero")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, ".hidden"), "nonsense")
	write(t, filepath.Join(dir, "huge"), "")
	if err := os.Truncate(filepath.Join(dir, "huge"), maxSize+1); err != nil {
		t.Fatal(err)
	}
	setDir(t, filepath.Join(dir, "sub"), []string{"nested"})
	s := newSource(t, dir)
	expect(t, start(t, s), "linked=i")
	for name, want := range map[string]string{
		"fifo": "named pipe", "zero": "device", "huge": "larger than", "sub": "directory", "loop": "too many levels",
	} {
		if got := s.Problems()[filepath.Join(dir, name)].Text; !strings.Contains(got, want) {
			t.Errorf("%s: problem %q, want something with %q", name, got, want)
		}
	}
	if n := len(s.Problems()); n != 5 {
		t.Errorf("problems: %v", s.Problems())
	}
}

// A manifest with an unknown field runs; the field is told once, in the log and
// in the problems.
func TestUnknownFieldIsToldOnce(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.yaml")
	odd := manifestOf("a", "1") + "extra: 1\n"
	write(t, path, odd)
	core, logs := observer.New(zap.WarnLevel)
	s, err := New(Config{Path: dir, NodeName: "node-1", CheckFrequency: 20 * time.Millisecond}, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	out := start(t, s)
	expect(t, out, "a=1")
	eventually(t, "a warning", func() bool {
		p := s.Problems()[path]
		return p.Warning && strings.Contains(p.Text, `unknown field "extra"`)
	})
	write(t, filepath.Join(dir, "b.yaml"), manifestOf("b", "1")) // makes sure of another scan
	expect(t, out, "a=1", "b=1")
	if got := logs.FilterField(zap.String("path", path)).All(); len(got) != 1 || got[0].Level != zap.WarnLevel {
		t.Errorf("logged: %v", got)
	}
	write(t, path, manifestOf("a", "1"))
	eventually(t, "no problems", func() bool { return len(s.Problems()) == 0 })
}

func TestSingleFileReplacedByRename(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "pod.yaml")
	s := newSource(t, path)
	out := start(t, s)
	expect(t, out)
	for _, image := range []string{"1", "2"} {
		write(t, filepath.Join(dir, "next"), manifestOf("a", image))
		if err := os.Rename(filepath.Join(dir, "next"), path); err != nil {
			t.Fatal(err)
		}
		expect(t, out, "a="+image)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect(t, out)
}

func TestDirectoryReplaced(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "manifests")
	setDir(t, dir, []string{"a"})
	out := start(t, newSource(t, dir))
	expect(t, out, "a=i")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	expect(t, out)
	setDir(t, dir, []string{"b"})
	expect(t, out, "b=i")
	write(t, filepath.Join(dir, "c"), manifestOf("c", "i"))
	expect(t, out, "b=i", "c=i")
}

func TestSamePodTwice(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "1"), manifestOf("a", "old"))
	write(t, filepath.Join(dir, "2"), manifestOf("a", "new"))
	s := newSource(t, dir)
	expect(t, start(t, s), "a=new")
	if p := s.Problems()[filepath.Join(dir, "1")].Text; !strings.Contains(p, "same pod") {
		t.Errorf("problem: %q", p)
	}
}

func TestConfig(t *testing.T) {
	for _, c := range []Config{
		{Path: "relative", NodeName: "n", CheckFrequency: 1}, {Path: "/x", CheckFrequency: 1}, {Path: "/x", NodeName: "n"},
	} {
		if _, err := New(c, zaptest.NewLogger(t)); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}
