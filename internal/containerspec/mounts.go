package containerspec

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// hostsPath is where a container finds its hosts file.
const hostsPath = "/etc/hosts"

// mounts turns a container's volume mounts into the runtime's. The managed hosts
// file comes after them, and the file for its termination message last.
func mounts(req *pod.ContainerRequest, node *Node, vars map[string]string) ([]*runtimeapi.Mount, error) {
	c := req.Container
	if len(c.VolumeDevices) > 0 {
		return nil, configFailure("container %q uses volumeDevices, which this agent does not support yet", c.Name)
	}
	var out []*runtimeapi.Mount
	for i := range c.VolumeMounts {
		m := &c.VolumeMounts[i]
		v, ok := req.Volumes[m.Name]
		image, isImage := req.VolumeImages[m.Name]
		if !ok || v.HostPath == "" && !isImage {
			return nil, configFailure("cannot find volume %q to mount into container %q", m.Name, c.Name)
		}
		subPath, err := subPathOf(m, vars)
		if err != nil {
			return nil, err
		}
		hostPath := v.HostPath
		if subPath != "" && !isImage {
			if hostPath = req.SubPaths[i]; hostPath == "" {
				return nil, configFailure("failed to prepare subPath for volumeMount %q of container %q", m.Name, c.Name)
			}
		}
		mode, err := propagation(m)
		if err != nil {
			return nil, err
		}
		recursive, err := recursiveReadOnly(m, node.RecursiveReadOnly)
		if err != nil {
			return nil, err
		}
		mount := &runtimeapi.Mount{
			HostPath: hostPath, ContainerPath: absolute(m.MountPath), Readonly: m.ReadOnly || v.ReadOnly,
			SelinuxRelabel: v.SELinux, Propagation: mode, RecursiveReadOnly: recursive,
		}
		if isImage {
			mount.Image = &runtimeapi.ImageSpec{Image: image.Ref, UserSpecifiedImage: image.UserSpecified, Annotations: req.Sandbox.Pod.Annotations}
			mount.ImageSubPath = subPath
		}
		out = append(out, mount)
	}
	if req.HostsFile != "" && WantsHostsFile(c) {
		// It is shared with the pod's other containers, and they may write to it.
		out = append(out, &runtimeapi.Mount{HostPath: req.HostsFile, ContainerPath: hostsPath, SelinuxRelabel: node.SELinux})
	}
	if req.TerminationLog != "" && c.TerminationMessagePath != "" {
		out = append(out, &runtimeapi.Mount{
			HostPath: req.TerminationLog, ContainerPath: clean(c.TerminationMessagePath), SelinuxRelabel: node.SELinux,
		})
	}
	return out, nil
}

// SubPaths returns the paths inside volumes that the container's mounts want, with
// the variables of subPathExpr put in.
func SubPaths(req pod.ContainerRequest, node Node) ([]pod.SubPath, error) {
	if !slices.ContainsFunc(req.Container.VolumeMounts, func(m corev1.VolumeMount) bool { return m.SubPath != "" || m.SubPathExpr != "" }) {
		return nil, nil
	}
	_, vars, err := environment(&req, &node)
	if err != nil {
		return nil, err
	}
	var wanted []pod.SubPath
	for i := range req.Container.VolumeMounts {
		m := &req.Container.VolumeMounts[i]
		path, err := subPathOf(m, vars)
		if err != nil {
			return nil, err
		}
		if v := req.Volumes[m.Name]; path != "" && v.HostPath != "" {
			wanted = append(wanted, pod.SubPath{Index: i, Volume: m.Name, HostPath: v.HostPath, Persistent: v.Persistent, Path: path})
		}
	}
	return wanted, nil
}

// subPathOf is the path inside its volume that a mount wants; empty: all of it. A
// variable without a value is an error here, unlike anywhere else.
func subPathOf(m *corev1.VolumeMount, vars map[string]string) (string, error) {
	path := m.SubPath
	if m.SubPathExpr != "" {
		missing := map[string]bool{}
		path = Expand(m.SubPathExpr, func(name string) (string, bool) {
			if vars[name] == "" {
				missing[name] = true
			}
			return vars[name], true
		})
		if len(missing) > 0 {
			return "", configFailure("missing value for %s", strings.Join(slices.Sorted(maps.Keys(missing)), ", "))
		}
	}
	if filepath.IsAbs(path) {
		return "", configFailure("error SubPath `%s` must not be an absolute path", path)
	}
	if slices.Contains(strings.Split(path, "/"), "..") {
		return "", configFailure("unable to provision SubPath `%s`: must not contain '..'", path)
	}
	return path, nil
}

// WantsHostsFile says whether a container gets the managed hosts file of its pod:
// not if it mounts something of its own at /etc/hosts, however that is spelled. (The
// kubelet compares the spelling, and hides a volume at /etc/hosts/ behind its file.)
func WantsHostsFile(c *corev1.Container) bool {
	return !slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
		return clean(m.MountPath) == hostsPath
	})
}

// absolute is a path in a container, where relative ones begin at its root. As
// with the kubelet, one that is absolute stays as it is written.
func absolute(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return clean(path)
}

// clean is a path in a container in its shortest form.
func clean(path string) string { return filepath.Clean("/" + path) }

// TerminationLogOf returns the file on the node that is shown to a container at its
// terminationMessagePath, as its annotations and mounts say; "" when there is none.
// Of several mounts at the same place the last one is what the container sees.
func TerminationLogOf(annotations map[string]string, mounts []*runtimeapi.Mount) string {
	path := annotations[AnnotationTerminationMessagePath]
	if path == "" {
		return ""
	}
	path = clean(path)
	for _, m := range slices.Backward(mounts) {
		if clean(m.GetContainerPath()) == path {
			return m.GetHostPath()
		}
	}
	return ""
}

func propagation(m *corev1.VolumeMount) (runtimeapi.MountPropagation, error) {
	if m.MountPropagation == nil {
		return runtimeapi.MountPropagation_PROPAGATION_PRIVATE, nil
	}
	switch *m.MountPropagation {
	case corev1.MountPropagationNone:
		return runtimeapi.MountPropagation_PROPAGATION_PRIVATE, nil
	case corev1.MountPropagationHostToContainer:
		return runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER, nil
	case corev1.MountPropagationBidirectional:
		return runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL, nil
	}
	return 0, configFailure("invalid MountPropagation mode: %q", *m.MountPropagation)
}

func recursiveReadOnly(m *corev1.VolumeMount, supported bool) (bool, error) {
	if m.RecursiveReadOnly == nil || *m.RecursiveReadOnly == corev1.RecursiveReadOnlyDisabled {
		return false, nil
	}
	const failed = "failed to resolve recursive read-only mode: "
	if !m.ReadOnly {
		return false, configFailure(failed+"volume %q requested recursive read-only mode, but it is not read-only", m.Name)
	}
	if m.MountPropagation != nil && *m.MountPropagation != corev1.MountPropagationNone {
		return false, configFailure(failed+"volume %q requested recursive read-only mode, but it is not compatible with propagation %q",
			m.Name, *m.MountPropagation)
	}
	switch *m.RecursiveReadOnly {
	case corev1.RecursiveReadOnlyIfPossible:
		return supported, nil
	case corev1.RecursiveReadOnlyEnabled:
		if !supported {
			return false, configFailure(failed+"volume %q requested recursive read-only mode, but it is not supported by the runtime", m.Name)
		}
		return true, nil
	case corev1.RecursiveReadOnlyDisabled:
		return false, nil
	}
	return false, configFailure(failed+"unknown recursive read-only mode %q", *m.RecursiveReadOnly)
}
