package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

// ReasonFailedMount is the event reason of a volume that cannot be set up.
const ReasonFailedMount = "FailedMount"

// Config is what a [Manager] needs to know.
type Config struct {
	// RootDir is the agent's root directory, /var/lib/kubelet.
	RootDir string
}

// Manager mounts and unmounts the volumes of pods. It remembers nothing but
// what runs at the moment: the disk is the state.
type Manager struct {
	root    string
	plugins []Plugin
	log     *zap.Logger
	jobs    jobs
}

// New returns a manager for the pods below cfg.RootDir, which it creates. The
// first plugin that supports a volume gets it.
func New(cfg Config, plugins []Plugin, log *zap.Logger) (*Manager, error) {
	if !filepath.IsAbs(cfg.RootDir) {
		return nil, fmt.Errorf("root directory %q is not an absolute path", cfg.RootDir)
	}
	if err := os.MkdirAll(filepath.Join(cfg.RootDir, podsDir), dirMode); err != nil {
		return nil, fmt.Errorf("make the directory of pods: %w", err)
	}
	// The mount table knows no symlinks.
	root, err := filepath.EvalSymlinks(cfg.RootDir)
	if err != nil {
		return nil, fmt.Errorf("resolve root directory: %w", err)
	}
	return &Manager{root: root, plugins: plugins, log: log, jobs: jobs{log: log, busy: map[types.UID]*job{}}}, nil
}

// Mount sets up the volumes that the pod's containers use, all at once, and
// makes the pod's directory. It may be called again at any time. What failed is
// a [pod.Failure] of reason FailedMount.
func (m *Manager) Mount(ctx context.Context, p *corev1.Pod) (pod.Volumes, error) {
	if err := validUID(p.UID); err != nil {
		return nil, failure(err)
	}
	var got pod.Volumes
	done := make(chan pod.Volumes, 1)
	err := m.jobs.do(ctx, p.UID, "mounting the volumes", func(ctx context.Context) error {
		volumes, err := m.mount(ctx, p)
		done <- volumes
		return err
	})
	if err != nil {
		return nil, failure(err)
	}
	got = <-done
	return got, nil
}

func failure(err error) error {
	if _, ok := errors.AsType[*pod.Failure](err); ok {
		return err
	}
	return &pod.Failure{Reason: ReasonFailedMount, Message: err.Error(), Err: err}
}

func (m *Manager) mount(ctx context.Context, p *corev1.Pod) (pod.Volumes, error) {
	root, err := os.OpenRoot(m.root)
	if err != nil {
		return nil, fmt.Errorf("open root directory: %w", err)
	}
	defer root.Close()
	for _, dir := range []string{volumesDir, pluginsDir} {
		if err := root.MkdirAll(filepath.Join(podsDir, string(p.UID), dir), dirMode); err != nil {
			return nil, fmt.Errorf("make the directory of pod %s: %w", pod.RefOf(p), err)
		}
	}

	used := usedVolumes(p)
	results := make([]pod.Volume, len(used))
	failed := make([]error, len(used))
	var group errgroup.Group
	for i, v := range used {
		group.Go(func() error {
			failed[i] = m.jobs.shielded(ctx, p.UID, func(ctx context.Context) (err error) {
				results[i], err = m.mountOne(ctx, p, v)
				return err
			})
			return nil
		})
	}
	_ = group.Wait() // the results are in failed
	if err := join(used, failed); err != nil {
		return nil, err
	}
	volumes := make(pod.Volumes, len(used))
	for i, v := range used {
		volumes[v.Name] = results[i]
	}
	return volumes, nil
}

func (m *Manager) mountOne(ctx context.Context, p *corev1.Pod, v *corev1.Volume) (pod.Volume, error) {
	if err := validName("volume name", v.Name); err != nil {
		return pod.Volume{}, err
	}
	for _, plugin := range m.plugins {
		if !plugin.Supports(v) {
			continue
		}
		ref := Ref{Root: m.root, UID: p.UID, Plugin: plugin.Name(), Name: v.Name}
		return plugin.Mount(ctx, Request{Pod: p, Volume: v, Ref: ref})
	}
	return pod.Volume{}, fmt.Errorf("volume type %s is not supported by this version of nodeagent", typeName(v))
}

// join makes one failure of all volumes that failed, in the spec's order.
func join(used []*corev1.Volume, failed []error) error {
	var message string
	for i, err := range failed {
		if err == nil {
			continue
		}
		if message != "" {
			message += "; "
		}
		message += fmt.Sprintf("MountVolume.SetUp failed for volume %q : %v", used[i].Name, err)
	}
	if message == "" {
		return nil
	}
	return &pod.Failure{Reason: ReasonFailedMount, Message: message, Err: errors.Join(failed...)}
}

// Pods returns the UIDs of the pods that have a directory on the disk.
func (m *Manager) Pods() ([]types.UID, error) {
	entries, err := os.ReadDir(filepath.Join(m.root, podsDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the directories of pods: %w", err)
	}
	var uids []types.UID
	for _, e := range entries {
		if uid := types.UID(e.Name()); e.IsDir() && validUID(uid) == nil {
			uids = append(uids, uid)
		}
	}
	return uids, nil
}
