package local_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/volume"
	"nodeagent.dev/nodeagent/internal/volume/local"
	"nodeagent.dev/nodeagent/internal/volume/volumetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func needMounts(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		t.Skip("mounting is not allowed here: ", err)
	}
	must(t, unix.Unmount(dir, 0))
}

// behindClaim makes a local PersistentVolume of a hostPath, for the suite.
type behindClaim struct{ volume.Plugin }

func (b behindClaim) Supports(s volume.Spec) bool { return s.Volume.HostPath != nil }

func (b behindClaim) Mount(ctx context.Context, req volume.Request) (pod.Volume, error) {
	req.Persistent = &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: req.Volume.Name}}
	req.Persistent.Spec.Local = &corev1.LocalVolumeSource{Path: req.Volume.HostPath.Path}
	return b.Plugin.Mount(ctx, req)
}

func TestConformance(t *testing.T) {
	needMounts(t)
	source := func(path string) corev1.VolumeSource {
		return corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path}}
	}
	sources := map[string]corev1.VolumeSource{"directory": source(t.TempDir())}
	t.Run("with a disk", func(t *testing.T) {
		sources["disk"] = source(loopDevice(t))
		volumetest.Run(t, behindClaim{local.New(zap.NewNop())}, sources)
	})
	if sources["disk"].HostPath == nil {
		volumetest.Run(t, behindClaim{local.New(zap.NewNop())}, sources)
	}
}

// loopDevice returns an empty disk.
func loopDevice(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "disk")
	must(t, os.WriteFile(file, nil, 0o600))
	must(t, os.Truncate(file, 16<<20))
	for _, tool := range []string{"losetup", "mkfs.ext4", "blkid"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("there is no ", tool)
		}
	}
	out, err := exec.Command("losetup", "--find", "--show", file).CombinedOutput()
	if err != nil {
		t.Skipf("no loop devices here: %v: %s", err, out)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("losetup --detach %s: %v: %s", device, err, out)
		}
	})
	return device
}

// node is a root directory with the plugin, whatever pods there are.
type node struct {
	t      *testing.T
	root   string
	plugin volume.Plugin
	// path is that of the volume.
	path string

	mu   sync.Mutex
	said []string
}

func newNode(t *testing.T, path string) *node {
	t.Helper()
	needMounts(t)
	root, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	n := &node{t: t, root: root, plugin: local.New(zap.NewNop()), path: path}
	t.Cleanup(func() {
		for _, point := range volumetest.Mounts(t, root) {
			_ = unix.Unmount(point, unix.MNT_DETACH) // for tests that fail half-way
		}
	})
	return n
}

func (n *node) ref(uid string) volume.Ref {
	return volume.Ref{Root: n.root, UID: types.UID(uid), Plugin: local.Name, Name: "pv"}
}

// mount mounts the volume for a pod, after change has had a look at the request.
func (n *node) mount(uid string, change ...func(*volume.Request)) (pod.Volume, error) {
	n.t.Helper()
	must(n.t, os.MkdirAll(filepath.Join(n.root, "pods", uid), 0o750))
	mode := corev1.PersistentVolumeFilesystem
	req := volume.Request{
		Pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid)}},
		Spec: volume.Spec{
			Volume: &corev1.Volume{Name: "data"},
			Persistent: &corev1.PersistentVolume{
				ObjectMeta: metav1.ObjectMeta{Name: "pv"},
				Spec: corev1.PersistentVolumeSpec{
					VolumeMode:             &mode,
					PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: n.path}},
				},
			},
		},
		Ref: n.ref(uid),
		Tell: func(warning bool, reason, message string) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.said = append(n.said, fmt.Sprint(warning, " ", reason, ": ", message))
		},
	}
	for _, f := range change {
		f(&req)
	}
	if !n.plugin.Supports(req.Spec) {
		n.t.Fatal("not supported")
	}
	return n.plugin.Mount(n.t.Context(), req)
}

func (n *node) mounted(uid string, change ...func(*volume.Request)) pod.Volume {
	n.t.Helper()
	v, err := n.mount(uid, change...)
	must(n.t, err)
	return v
}

func (n *node) unmount(uid string) {
	n.t.Helper()
	must(n.t, n.plugin.Unmount(n.t.Context(), n.ref(uid)))
}

func fsGroup(group int64) func(*volume.Request) {
	return func(r *volume.Request) { r.Pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: &group} }
}

func readOnly(r *volume.Request) { r.ReadOnly = true }

func mountOptions(o ...string) func(*volume.Request) {
	return func(r *volume.Request) { r.Persistent.Spec.MountOptions = o }
}

