package etchosts

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

const nodeHosts = "127.0.0.1 localhost\n192.0.2.1 node\n"

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func files(t *testing.T) *Files {
	t.Helper()
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/hosts", []byte(nodeHosts), 0o600))
	f, err := New(Config{RootDir: dir + "/root", NodeHosts: dir + "/hosts"})
	must(t, err)
	return f
}

func testPod(uid types.UID) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: uid}}
}

func ensure(t *testing.T, f *Files, p *corev1.Pod, ips ...string) string {
	t.Helper()
	path, err := f.Ensure(p, ips, "web", "")
	must(t, err)
	return path
}

func wantContent(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	must(t, err)
	if string(got) != want {
		t.Errorf("%s has\n%s\nwant\n%s", path, got, want)
	}
}

func TestEnsure(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	f, p := files(t), testPod("uid-1")
	path := ensure(t, f, p, "10.0.0.7", "fd00::7")
	if want := f.root + "/pods/uid-1/etc-hosts"; path != want {
		t.Errorf("%s, want %s", path, want)
	}
	wantContent(t, path, managed+"10.0.0.7\tweb\nfd00::7\tweb\n")
	info, err := os.Lstat(path)
	must(t, err)
	if info.Mode() != 0o644 {
		t.Errorf("mode %v", info.Mode())
	}

	p = testPod("uid-2")
	p.Spec.HostNetwork, p.Spec.HostAliases = true, alias("192.0.2.10", "db")
	const want = "# Kubernetes-managed hosts file (host network).\n" + nodeHosts +
		"\n# Entries added by HostAliases.\n192.0.2.10\tdb\n"
	wantContent(t, ensure(t, f, p, "192.0.2.1"), want)
	path, err = f.Ensure(p, nil, "", "") // it has its node's addresses, and names
	must(t, err)
	wantContent(t, path, want)
}

func TestNoAddressesNoFile(t *testing.T) {
	f := files(t)
	if path := ensure(t, f, testPod("u")); path != "" {
		t.Error(path)
	}
	if _, err := os.Lstat(f.root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("made something: %v", err)
	}
}

// A running container has the file mounted, which is as good as having it open.
func TestTheSameFileIsPutRight(t *testing.T) {
	f, p := files(t), testPod("u")
	path := ensure(t, f, p, "10.0.0.7")
	held, err := os.Open(path)
	must(t, err)
	defer held.Close()
	for name, spoil := range map[string]func() error{
		"longer":   func() error { return os.Truncate(path, 1<<40) }, // sparse, and not to be read
		"shorter":  func() error { return os.Truncate(path, 3) },
		"empty":    func() error { return os.Truncate(path, 0) },
		"rewrite":  func() error { return os.WriteFile(path, []byte(strings.Repeat("x", len(managed)+13)), 0o600) },
		"mode":     func() error { return os.Chmod(path, 0o600) },
		"set-uid":  func() error { return os.Chmod(path, 0o644|os.ModeSetuid) },
		"writable": func() error { return os.Chmod(path, 0o666) },
	} {
		must(t, spoil())
		ensure(t, f, p, "10.0.0.7")
		got, err := io.ReadAll(io.NewSectionReader(held, 0, 1<<20))
		must(t, err)
		info, err := held.Stat()
		must(t, err)
		if want := managed + "10.0.0.7\tweb\n"; string(got) != want || info.Size() != int64(len(want)) || info.Mode() != 0o644 {
			t.Errorf("%s: %v, %d bytes: %q", name, info.Mode(), info.Size(), got)
		}
	}
	ensure(t, f, p, "10.0.0.200", "fd00::1")
	got, err := io.ReadAll(held)
	must(t, err)
	if want := managed + "10.0.0.200\tweb\nfd00::1\tweb\n"; string(got) != want {
		t.Errorf("%q", got)
	}
}

func TestWhatIsRightIsNotWritten(t *testing.T) {
	f, p := files(t), testPod("u")
	path := ensure(t, f, p, "10.0.0.7")
	long := time.Unix(1000, 0)
	must(t, os.Chtimes(path, long, long))
	before, err := os.Lstat(path)
	must(t, err)
	ensure(t, f, p, "10.0.0.7")
	after, err := os.Lstat(path)
	must(t, err)
	if !after.ModTime().Equal(long) || !os.SameFile(before, after) {
		t.Errorf("written at %v", after.ModTime())
	}
}

func wantRefused(t *testing.T, what string, path string, err error, texts ...string) {
	t.Helper()
	word, message := "", ""
	if err != nil {
		word, message = pod.ReasonOf(err, "plain")
	}
	if path != "" || word != "CreateContainerConfigError" {
		t.Errorf("%s: %q, %q, %v", what, path, word, err)
	}
	for _, text := range texts {
		if !strings.Contains(message, text) {
			t.Errorf("%s: %q says nothing of %q", what, message, text)
		}
	}
}

