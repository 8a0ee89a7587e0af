package podlogs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nodeagent.dev/nodeagent/internal/pod"
)

func newLogs(t *testing.T) *Logs {
	t.Helper()
	l, err := New(Config{PodsDir: filepath.Join(t.TempDir(), "pods"), LinksDir: filepath.Join(t.TempDir(), "containers")})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func ref() pod.Ref { return pod.Ref{Namespace: "ns", Name: "web", UID: "uid-1"} }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, elem ...string) string {
	t.Helper()
	name := filepath.Join(elem...)
	must(t, os.MkdirAll(filepath.Dir(name), 0o755))
	must(t, os.WriteFile(name, nil, 0o600))
	return name
}

func exists(t *testing.T, name string, want bool) {
	t.Helper()
	if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) == want {
		t.Errorf("%s: %v, want it to exist: %v", name, err, want)
	}
}

func TestLifeOfAContainersLog(t *testing.T) {
	l := newLogs(t)
	link := filepath.Join(l.links, "web_ns_app-abc.log")
	must(t, l.EnsureDir(ref(), "app"))
	must(t, l.EnsureDir(ref(), "app"))
	dir := filepath.Join(l.pods, "ns_web_uid-1/app")
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o755 {
		t.Fatalf("%v, %v", info, err)
	}
	must(t, l.Link(ref(), "app", "abc", 1))
	exists(t, link, false) // no file, no link
	log := write(t, dir, "1.log")
	must(t, os.Symlink("/wrong", link))
	for range 2 {
		must(t, l.Link(ref(), "app", "abc", 1))
		if target, err := os.Readlink(link); target != log {
			t.Errorf("link to %q, %v; want %q", target, err, log)
		}
	}
	gone := []string{log, write(t, dir, "1.log.20260102-030405"), write(t, dir, "1.log.20260102-030405.gz"), write(t, dir, "1.log.x.tmp"), link}
	kept := []string{write(t, dir, "0.log"), write(t, dir, "11.log"), write(t, dir, "1.logx"), write(t, l.links, "web_ns_app-abd.log")}
	for range 2 {
		must(t, l.RemoveContainer(ref(), "app", "abc", 1))
	}
	for _, name := range gone {
		exists(t, name, false)
	}
	for _, name := range kept {
		exists(t, name, true)
	}
}

func TestRemovePodTakesItsOwnLinksOnly(t *testing.T) {
	l := newLogs(t)
	must(t, l.EnsureDir(ref(), ""))
	exists(t, filepath.Join(l.pods, "ns_web_uid-1"), true)
	write(t, l.pods, "ns_web_uid-1/app/0.log")
	must(t, l.Link(ref(), "app", "abc", 0))
	next := ref()
	next.UID = "uid-2" // the same name, made again
	kept := write(t, l.pods, "ns_web_uid-2/app/0.log")
	must(t, l.Link(next, "app", "def", 0))
	for range 2 {
		must(t, l.RemovePod(ref()))
	}
	exists(t, filepath.Join(l.pods, "ns_web_uid-1"), false)
	exists(t, filepath.Join(l.links, "web_ns_app-abc.log"), false)
	exists(t, filepath.Join(l.links, "web_ns_app-def.log"), true)
	exists(t, kept, true)
}

func TestLeftovers(t *testing.T) {
	l := newLogs(t)
	write(t, l.pods, "ns_web_uid-1/app/0.log")
	write(t, l.pods, "ns_web_uid-2/app/0.log")
	must(t, l.Link(ref(), "app", "abc", 0))
	write(t, l.pods, "not-a-pod/file")
	write(t, l.pods, "a_b_c")
	must(t, os.Symlink(t.TempDir(), filepath.Join(l.pods, "x_y_z")))
	other := pod.Ref{Namespace: "ns", Name: "web", UID: "uid-2"}
	if refs, err := l.Pods(); err != nil || !slices.Equal(refs, []pod.Ref{ref(), other}) {
		t.Errorf("pods %v, %v", refs, err)
	}
	for range 2 {
		must(t, l.RemovePod(pod.Ref{UID: "uid-1"})) // all that a cgroup's name tells
	}
	if refs, err := l.Pods(); err != nil || !slices.Equal(refs, []pod.Ref{other}) {
		t.Errorf("pods %v, %v", refs, err)
	}
	exists(t, filepath.Join(l.links, "web_ns_app-abc.log"), false)
	if l.RemovePod(pod.Ref{}) == nil {
		t.Error("a pod without any name was accepted")
	}
}

func TestSymlinksAreNotFollowed(t *testing.T) {
	l := newLogs(t)
	outside := t.TempDir()
	precious := write(t, outside, "0.log")
	must(t, os.MkdirAll(filepath.Join(l.pods, "ns_web_uid-1"), 0o755))
	must(t, os.Symlink(outside, filepath.Join(l.pods, "ns_web_uid-1/app")))
	if err := l.EnsureDir(ref(), "app"); err == nil {
		t.Error("EnsureDir took a symlink for the directory")
	}
	if err := l.RemoveContainer(ref(), "app", "abc", 0); err == nil {
		t.Error("RemoveContainer went through a symlink")
	}
	exists(t, precious, true)
	must(t, l.RemovePod(ref()))
	exists(t, filepath.Join(l.pods, "ns_web_uid-1"), false)
	exists(t, precious, true)

	must(t, os.Symlink(outside, filepath.Join(l.pods, "ns_web_uid-1")))
	must(t, l.RemovePod(ref()))
	exists(t, precious, true)
}

func TestNamesFromOutsideAreNotPaths(t *testing.T) {
	l := newLogs(t)
	for _, bad := range []string{"", ".", "..", "a/b", "../x", "a\x00"} {
		broken := []pod.Ref{ref(), ref(), ref()}
		broken[0].Namespace, broken[1].Name, broken[2].UID = bad, bad, "../"+ref().UID
		for _, r := range broken {
			if l.EnsureDir(r, "app") == nil || l.RemovePod(r) == nil {
				t.Errorf("%+v was accepted", r)
			}
		}
		if bad != "" && l.EnsureDir(ref(), bad) == nil {
			t.Errorf("container %q was accepted", bad)
		}
		if l.Link(ref(), "app", bad, 0) == nil || l.RemoveContainer(ref(), "app", bad, 0) == nil {
			t.Errorf("container ID %q was accepted", bad)
		}
	}
	if _, err := New(Config{PodsDir: "relative"}); err == nil {
		t.Error("a relative directory was accepted")
	}
}

func TestLongNamesAreCut(t *testing.T) {
	r := ref()
	r.Name = strings.Repeat("a", 253)
	if name := linkName(r, "app", "abc"); len(name) != 255 || !strings.HasSuffix(name, "aaa.log") {
		t.Errorf("%d bytes: %s", len(name), name)
	}
}
