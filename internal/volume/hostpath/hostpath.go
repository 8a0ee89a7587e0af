package hostpath

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/volume"
	"nodeagent.dev/nodeagent/internal/volume/claim"
)

// Name is the plugin's name.
const Name = "kubernetes.io/host-path"

// New returns the plugin.
func New() volume.Plugin { return plugin{} }

type plugin struct{}

// Name implements [volume.Plugin].
func (plugin) Name() string { return Name }

// Supports implements [volume.Plugin].
func (plugin) Supports(s volume.Spec) bool { return source(s) != nil }

// source is what the pod says, or what its claim is bound to; nil: neither is a
// hostPath.
func source(s volume.Spec) *corev1.HostPathVolumeSource {
	if s.Persistent != nil {
		return s.Persistent.Spec.HostPath
	}
	return s.Volume.HostPath
}

// Mount implements [volume.Plugin]: it checks the path, and makes it where the
// type says "OrCreate".
func (plugin) Mount(_ context.Context, req volume.Request) (pod.Volume, error) {
	source := source(req.Spec)
	if err := claim.NoMountOptions(req.Persistent); err != nil {
		return pod.Volume{}, err
	}
	if slices.Contains(strings.Split(source.Path, "/"), "..") {
		return pod.Volume{}, fmt.Errorf("invalid HostPath `%s`: must not contain '..'", source.Path)
	}
	if !filepath.IsAbs(source.Path) {
		return pod.Volume{}, fmt.Errorf("invalid HostPath `%s`: must be an absolute path", source.Path)
	}
	if source.Type != nil {
		if err := check(source.Path, *source.Type); err != nil {
			return pod.Volume{}, err
		}
	}
	return pod.Volume{HostPath: source.Path, ReadOnly: req.ReadOnly}, nil
}

// Check implements [volume.Checked]: a path that has another type by now is not shown
// to a container that starts again. One that is gone and would have been made is
// the runtime's business.
func (plugin) Check(s volume.Spec) error {
	source := source(s)
	if source.Type == nil {
		return nil
	}
	want := *source.Type
	made := map[corev1.HostPathType]corev1.HostPathType{
		corev1.HostPathDirectoryOrCreate: corev1.HostPathDirectory, corev1.HostPathFileOrCreate: corev1.HostPathFile,
	}
	if base, is := made[want]; is {
		if missing(source.Path) {
			return nil
		}
		want = base
	}
	return check(source.Path, want)
}

// Unmount implements [volume.Plugin]: the path stays.
func (plugin) Unmount(context.Context, volume.Ref) error { return nil }

// check sees to it that path is of the wanted type.
func check(path string, want corev1.HostPathType) error {
	switch want {
	case corev1.HostPathUnset:
		return nil
	case corev1.HostPathDirectoryOrCreate:
		if missing(path) {
			return os.MkdirAll(path, 0o755)
		}
		return expect(path, corev1.HostPathDirectory, "directory")
	case corev1.HostPathFileOrCreate:
		if missing(path) {
			return makeFile(path)
		}
		return expect(path, corev1.HostPathFile, "file")
	case corev1.HostPathDirectory:
		return expect(path, want, "directory")
	case corev1.HostPathFile:
		return expect(path, want, "file")
	case corev1.HostPathSocket:
		return expect(path, want, "socket file")
	case corev1.HostPathCharDev:
		return expect(path, want, "character device")
	case corev1.HostPathBlockDev:
		return expect(path, want, "block device")
	}
	return fmt.Errorf("%s is an invalid volume type", want)
}

// missing reports whether the path is to be made. If it cannot be looked at, that
// will say why.
func missing(path string) bool {
	_, err := os.Stat(path)
	return err != nil
}

// makeFile creates an empty file. Its directory must exist: a path with a typo
// in it must not come to life.
func makeFile(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// expect follows symlinks: what a container will see counts.
func expect(path string, want corev1.HostPathType, name string) error {
	is, err := typeOf(path)
	if err != nil {
		return fmt.Errorf("hostPath type check failed, %s is not a %s, unable to determine its type: %w", path, name, err)
	}
	if is != want {
		return fmt.Errorf("hostPath type check failed: %s is not a %s, it's a %s", path, name, is)
	}
	return nil
}

func typeOf(path string) (corev1.HostPathType, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("path %q does not exist", path)
	}
	if err != nil {
		return "", err
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		return corev1.HostPathDirectory, nil
	case mode.IsRegular():
		return corev1.HostPathFile, nil
	case mode&os.ModeSocket != 0:
		return corev1.HostPathSocket, nil
	case mode&os.ModeCharDevice != 0:
		return corev1.HostPathCharDev, nil
	case mode&os.ModeDevice != 0:
		return corev1.HostPathBlockDev, nil
	}
	return "", errors.New("only recognise file, directory, socket, block device and character device")
}
