package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Unmount takes away all volumes of a pod and then its directory. It works from
// the disk and the mount table alone; a pod without a directory is a success.
// While anything stays mounted below the directory, nothing there is deleted.
func (m *Manager) Unmount(ctx context.Context, ref pod.Ref) error {
	if err := validUID(ref.UID); err != nil {
		return err
	}
	return m.jobs.do(ctx, ref.UID, "unmounting the volumes", func(ctx context.Context) error {
		m.live.forget(ref.UID)
		m.mounted.forget(ref.UID)
		if err := m.unmount(ctx, ref.UID); err != nil {
			return fmt.Errorf("take away the volumes of pod %s (%s): %w", ref, ref.UID, err)
		}
		return nil
	})
}

func (m *Manager) unmount(ctx context.Context, uid types.UID) error {
	dir := filepath.Join(m.root, podsDir, string(uid))
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory but %s: not touched", dir, info.Mode().Type())
	}
	// Bind mounts of sub-paths pin the volumes they were made from.
	if err := unmountBelow(ctx, filepath.Join(dir, subpathsDir)); err != nil {
		return err
	}
	refs, err := m.refs(uid)
	if err != nil {
		return err
	}
	if err := m.unmountAll(ctx, refs); err != nil {
		return err
	}
	// What no plugin of this version answers for, or left behind.
	if err := unmountBelow(ctx, dir); err != nil {
		return err
	}
	if err := m.keepUnknown(refs); err != nil {
		return err
	}
	return removeTree(ctx, filepath.Join(m.root, podsDir), string(uid))
}

// driverData is what a kubelet notes beside the volume of a driver.
const driverData = "vol_data.json"

// keepUnknown fails if a volume that no plugin of this version answers for has
// files in it, although nothing is mounted there: what they are to whom is not
// known. A kubelet leaves them alone as well.
func (m *Manager) keepUnknown(refs []Ref) error {
	root, err := os.OpenRoot(m.root)
	if err != nil {
		return fmt.Errorf("open root directory: %w", err)
	}
	defer root.Close()
	for _, ref := range refs {
		if m.plugin(ref.Plugin) != nil {
			continue
		}
		err := fs.WalkDir(root.FS(), ref.rel(), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || path == filepath.Join(ref.rel(), driverData) {
				return err
			}
			return fmt.Errorf("%s is of type %s, which this version of nodeagent does not know, and has files in it (%s): nothing is deleted; "+
				"remove %s by hand if nobody needs it", ref, ref.Plugin, filepath.Join(m.root, path), ref.Dir())
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (m *Manager) unmountAll(ctx context.Context, refs []Ref) error {
	failed := make([]error, len(refs))
	var group errgroup.Group
	for i, ref := range refs {
		plugin := m.plugin(ref.Plugin)
		if plugin == nil {
			continue
		}
		group.Go(func() error {
			step := m.steps.begin(ref.UID, ref.Name)
			step.is("unmounting it (" + ref.Plugin + ")")
			defer step.end()
			began := time.Now()
			defer func() { m.observe(ref.Plugin, true, time.Since(began), failed[i]) }()
			failed[i] = m.jobs.shielded(ctx, ref.UID, func(ctx context.Context) error {
				if err := plugin.Unmount(ctx, ref); err != nil {
					return fmt.Errorf("UnmountVolume.TearDown failed for volume %q : %w", ref.Name, err)
				}
				return nil
			})
			return nil
		})
	}
	_ = group.Wait() // the results are in failed
	return errors.Join(failed...)
}

func (m *Manager) plugin(name string) Plugin {
	for _, p := range m.plugins {
		if p.Name() == name {
			return p
		}
	}
	return nil
}

// refs reads a pod's volumes from the layout on the disk.
func (m *Manager) refs(uid types.UID) ([]Ref, error) {
	root, err := os.OpenRoot(m.root)
	if err != nil {
		return nil, fmt.Errorf("open root directory: %w", err)
	}
	defer root.Close()
	base := filepath.Join(podsDir, string(uid), volumesDir)
	plugins, err := subdirs(root, base)
	if err != nil {
		return nil, err
	}
	var refs []Ref
	for _, plugin := range plugins {
		names, err := subdirs(root, filepath.Join(base, plugin))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			ref := Ref{Root: m.root, UID: uid, Plugin: unescape(plugin), Name: name}
			if ref.validate() == nil { // anything else was not made by an agent
				refs = append(refs, ref)
			}
		}
	}
	return refs, nil
}

// subdirs lists the directories in a directory, without following symlinks and
// without looking at what is mounted on them.
func subdirs(root *os.Root, name string) ([]string, error) {
	info, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", name, err)
	}
	if !info.IsDir() {
		return nil, nil
	}
	dir, err := root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", name, err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
