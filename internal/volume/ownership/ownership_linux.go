package ownership

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// ReasonInProgress is the reason of the (warning) event that goes with what
// Options.Tell is told.
const ReasonInProgress = "VolumePermissionChangeInProgress"

// What is added to the permissions of files and directories, as the kubelet has it.
const (
	fileBits         = 0o660
	fileBitsReadOnly = 0o440
	dirBits          = 0o110 | unix.S_ISGID
	permissions      = 0o7777
)

// Options say what is to be done.
type Options struct {
	// Group is the pod's fsGroup; nil: nothing is done at all.
	Group *int64
	// Policy is the pod's fsGroupChangePolicy; nil is Always.
	Policy *corev1.PodFSGroupChangePolicy
	// ReadOnly: the group is given the right to read, not the one to write.
	ReadOnly bool
	// Name is what users know the volume by in messages; empty: its path. The
	// kubelet has the path from the pod's UID on.
	Name string
	// Tell is told, on another goroutine, that it takes long: after half a minute,
	// and every minute from then on. It may be nil.
	Tell func(message string)
}

// Result is what has been done.
type Result struct {
	// Skipped: the policy is OnRootMismatch, and the root matches.
	Skipped bool
	// Files have been looked at, directories included.
	Files int64
	// Refused have kept their group or their mode: the file system would not have
	// it, because it is read-only, or a file is immutable. As for the kubelet this
	// is no failure.
	Refused int64
	// Refusal is the first of them; nil: there was none.
	Refusal error
}

// Apply gives dir and all below it to the group, and the group the permissions:
// 0660 for files, 0770 and setgid for directories (0440 and 0550 when read-only),
// added to what they have. Symlinks change their group, and are not followed.
// Mount points below dir are left alone, with all that is below them.
//
// It fails when something cannot be read, and when ctx ends; what has been done
// until then stays, and the root will not match.
func Apply(ctx context.Context, dir string, opts Options) (Result, error) {
	if opts.Group == nil {
		return Result{Skipped: true}, nil
	}
	if *opts.Group < 0 || *opts.Group >= math.MaxUint32 {
		return Result{}, fmt.Errorf("give %s to the fsGroup: %d is not a group ID", dir, *opts.Group)
	}
	root, err := openRoot(dir)
	if err != nil {
		return Result{}, fmt.Errorf("give %s to the fsGroup: open it: %w", dir, err)
	}
	w := &walker{group: uint32(*opts.Group), bits: fileBits, files: &atomic.Int64{}, buf: make([]byte, bufSize)}
	if opts.ReadOnly {
		w.bits = fileBitsReadOnly
	}
	defer w.close()
	w.frames = []*frame{root}
	if opts.Policy != nil && *opts.Policy == corev1.FSGroupChangeOnRootMismatch {
		match, err := w.matches(root.fd)
		if err != nil {
			return Result{}, fmt.Errorf("give %s to the fsGroup: look at it: %w", dir, err)
		}
		if match {
			return Result{Skipped: true}, nil
		}
	}
	stop := watch(opts, dir, w.files.Load)
	err = w.walk(ctx)
	stop()
	result := Result{Files: w.files.Load(), Refused: w.refused, Refusal: w.refusal}
	if err != nil {
		return result, fmt.Errorf("give %s to the fsGroup: %w", dir, err)
	}
	return result, nil
}

// matches is the test of OnRootMismatch: the group is right, its permissions are
// all there, and new files will get the group.
func (w *walker) matches(fd int) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return false, err
	}
	want := w.bits | dirBits
	return st.Gid == w.group && st.Mode&want == want, nil
}
