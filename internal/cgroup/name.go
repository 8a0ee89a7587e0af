package cgroup

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Driver is who makes the directories: us, or systemd.
type Driver string

// The drivers, spelled as in the kubelet's configuration.
const (
	Cgroupfs Driver = "cgroupfs"
	Systemd  Driver = "systemd"
)

const (
	podsName    = "kubepods"
	podPrefix   = "pod"
	sliceSuffix = ".slice"
)

// classes are the QoS classes, in the order their places are looked through.
func classes() []corev1.PodQOSClass {
	return []corev1.PodQOSClass{corev1.PodQOSGuaranteed, corev1.PodQOSBurstable, corev1.PodQOSBestEffort}
}

// name is a cgroup by its components from the top, the same for both drivers.
type name []string

// parseRoot reads a cgroup root as configured: a path ("/", "/kubelet"), or a
// slice ("kubelet.slice").
func parseRoot(root string) name {
	if strings.HasSuffix(root, sliceSuffix) {
		var n name
		for part := range strings.SplitSeq(strings.TrimSuffix(path.Base(root), sliceSuffix), "-") {
			n = append(n, unescape(part))
		}
		return n
	}
	var n name
	for part := range strings.SplitSeq(root, "/") {
		if part != "" {
			n = append(n, part)
		}
	}
	return n
}

func (n name) child(parts ...string) name {
	return append(append(name{}, n...), parts...)
}

// class is the parent of all pods of a class.
func (n name) class(c corev1.PodQOSClass) name {
	if c == corev1.PodQOSGuaranteed {
		return n
	}
	return n.child(strings.ToLower(string(c)))
}

// path is where the cgroup is below the root of a cgroup file system, and also
// what CRI is given: an absolute path with cgroupfs, the whole expanded path of
// the slice with systemd.
func (n name) path(d Driver) string {
	if d == Cgroupfs || len(n) == 0 {
		return "/" + path.Join(n...)
	}
	full, prefix := "", ""
	for _, part := range n {
		full += "/" + prefix + escape(part) + sliceSuffix
		prefix += escape(part) + "-"
	}
	return full
}

// unit is the slice's name and that of the slice it is in.
func (n name) unit() (parent, unit string) {
	dir, base := path.Split(n.path(Systemd))
	if dir == "/" {
		return "-" + sliceSuffix, base
	}
	return path.Base(dir), base
}

// podIn returns the pod whose cgroup is the directory dir in the cgroup n.
func (n name) podIn(d Driver, dir string) (types.UID, bool) {
	prefix := podPrefix
	if d == Systemd {
		_, unit := n.unit()
		prefix = strings.TrimSuffix(unit, sliceSuffix) + "-" + podPrefix
		var isSlice bool
		if dir, isSlice = strings.CutSuffix(dir, sliceSuffix); !isSlice {
			return "", false
		}
	}
	uid, ok := strings.CutPrefix(dir, prefix)
	if d == Systemd {
		uid = unescape(uid)
	}
	return types.UID(uid), ok && validUID(types.UID(uid)) == nil
}

// systemd reads "-" in a slice's name as a level.
func escape(part string) string   { return strings.ReplaceAll(part, "-", "_") }
func unescape(part string) string { return strings.ReplaceAll(part, "_", "-") }

// maxUID is how long a UID may be, in bytes. In the expression it would be as many states.
const maxUID = 253

var safeUID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]*$`)

func validUID(uid types.UID) error {
	if len(uid) > maxUID || !safeUID.MatchString(string(uid)) {
		return fmt.Errorf("pod UID %q cannot be part of a cgroup's name", uid)
	}
	return nil
}
