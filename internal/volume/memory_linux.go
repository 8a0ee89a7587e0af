package volume

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"

	"nodeagent.dev/nodeagent/internal/pod"
)

// groupBits is what an fsGroup is given of a directory: everything, and what is made
// in it is the group's.
const groupBits = 0o770 | unix.S_ISGID

// SELinux reports whether the kernel labels files, so that the content of volumes has
// to be relabelled for containers.
func SELinux() bool {
	var fs unix.Statfs_t
	err := unix.Statfs("/sys/fs/selinux", &fs)
	return err == nil && uint32(fs.Type) == unix.SELINUX_MAGIC
}

// MountMemory mounts memory on the volume's directory, no more than size bytes if
// that is not 0; else it is the kernel's limit, half of the machine's. What is
// written there stays off the swap where the kernel can do that (6.4 and later).
func (r Ref) MountMemory(size int64) error {
	limit := ""
	if size > 0 {
		limit = "size=" + strconv.FormatInt(size, 10)
	}
	err := unix.Mount("tmpfs", r.Dir(), "tmpfs", 0, strings.TrimPrefix(limit+",noswap", ","))
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount("tmpfs", r.Dir(), "tmpfs", 0, limit)
	}
	if err != nil {
		return fmt.Errorf("mount tmpfs on %s: %w", r.Dir(), err)
	}
	return nil
}

// MemoryLimit is how large a volume in memory may get: the smallest of what pods may
// use on the node, what this pod may use, and more limits, all in bytes; 0 is none.
func MemoryLimit(p *corev1.Pod, allocatable int64, more ...int64) int64 {
	if limited(p) {
		limits := resource.PodLimits(p, resource.PodResourcesOptions{})
		more = append(more, limits.Memory().Value())
	}
	size := allocatable
	for _, limit := range more {
		if limit > 0 && (size == 0 || limit < size) {
			size = limit
		}
	}
	return size
}

// limited reports whether the pod as a whole has a memory limit: its own, or one
// on every container.
func limited(p *corev1.Pod) bool {
	if p.Spec.Resources != nil && !p.Spec.Resources.Limits.Memory().IsZero() {
		return true
	}
	for k, c := range pod.Containers(p) {
		if k != pod.KindEphemeral && c.Resources.Limits.Memory().IsZero() {
			return false
		}
	}
	return true
}

// GiveTo makes the volume's directory, not what is in it, belong to the pod's fsGroup;
// nil: it stays as it is.
func (r Ref) GiveTo(group *int64) error {
	if group == nil {
		return nil
	}
	fd, err := unix.Open(r.Dir(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", r.Dir(), &os.PathError{Op: "open", Path: r.Dir(), Err: err})
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	err = unix.Fchown(fd, -1, int(*group))
	if err == nil {
		err = unix.Fstat(fd, &st)
	}
	if err == nil {
		err = unix.Fchmod(fd, st.Mode&0o7777|groupBits)
	}
	if err != nil {
		return fmt.Errorf("give %s to the fsGroup %d: %w", r.Dir(), *group, err)
	}
	return nil
}

// Group is the pod's fsGroup; nil: it has none.
func Group(p *corev1.Pod) *int64 {
	if p.Spec.SecurityContext == nil {
		return nil
	}
	return p.Spec.SecurityContext.FSGroup
}
