package local_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/volume"
	"nodeagent.dev/nodeagent/internal/volume/local"
	"nodeagent.dev/nodeagent/internal/volume/volumetest"
)

func fsType(name string) func(*volume.Request) {
	return func(r *volume.Request) { r.Persistent.Spec.Local.FSType = &name }
}

func (n *node) global() string {
	return filepath.Join(n.root, "plugins/kubernetes.io/local-volume/mounts/pv")
}

// A disk is formatted once, and mounted as long as pods have it.
func TestDisk(t *testing.T) {
	n := newNode(t, loopDevice(t))
	a := n.mounted("a", fsGroup(11))
	if gid, mode := owner(t, a.HostPath); gid != 11 || mode != 0o2775 {
		t.Errorf("group %d, mode %o", gid, mode)
	}
	if fs := options(t, a.HostPath); fs.Type != unix.EXT4_SUPER_MAGIC {
		t.Errorf("file system %x", fs.Type)
	}
	must(t, os.WriteFile(filepath.Join(a.HostPath, "f"), []byte("x"), 0o600))
	b := n.mounted("b", readOnly, mountOptions("noexec"))
	if f := options(t, b.HostPath).Flags; f&unix.ST_RDONLY == 0 || f&unix.ST_NOEXEC == 0 {
		t.Errorf("flags %x", f)
	}
	want := []string{n.global(), a.HostPath, b.HostPath}
	if got := volumetest.Mounts(t, n.root); !slices.Equal(got, want) {
		t.Errorf("mounted %q, want %q", got, want)
	}
	n.unmount("a")
	if _, err := os.Stat(filepath.Join(b.HostPath, "f")); err != nil {
		t.Error(err)
	}
	n.plugin = local.New(zap.NewNop()) // as after a restart
	n.unmount("b")
	if left := volumetest.Mounts(t, n.root); len(left) > 0 || exists(n.global()) {
		t.Errorf("still mounted: %q", left)
	}
	again := n.mounted("a")
	if got, err := os.ReadFile(filepath.Join(again.HostPath, "f")); err != nil || string(got) != "x" {
		t.Errorf("the second time: %q, %v", got, err)
	}
	n.unmount("a")
}

// Half of an unmount is finished: the pod's directory is the last to go.
func TestDiskAfterACrash(t *testing.T) {
	n := newNode(t, loopDevice(t))
	v := n.mounted("u")
	must(t, unix.Unmount(v.HostPath, 0))
	n.unmount("u")
	if left := volumetest.Mounts(t, n.root); len(left) > 0 || exists(v.HostPath) {
		t.Errorf("still mounted: %q", left)
	}
}

func TestDiskThatIsRefused(t *testing.T) {
	device := loopDevice(t)
	for _, c := range []struct {
		name   string
		change func(*volume.Request)
		want   string
	}{
		{"a type nobody knows", fsType("nofs"), `(fstype: nofs), error format of disk "` + device + `" failed`},
		{"no type at all", fsType("../../bin/sh"), `"../../bin/sh" is not the type of a file system`},
		{"nothing on it to read", readOnly, "cannot mount unformatted disk " + device + " as we are manipulating it in read-only mode"},
		{"options nobody has seen", mountOptions("no-such-option"), "mount failed: "}, // it is formatted for that
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t, device)
			_, err := n.mount("u", c.change)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), `MountVolume.MountDevice failed for volume "pv" : local: `) {
				t.Errorf("%v\nwant %s", err, c.want)
			}
			if _, is := errors.AsType[*pod.Failure](err); !is {
				t.Errorf("%T is no failure of its own", err)
			}
			if left := volumetest.Mounts(t, n.root); len(left) > 0 || exists(n.global()) {
				t.Errorf("left: %q", left)
			}
		})
	}
}

// What is on a disk stays, whatever type is asked for.
func TestNothingIsFormattedTwice(t *testing.T) {
	device := loopDevice(t)
	if out, err := exec.Command("mkfs.ext4", "-q", "-L", "precious", device).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	n := newNode(t, device)
	if _, err := n.mount("u", fsType("xfs")); err == nil || !strings.Contains(err.Error(), "(fstype: xfs), error mount failed") {
		t.Error(err)
	}
	n.mounted("u", fsType("ext4"))
	n.unmount("u")
	out, err := exec.Command("blkid", "-p", "-s", "LABEL", "-o", "value", device).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "precious" {
		t.Errorf("%s, %v", out, err)
	}
}
