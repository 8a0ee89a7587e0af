package local_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/volume"
	"nodeagent.dev/nodeagent/internal/volume/local"
	"nodeagent.dev/nodeagent/internal/volume/volumetest"
)

func TestFSGroup(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "f"), nil, 0o600))
	n := newNode(t, dir)

	n.mounted("reader", readOnly, fsGroup(1))
	n.unmount("reader")
	n.mounted("bound-read-only", mountOptions("ro"), fsGroup(1))
	n.unmount("bound-read-only")
	if gid, _ := owner(t, filepath.Join(dir, "f")); gid != 0 {
		t.Errorf("a volume that is read-only has been given to %d", gid)
	}
	n.mounted("first", fsGroup(11))
	if gid, mode := owner(t, filepath.Join(dir, "f")); gid != 11 || mode != 0o660 {
		t.Errorf("group %d, mode %o", gid, mode)
	}
	if gid, mode := owner(t, dir); gid != 11 || mode&0o2770 != 0o2770 {
		t.Errorf("group %d, mode %o", gid, mode)
	}
	n.mounted("same", fsGroup(11))
	n.mounted("none")
	if len(n.said) != 0 {
		t.Errorf("said %q", n.said)
	}
	n.mounted("other", fsGroup(22))
	want := "true AlreadyMountedVolume: The requested fsGroup is 22, but the volume pv has GID 11. The volume may not be shareable."
	if len(n.said) != 1 || n.said[0] != want {
		t.Errorf("said %q", n.said)
	}
	if gid, _ := owner(t, filepath.Join(dir, "f")); gid != 11 {
		t.Errorf("it was taken away from those who have it, for %d", gid)
	}
	for _, uid := range []string{"first", "same", "none", "other"} {
		n.unmount(uid)
	}
	n.mounted("other", fsGroup(22)) // nobody has it now
	if gid, _ := owner(t, filepath.Join(dir, "f")); gid != 22 || len(n.said) != 1 {
		t.Errorf("group %d, said %q", gid, n.said)
	}
}

func TestReadWriteOncePod(t *testing.T) {
	once := func(r *volume.Request) {
		r.Persistent.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}
	}
	n := newNode(t, t.TempDir())
	n.mounted("a", once)
	n.mounted("a", once)
	_, err := n.mount("b", once)
	if err == nil || err.Error() != "volume uses the ReadWriteOncePod access mode and is already in use by another pod" {
		t.Error(err)
	}
	n.unmount("a")
	n.mounted("b", once)
}

// Many pods come and go at the same time; whoever is first gives the volume away.
func TestAtTheSameTime(t *testing.T) {
	for name, path := range map[string]func(*testing.T) string{"directory": (*testing.T).TempDir, "disk": loopDevice} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, path(t))
			var all sync.WaitGroup
			for i := range 6 {
				uid := fmt.Sprint("u", i)
				all.Go(func() {
					for range 3 {
						v, err := n.mount(uid, fsGroup(int64(10+i)))
						if err != nil {
							t.Error(err)
							return
						}
						if err := os.WriteFile(filepath.Join(v.HostPath, uid), nil, 0o600); err != nil {
							t.Error(err)
						}
						if err := n.plugin.Unmount(t.Context(), n.ref(uid)); err != nil {
							t.Error(err)
						}
					}
				})
			}
			all.Wait()
			if left := volumetest.Mounts(t, n.root); len(left) > 0 {
				t.Errorf("still mounted: %v", left)
			}
		})
	}
}

func TestWaitingEnds(t *testing.T) {
	n := newNode(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	release, err := local.Lock(n.plugin, t.Context(), n.path)
	must(t, err)
	_, err = n.plugin.Mount(ctx, volume.Request{
		Spec: volume.Spec{Persistent: &corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: n.path}},
		}}},
		Ref: n.ref("u"),
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	release()
	n.mounted("u")
}