func TestEnsureFollowsNoSymlink(t *testing.T) {
	for _, at := range []string{"pods", "pods/u", "pods/u/etc-hosts"} {
		for _, dangling := range []bool{false, true} {
			f, outside := files(t), t.TempDir()
			target := outside + "/target"
			if !dangling {
				target = outside
				if strings.HasSuffix(at, "etc-hosts") {
					target = outside + "/passwd"
					must(t, os.WriteFile(target, []byte("precious"), 0o600))
				}
			}
			link := filepath.Join(f.root, at)
			must(t, errors.Join(os.MkdirAll(filepath.Dir(link), 0o755), os.Symlink(target, link)))
			before, err := os.ReadDir(outside)
			must(t, err)
			path, err := f.Ensure(testPod("u"), []string{"10.0.0.7"}, "web", "")
			wantRefused(t, at, path, err, "remove what is there")
			if !errors.Is(err, ErrNotAHostsFile) {
				t.Errorf("%s: %v", at, err)
			}
			after, err := os.ReadDir(outside)
			must(t, err)
			if len(after) != len(before) {
				t.Errorf("%s: made %v", at, after)
			}
			for _, e := range after {
				wantContent(t, filepath.Join(outside, e.Name()), "precious")
				if info, err := e.Info(); err != nil || info.Mode() != 0o600 {
					t.Errorf("%s: %v, %v", at, info.Mode(), err)
				}
			}
		}
	}
}

// Another pod's directory is within the root, and no more allowed.
func TestEnsureFollowsNoSymlinkToAnotherPod(t *testing.T) {
	f := files(t)
	other := ensure(t, f, testPod("other"), "10.0.0.1")
	must(t, os.Symlink("other", f.root+"/pods/u"))
	path, err := f.Ensure(testPod("u"), []string{"10.0.0.7"}, "web", "")
	wantRefused(t, "pod", path, err)
	wantContent(t, other, managed+"10.0.0.1\tweb\n")
}

func TestEnsureRefusesOtherKinds(t *testing.T) {
	f := files(t)
	must(t, os.MkdirAll(f.root+"/pods/socket", 0o750))
	t.Chdir(f.root + "/pods/socket")
	l, err := net.Listen("unix", "etc-hosts") // the whole path would be too long
	must(t, err)
	defer l.Close()
	must(t, errors.Join(
		os.MkdirAll(f.root+"/pods/dir/etc-hosts", 0o750), os.Mkdir(f.root+"/pods/fifo", 0o750),
		unix.Mkfifo(f.root+"/pods/fifo/etc-hosts", 0o600), os.WriteFile(f.root+"/pods/file", nil, 0o600)))
	for _, uid := range []types.UID{"socket", "dir", "fifo", "file"} {
		path, err := f.Ensure(testPod(uid), []string{"10.0.0.7"}, "web", "")
		wantRefused(t, string(uid), path, err)
		if !errors.Is(err, ErrNotAHostsFile) {
			t.Errorf("%s: %v", uid, err)
		}
	}
}

func TestEnsureRefusesInput(t *testing.T) {
	f := files(t)
	for _, uid := range []types.UID{"", ".", "..", "a/b", "../x", "/", "a\x00b", types.UID(strings.Repeat("n", 256))} {
		path, err := f.Ensure(testPod(uid), []string{"10.0.0.7"}, "web", "")
		wantRefused(t, string(uid), path, err, "UID")
	}
	path, err := f.Ensure(nil, nil, "", "")
	wantRefused(t, "nil", path, err, "no pod")
	p := testPod("u")
	p.Spec.HostAliases = alias("192.0.2.10", "a\n192.0.2.66\tbank")
	path, err = f.Ensure(p, []string{"10.0.0.7"}, "web", "")
	wantRefused(t, "two lines", path, err, `pod "web"`, "spec.hostAliases[0].hostnames[0]")
	p.Spec.HostNetwork = true
	path, err = f.Ensure(p, nil, "web", "")
	wantRefused(t, "two lines on the host network", path, err, "spec.hostAliases[0].hostnames[0]")
	must(t, os.Remove(f.node))
	path, err = f.Ensure(p, nil, "web", "")
	wantRefused(t, "no node hosts", path, err, f.node)
	if !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if left, err := os.ReadDir(f.root); err == nil {
		t.Errorf("made %v", left)
	}
}

// The root directory and the node's file are the administrator's, and may be
// symlinks.
func TestSymlinksOfTheAdministrator(t *testing.T) {
	f := files(t)
	links := t.TempDir()
	must(t, errors.Join(os.Mkdir(f.root, 0o750), os.Symlink(f.root, links+"/root"), os.Symlink(f.node, links+"/hosts")))
	f, err := New(Config{RootDir: links + "/root/", NodeHosts: links + "/hosts"})
	must(t, err)
	p := testPod("u")
	p.Spec.HostNetwork = true
	path := ensure(t, f, p)
	if path != links+"/root/pods/u/etc-hosts" {
		t.Error(path)
	}
	wantContent(t, path, headerNode+nodeHosts)
}

func TestNew(t *testing.T) {
	for _, bad := range []Config{{}, {RootDir: "relative"}, {RootDir: "/r", NodeHosts: "hosts"}} {
		if _, err := New(bad); err == nil {
			t.Errorf("%+v is fine", bad)
		}
	}
	f, err := New(Config{RootDir: "/r"})
	must(t, err)
	if f.node != "/etc/hosts" {
		t.Error(f.node)
	}
}