// options are those a mount has.
func options(t *testing.T, dir string) unix.Statfs_t {
	t.Helper()
	var st unix.Statfs_t
	must(t, unix.Statfs(dir, &st))
	return st
}

func owner(t *testing.T, path string) (gid, mode uint32) {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(path, &st))
	return st.Gid, st.Mode & 0o7777
}

func TestDirectory(t *testing.T) {
	real, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	must(t, os.WriteFile(filepath.Join(real, "f"), []byte("x"), 0o600))
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(real, link))
	n := newNode(t, link)
	v := n.mounted("u")
	if want := n.root + "/pods/u/volumes/kubernetes.io~local-volume/pv"; v != (pod.Volume{HostPath: want, SELinux: v.SELinux}) {
		t.Errorf("%+v, want %s", v, want)
	}
	if got, err := os.ReadFile(filepath.Join(v.HostPath, "f")); err != nil || string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
	if _, mode := owner(t, filepath.Dir(v.HostPath)); mode != 0o750 {
		t.Errorf("the directory above has mode %o", mode)
	}
	// It is not looked at again.
	must(t, os.Remove(link))
	n.mounted("u")
	n.unmount("u")
	n.unmount("u")
	if _, err := os.Stat(filepath.Join(real, "f")); err != nil {
		t.Error("the content is gone: ", err)
	}
	if _, err := os.Lstat(v.HostPath); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the pod's directory is left: ", err)
	}
}

func TestOptions(t *testing.T) {
	n := newNode(t, t.TempDir())
	v := n.mounted("a", readOnly)
	if !v.ReadOnly || options(t, v.HostPath).Flags&unix.ST_RDONLY == 0 {
		t.Error("read-only is not")
	}
	v = n.mounted("b", mountOptions("nosuid", "noexec"))
	if f := options(t, v.HostPath).Flags; v.ReadOnly || f&unix.ST_NOSUID == 0 || f&unix.ST_NOEXEC == 0 || f&unix.ST_RDONLY != 0 {
		t.Errorf("flags %x", f)
	}
}

// It is bound, and then its options are refused.
func TestHalfAMount(t *testing.T) {
	n := newNode(t, t.TempDir())
	real, err := exec.LookPath("mount")
	must(t, err)
	bin := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\ncase \"$*\" in *remount*) echo it does not like them; exit 32;; esac\nexec %s \"$@\"\n", real)
	must(t, os.WriteFile(filepath.Join(bin, "mount"), []byte(script), 0o755))
	path := os.Getenv("PATH")
	t.Setenv("PATH", bin+":"+path)
	_, err = n.mount("u", mountOptions("noexec"))
	want := "mount failed: exit status 32\nMounting command: mount\nMounting arguments:  -o bind,"
	if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.HasSuffix(err.Error(), "Output: it does not like them\n") {
		t.Errorf("%v", err)
	}
	if left := volumetest.Mounts(t, n.root); len(left) > 0 || exists(n.ref("u").Dir()) {
		t.Errorf("left: %q", left)
	}
	t.Setenv("PATH", path)
	n.mounted("u", mountOptions("noexec"))
	n.unmount("u")
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	block := corev1.PersistentVolumeBlock
	early := `MountVolume.NewMounter initialization failed for volume "pv" : `
	for _, c := range []struct {
		path, want string
		change     func(*volume.Request)
	}{
		{"", early + "local volume source is nil or local path is not set", nil},
		{dir + "/missing", early + `path "` + dir + `/missing" does not exist`, nil},
		{file, early + "only directory and block device are supported", nil},
		{"dev/null", early + "only directory and block device are supported", nil}, // from the root on
		{"/dev/null", early + "only directory and block device are supported", nil},
		{dir + "/../" + filepath.Base(dir), "invalid path: " + dir + "/../" + filepath.Base(dir) + " must not contain '..'", nil},
		{dir, "local volumes of volumeMode Block are not supported by this version of nodeagent", func(r *volume.Request) { r.Persistent.Spec.VolumeMode = &block }},
	} {
		n := newNode(t, c.path)
		change := c.change
		if change == nil {
			change = func(*volume.Request) {}
		}
		_, err := n.mount("u", change)
		if err == nil || err.Error() != c.want {
			t.Errorf("%q: %v\nwant %s", c.path, err, c.want)
		}
		if failure, is := errors.AsType[*pod.Failure](err); is != strings.HasPrefix(c.want, early) || is && failure.Reason != volume.ReasonFailedMount {
			t.Errorf("%q: %+v", c.path, failure)
		}
		if left := n.ref("u").Dir(); exists(left) {
			t.Errorf("%q: %s is left", c.path, left)
		}
	}
}
