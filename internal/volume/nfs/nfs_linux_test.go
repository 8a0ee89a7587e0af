package nfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/volume"
	"nodeagent.dev/nodeagent/internal/volume/volumetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// mountCommand puts another mount command into the way, and returns the directory it
// is in. $dir is where it is to mount.
func mountCommand(t *testing.T, script string) string {
	t.Helper()
	real, err := exec.LookPath("mount")
	must(t, err)
	bin := t.TempDir()
	script = fmt.Sprintf("#!/bin/sh\nhere=%s real=%s\nfor dir; do :; done\necho \"$@\" >>$here/log\n%s\n", bin, real, script)
	must(t, os.WriteFile(filepath.Join(bin, "mount"), []byte(script), 0o755))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	return bin
}

// A file system in memory stands for one of a server.
const mountsMemory = `exec $real -t tmpfs tmpfs "$dir"`

func needMounts(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		t.Skip("mounting is not allowed here: ", err)
	}
	must(t, unix.Unmount(dir, 0))
}

func inline(server, path string) volume.Spec {
	return volume.Spec{Volume: &corev1.Volume{Name: "vol", VolumeSource: corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: server, Path: path}}}}
}

func persistent(options ...string) volume.Spec {
	return volume.Spec{
		Volume: &corev1.Volume{Name: "vol", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{}}},
		Persistent: &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: "pv"},
			Spec: corev1.PersistentVolumeSpec{
				MountOptions:           options,
				PersistentVolumeSource: corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{Server: "srv", Path: "/exports", ReadOnly: true}},
			},
		},
	}
}

func request(t *testing.T, spec volume.Spec) volume.Request {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	t.Cleanup(func() {
		for _, point := range volumetest.Mounts(t, root) {
			_ = unix.Unmount(point, unix.MNT_DETACH) // for tests that fail half-way
		}
	})
	return volume.Request{Spec: spec, Ref: volume.Ref{Root: root, UID: "u", Plugin: Name, Name: spec.Name()}}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestConformance(t *testing.T) {
	needMounts(t)
	mountCommand(t, mountsMemory)
	volumetest.Run(t, New(zap.NewNop()), map[string]corev1.VolumeSource{"inline": inline("srv", "/exports").Volume.VolumeSource})
}

func TestCommand(t *testing.T) {
	needMounts(t)
	readOnly := inline("srv", "/exports")
	readOnly.Volume.NFS.ReadOnly = true
	claimedReadOnly := persistent("soft")
	claimedReadOnly.ReadOnly = true
	for name, c := range map[string]struct {
		spec     volume.Spec
		want     string
		readOnly bool
	}{
		"inline":                {inline("srv", "/exports"), "-t nfs srv:/exports", false},
		"inline, read-only":     {readOnly, "-t nfs -o ro srv:/exports", true},
		"IPv6":                  {inline("fd00::1", "/"), "-t nfs [fd00::1]:/", false},
		"IPv4":                  {inline("10.0.0.1", "/a b"), "-t nfs 10.0.0.1:/a b", false},
		"persistent":            {persistent(), "-t nfs srv:/exports", false},
		"persistent, options":   {persistent("nfsvers=4.1", "hard", "nfsvers=4.1"), "-t nfs -o hard,nfsvers=4.1 srv:/exports", false},
		"persistent, read-only": {claimedReadOnly, "-t nfs -o ro,soft srv:/exports", true},
	} {
		t.Run(name, func(t *testing.T) {
			bin := mountCommand(t, mountsMemory)
			p, req := New(zap.NewNop()), request(t, c.spec)
			if !p.Supports(req.Spec) {
				t.Fatal("not supported")
			}
			for range 2 { // the second time there is nothing to do
				v, err := p.Mount(t.Context(), req)
				if want := (pod.Volume{HostPath: req.Ref.Dir(), ReadOnly: c.readOnly}); err != nil || v != want {
					t.Fatalf("%+v, %v; want %+v", v, err, want)
				}
			}
			log, err := os.ReadFile(filepath.Join(bin, "log"))
			if want := c.want + " " + req.Ref.Dir() + "\n"; err != nil || string(log) != want {
				t.Errorf("%v, ran %q, want %q", err, log, want)
			}
			must(t, p.Unmount(t.Context(), req.Ref))
			if exists(req.Ref.Dir()) {
				t.Error("the directory is left")
			}
		})
	}
}

func TestOtherTypes(t *testing.T) {
	local := persistent()
	local.Persistent.Spec.NFS = nil
	for _, spec := range []volume.Spec{local, {Volume: &corev1.Volume{}}} {
		if New(zap.NewNop()).Supports(spec) {
			t.Errorf("%+v is supported", spec)
		}
	}
}

func TestFailure(t *testing.T) {
	mountCommand(t, "echo mount.nfs: access denied by server while mounting >&2\nexit 32")
	p, req := New(zap.NewNop()), request(t, inline("srv", "/exports"))
	_, err := p.Mount(t.Context(), req)
	want := "mount failed: exit status 32\nMounting command: mount\nMounting arguments:  -t nfs srv:/exports " + req.Ref.Dir() +
		"\nOutput: mount.nfs: access denied by server while mounting\n"
	if err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	if exists(req.Ref.Dir()) {
		t.Error("the directory is left")
	}
	if _, err := p.Mount(t.Context(), request(t, inline("-obind", "/etc"))); err == nil || !strings.Contains(err.Error(), "is not the name of a server") {
		t.Error(err)
	}
}

// It has been mounted, and then the command has failed.
func TestHalfAMount(t *testing.T) {
	needMounts(t)
	mountCommand(t, "$real -t tmpfs tmpfs \"$dir\"\nexit 1")
	p, req := New(zap.NewNop()), request(t, inline("srv", "/exports"))
	if _, err := p.Mount(t.Context(), req); err == nil || !strings.HasPrefix(err.Error(), "mount failed: exit status 1\n") {
		t.Error(err)
	}
	if left := volumetest.Mounts(t, req.Ref.Root); len(left) > 0 || exists(req.Ref.Dir()) {
		t.Errorf("left: %q", left)
	}
}

// A server that does not answer: the command and its helper end with the context.
func TestHangingServer(t *testing.T) {
	bin := mountCommand(t, "(exec 3>$here/alive; sleep 1000) &\nwait")
	alive := filepath.Join(bin, "alive")
	must(t, unix.Mkfifo(alive, 0o600))
	p, req := New(zap.NewNop()), request(t, inline("srv", "/exports"))
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := p.Mount(ctx, req)
		failed <- err
	}()
	helper, err := os.Open(alive) // when it is there
	must(t, err)
	defer helper.Close()
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "mount failed: context canceled") {
		t.Error(err)
	}
	if _, err := io.ReadAll(helper); err != nil { // when it is gone
		t.Error(err)
	}
	if exists(req.Ref.Dir()) {
		t.Error("the directory is left")
	}
}

