package volume

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

// openTries bounds how often a path is resolved anew while it is changed under
// our feet.
const openTries = 100

// SubPaths makes paths inside volumes reachable at mounts of their own, so that
// what a container is shown cannot be changed any more by who writes to the
// volume. It returns where, by the index of the volume mount. A directory that is
// missing is made. It may be called again; what cannot be done is a [pod.Failure].
//
// A path never leads out of its volume, whatever symlinks lie in it: the kernel
// resolves it below the volume's directory, once, and what it found is mounted.
func (m *Manager) SubPaths(ctx context.Context, uid types.UID, container string, wanted []pod.SubPath) (map[int]string, error) {
	if len(wanted) == 0 {
		return nil, nil
	}
	if err := errors.Join(validUID(uid), validName("container name", container)); err != nil {
		return nil, m.subPathFailure(uid, err, "failed to prepare the subPaths of container "+strconv.Quote(container))
	}
	done := make(chan map[int]string, 1)
	err := m.jobs.do(ctx, uid, "mounting the subPaths", func(context.Context) error {
		where := make(map[int]string, len(wanted))
		for _, w := range wanted {
			at, err := m.subPath(uid, container, w)
			if err != nil {
				return err
			}
			where[w.Index] = at
		}
		done <- where
		return nil
	})
	if err != nil {
		return nil, err
	}
	return <-done, nil
}

// subPathFailure tells users what could not be done but not why, which goes to the
// log: it could show them what lies on the node.
func (m *Manager) subPathFailure(uid types.UID, err error, what string) error {
	m.log.Warn(what, zap.String("uid", string(uid)), zap.Error(err))
	return &pod.Failure{Reason: pod.ReasonContainerConfig, Message: what}
}

func (m *Manager) subPath(uid types.UID, container string, w pod.SubPath) (string, error) {
	of := fmt.Sprintf(" for volumeMount %q of container %q", w.Volume, container)
	name := cmp.Or(w.Persistent, w.Volume)
	if err := validName("volume name", name); err != nil {
		return "", m.subPathFailure(uid, err, "failed to prepare subPath"+of)
	}
	volume, err := os.OpenRoot(w.HostPath)
	if err != nil {
		return "", m.subPathFailure(uid, err, "failed to prepare subPath"+of)
	}
	defer func() { _ = volume.Close() }()
	source, err := openBelow(w.HostPath, w.Path)
	if errors.Is(err, unix.ENOENT) {
		if err := makeSubPath(volume, w.Path); err != nil {
			return "", m.subPathFailure(uid, err, "failed to create subPath directory"+of)
		}
		source, err = openBelow(w.HostPath, w.Path)
	}
	if err != nil {
		return "", m.subPathFailure(uid, err, "failed to prepare subPath"+of)
	}
	defer func() { _ = source.Close() }()
	at, err := m.bind(source, filepath.Join(podsDir, string(uid), subpathsDir, name, container), strconv.Itoa(w.Index))
	if err != nil {
		return "", m.subPathFailure(uid, err, "failed to prepare subPath"+of)
	}
	return at, nil
}

// openBelow opens path below dir, without opening what is there: it may be a
// device, or a pipe nobody writes to.
func openBelow(dir, path string) (*os.File, error) {
	at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open volume %s: %w", dir, err)
	}
	defer func() { _ = unix.Close(at) }()
	for range openTries {
		fd, err := unix.Openat2(at, path, &unix.OpenHow{
			Flags:   unix.O_PATH | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
		})
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), path), nil
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR): // it was changed meanwhile
		case errors.Is(err, unix.EXDEV):
			return nil, fmt.Errorf("subpath %q not within volume path %q", path, dir)
		default:
			return nil, fmt.Errorf("open subPath %q: %w", path, err)
		}
	}
	return nil, fmt.Errorf("open subPath %q: it was changed %d times while it was looked up", path, openTries)
}

// makeSubPath makes the directories of path that are missing, with the mode of
// the volume's own, whatever the umask.
func makeSubPath(volume *os.Root, path string) error {
	top, err := volume.Stat(".")
	if err != nil {
		return err
	}
	mode := top.Mode() & (os.ModePerm | os.ModeSetuid | os.ModeSetgid | os.ModeSticky)
	at := ""
	for part := range strings.SplitSeq(filepath.Clean(path), "/") {
		at = filepath.Join(at, part)
		err := volume.Mkdir(at, mode.Perm())
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			err = volume.Chmod(at, mode)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bind mounts source on a file or directory of ours, unless it is there already.
func (m *Manager) bind(source *os.File, dir, name string) (string, error) {
	root, err := os.OpenRoot(m.root)
	if err != nil {
		return "", fmt.Errorf("open root directory: %w", err)
	}
	defer func() { _ = root.Close() }()
	if err := root.MkdirAll(dir, dirMode); err != nil {
		return "", err
	}
	rel, at := filepath.Join(dir, name), filepath.Join(m.root, dir, name)
	var want, have unix.Stat_t
	if err := unix.Fstat(int(source.Fd()), &want); err != nil {
		return "", fmt.Errorf("look at the subPath: %w", err)
	}
	mounted, err := mountsBelow(at)
	if err != nil {
		return "", err
	}
	if len(mounted) > 0 {
		if unix.Lstat(at, &have) == nil && have.Dev == want.Dev && have.Ino == want.Ino {
			return at, nil
		}
		if err := unmountBelow(context.Background(), at); err != nil { // of an earlier instance
			return "", err
		}
	}
	if err := place(root, rel, want.Mode&unix.S_IFMT == unix.S_IFDIR); err != nil {
		return "", err
	}
	return at, mountOn(source, root, rel)
}

// place makes an empty directory, or an empty file, to mount on.
func place(root *os.Root, rel string, dir bool) error {
	info, err := root.Lstat(rel)
	if err == nil && (info.IsDir() != dir || !dir && !info.Mode().IsRegular()) {
		if err := root.Remove(rel); err != nil {
			return fmt.Errorf("make room for a mount: %w", err)
		}
	}
	if dir {
		if err := root.Mkdir(rel, dirMode); !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	}
	f, err := root.OpenFile(rel, os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	return f.Close()
}

// mountOn binds what source holds open on a place below root.
func mountOn(source *os.File, root *os.Root, rel string) error {
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	target, err := unix.Openat2(int(dir.Fd()), rel, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return fmt.Errorf("open the place of a mount: %w", err)
	}
	defer func() { _ = unix.Close(target) }()
	from, to := "/proc/self/fd/"+strconv.Itoa(int(source.Fd())), "/proc/self/fd/"+strconv.Itoa(target)
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind the subPath: %w", err)
	}
	return nil
}
