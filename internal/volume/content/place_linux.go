package content

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/volume"
)

const (
	// The kubelet makes these volumes as emptyDirs of another name, and notes so.
	wrappedPlugin = "kubernetes.io/empty-dir"
	wrappedPrefix = "wrapped_"

	placeMode = os.FileMode(0o777)
)

// Place makes the directories of one type of volume, fills them and takes them away,
// so that a kubelet finds in them what it would have made. Types embed it: its Mount
// and Unmount are those of a [volume.Plugin].
type Place struct {
	memory      bool
	allocatable int64
	selinux     bool
}

// OnDisk returns a place on the node's disk.
func OnDisk() *Place {
	return &Place{selinux: volume.SELinux()}
}

// InMemory returns a place in memory, for what must not be written to a disk. No
// volume gets larger than what pods may use on the node, in bytes; 0 leaves the
// kernel's limit, half of the memory.
func InMemory(allocatable int64) *Place {
	p := OnDisk()
	p.memory, p.allocatable = true, allocatable
	return p
}

// Mount makes the volume's directory as far as it is not there, with the directories
// in it that other volumes are mounted on. Containers can only read it.
func (p *Place) Mount(_ context.Context, req volume.Request) (pod.Volume, error) {
	points, err := mountPoints(req.Pod, req.Volume.Name)
	if err != nil {
		return pod.Volume{}, err
	}
	mounted, err := req.Ref.Mounted()
	if err != nil {
		return pod.Volume{}, err
	}
	if marker(req.Ref).Ready() && (mounted != "" || !p.memory && req.Ref.Made()) {
		return p.done(req, points)
	}
	if mounted == "" {
		if err := req.Ref.Make(placeMode); err != nil {
			return pod.Volume{}, err
		}
		if p.memory {
			if err := req.Ref.MountMemory(volume.MemoryLimit(req.Pod, p.allocatable)); err != nil {
				return pod.Volume{}, err
			}
		}
	}
	if err := req.Ref.GiveTo(volume.Group(req.Pod)); err != nil {
		return pod.Volume{}, err
	}
	if err := marker(req.Ref).SetReady(); err != nil {
		return pod.Volume{}, err
	}
	return p.done(req, points)
}

func (p *Place) done(req volume.Request, points []string) (pod.Volume, error) {
	if err := makePoints(req.Ref.Dir(), points); err != nil {
		return pod.Volume{}, fmt.Errorf("unable to create nested volume mountpoints: %w", err)
	}
	return pod.Volume{HostPath: req.Ref.Dir(), ReadOnly: true, SELinux: p.selinux}, nil
}

// Fill makes the files be those of a volume that Mount made, by whichever agent; see
// [Write]. Due says when to call it again, to remove what was replaced; zero: nothing
// was. What is to be in memory is not written to anything else.
func (p *Place) Fill(ctx context.Context, req volume.Request, files Files) (due time.Time, err error) {
	t, err := openTree(req.Ref.Dir())
	if err != nil {
		return due, err
	}
	defer t.close()
	if p.memory {
		var st unix.Statfs_t
		if err := unix.Fstatfs(t.fd(), &st); err != nil {
			return due, t.failed("statfs", ".", err)
		}
		if uint32(st.Type) != unix.TMPFS_MAGIC {
			return due, fmt.Errorf("%s is not in memory any more, so nothing was written: somebody has unmounted its tmpfs or mounted over it; delete the pod", req.Ref)
		}
	}
	_, due, err = write(ctx, t, files, volume.Group(req.Pod))
	return due, err
}

// Unmount takes a volume away. One that is gone is a success.
func (p *Place) Unmount(ctx context.Context, ref volume.Ref) error {
	if err := marker(ref).ClearReady(); err != nil {
		return err
	}
	if err := ref.Unmount(ctx); err != nil {
		return err
	}
	return ref.Remove(ctx)
}

// marker is where it is noted that a volume is set up.
func marker(ref volume.Ref) volume.Ref {
	ref.Plugin, ref.Name = wrappedPlugin, wrappedPrefix+ref.Name
	return ref
}

// makePoints makes the directories in a volume. What lies behind one of its links is
// left to whoever has put it there: it is replaced with every change.
func makePoints(dir string, points []string) error {
	if len(points) == 0 {
		return nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, point := range points {
		top, _, _ := strings.Cut(point, "/")
		info, err := root.Lstat(top)
		if err == nil && info.Mode().Type() == os.ModeSymlink {
			continue
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := root.MkdirAll(point, dirBits); err != nil {
			return err
		}
	}
	return nil
}