// deadServer mounts a file system on which every look hangs.
func deadServer(t *testing.T, dir string) {
	t.Helper()
	fuse, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no fuse here: ", err)
	}
	t.Cleanup(func() { fuse.Close() })
	must(t, os.MkdirAll(dir, 0o750))
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fuse.Fd())
	if err := unix.Mount("srv:/exports", dir, "fuse", 0, options); err != nil {
		t.Skip("mounting is not allowed here: ", err)
	}
}

func TestDeadServer(t *testing.T) {
	p, req := New(zap.NewNop()), request(t, inline("srv", "/exports"))
	deadServer(t, req.Ref.Dir())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // it would hang for good
	defer cancel()
	if v, err := p.Mount(ctx, req); err != nil || v.HostPath != req.Ref.Dir() {
		t.Errorf("%+v, %v", v, err)
	}
	must(t, p.Unmount(ctx, req.Ref))
	if left := volumetest.Mounts(t, req.Ref.Root); len(left) > 0 || exists(req.Ref.Dir()) {
		t.Errorf("left: %q", left)
	}
	must(t, p.Unmount(ctx, req.Ref))
}

// hanging is a plugin whose unmounts hang until they are forced.
func hanging(ref volume.Ref, force func(release func()) error) *plugin {
	released := make(chan struct{})
	return &plugin{
		log:    zap.NewNop(),
		detach: func(volume.Ref, context.Context) error { <-released; return errors.New("broken off") },
		force: func(dir string) error {
			if dir != ref.Dir() {
				return errors.New("not the volume: " + dir)
			}
			return force(func() { close(released) })
		},
	}
}

func TestForce(t *testing.T) {
	for name, c := range map[string]struct {
		deadline time.Duration // 0: none
		force    error
		after    time.Duration
		want     string
	}{
		"after a minute":               {after: time.Minute},
		"before the context ends":      {deadline: 20 * time.Second, after: 15 * time.Second},
		"a minute is enough":           {deadline: time.Hour, after: time.Minute},
		"what cannot be forced either": {force: unix.EBUSY, after: time.Minute, want: "by force, since its server does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			req := request(t, inline("srv", "/exports"))
			if c.force != nil {
				needMounts(t)
				must(t, os.MkdirAll(req.Ref.Dir(), 0o750))
				must(t, unix.Mount("tmpfs", req.Ref.Dir(), "tmpfs", 0, ""))
			}
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var forced time.Duration
				p := hanging(req.Ref, func(release func()) error { forced = time.Since(start); release(); return c.force })
				ctx := t.Context()
				if c.deadline > 0 {
					bounded, cancel := context.WithTimeout(ctx, c.deadline)
					defer cancel()
					ctx = bounded
				}
				err := p.Unmount(ctx, req.Ref)
				if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, c.force) || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("%v, want %q", err, c.want)
				}
				if forced != c.after {
					t.Errorf("forced after %s, want %s", forced, c.after)
				}
			})
		})
	}
}

// Nothing helps; it ends all the same.
func TestNotEvenForce(t *testing.T) {
	req := request(t, inline("srv", "/exports"))
	synctest.Test(t, func(t *testing.T) {
		for _, early := range []bool{true, false} {
			end, stuck := make(chan struct{}), make(chan func(), 1)
			p := hanging(req.Ref, func(release func()) error { stuck <- release; <-end; return nil })
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			if early {
				time.AfterFunc(time.Second, cancel)
			}
			err := p.Unmount(ctx, req.Ref)
			want := context.DeadlineExceeded
			if early {
				want = context.Canceled
			}
			if !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
			cancel()
			close(end)
			if early {
				_ = p.force(req.Ref.Dir())
			}
			(<-stuck)()
		}
	})
}

func TestForceBelow(t *testing.T) {
	needMounts(t)
	req := request(t, inline("srv", "/exports"))
	dir := req.Ref.Dir()
	for _, at := range []string{dir, dir, filepath.Join(dir, "below"), dir + "-other"} {
		must(t, os.MkdirAll(at, 0o750))
		must(t, unix.Mount("tmpfs", at, "tmpfs", 0, ""))
	}
	must(t, forceBelow(dir))
	if left := volumetest.Mounts(t, req.Ref.Root); len(left) != 1 || left[0] != dir+"-other" {
		t.Errorf("left: %q", left)
	}
}
