package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Config is what a [Manager] needs to know.
type Config struct {
	// RootDir is the agent's root directory, /var/lib/kubelet.
	RootDir string
	// Claims finds PersistentVolumes; nil: the node has no API server.
	Claims Claims
	// Events tells users about their pods; nil: nobody is told.
	Events Events
	// Observe, if set, hears of each volume that was mounted or unmounted: the name
	// of its type, empty if that is not known, and how it went.
	Observe func(plugin string, unmount bool, took time.Duration, err error)
}

// Manager mounts and unmounts the volumes of pods. The disk is the state: beside
// it the manager remembers what runs at the moment and which mounted volumes
// are to follow what they are made of.
type Manager struct {
	root    string
	plugins []Plugin
	claims  Claims
	events  Events
	log     *zap.Logger
	jobs    jobs
	steps   steps
	live    followers
	observe func(plugin string, unmount bool, took time.Duration, err error)
	mounted mountedVolumes
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
	m := &Manager{root: root, plugins: plugins, claims: cfg.Claims, events: cfg.Events, log: log, live: newFollowers(), observe: cfg.Observe}
	if m.observe == nil {
		m.observe = func(string, bool, time.Duration, error) {}
	}
	m.jobs = jobs{log: log, ended: m.live.hint, busy: map[types.UID]*job{}}
	return m, nil
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
	m.mounted.set(p.UID, m.measurable(p, used, volumes))
	return volumes, nil
}

func (m *Manager) mountOne(ctx context.Context, p *corev1.Pod, v *corev1.Volume) (pod.Volume, error) {
	if err := validName("volume name", v.Name); err != nil {
		return pod.Volume{}, err
	}
	step := m.steps.begin(p.UID, v.Name)
	defer step.end()
	spec, err := m.resolve(ctx, p, v, step)
	if err != nil {
		return pod.Volume{}, unprocessed{err}
	}
	began := time.Now()
	mounted, err := m.setUp(ctx, p, spec, step)
	m.observe(m.nameOf(spec), false, time.Since(began), err)
	switch {
	case err == nil:
		return mounted, nil
	case isUnprocessed(err):
		return pod.Volume{}, err
	default:
		return pod.Volume{}, setUpFailed(spec.Name(), err)
	}
}

// setUp mounts a volume and fills it.
func (m *Manager) setUp(ctx context.Context, p *corev1.Pod, spec Spec, step *step) (pod.Volume, error) {
	plugin := m.supporting(spec)
	if plugin == nil {
		return pod.Volume{}, fmt.Errorf("volume type %s is not supported by this version of nodeagent", typeName(spec.Volume))
	}
	if err := validName("volume name", spec.Name()); err != nil {
		return pod.Volume{}, err
	}
	req := Request{
		Pod: p, Spec: spec, Ref: Ref{Root: m.root, UID: p.UID, Plugin: plugin.Name(), Name: spec.Name()},
		Tell: func(warning bool, reason, message string) {
			if m.events != nil {
				m.events.Event(p, "", warning, reason, message)
			}
		},
	}
	step.is("mounting it (" + plugin.Name() + ")")
	mounted, err := plugin.Mount(ctx, req)
	if err != nil {
		return pod.Volume{}, err
	}
	if spec.Persistent != nil {
		mounted.Persistent, mounted.Group = spec.Persistent.Name, groupOf(p, spec.Persistent)
	}
	if live, is := plugin.(Live); is {
		step.is("filling it (" + plugin.Name() + ")")
		due, err := live.Update(ctx, req)
		if err != nil {
			return pod.Volume{}, err
		}
		m.follow(live, req, due)
	}
	return mounted, nil
}

// resolve looks behind a claim.
func (m *Manager) resolve(ctx context.Context, p *corev1.Pod, v *corev1.Volume, step *step) (Spec, error) {
	claimed := v.PersistentVolumeClaim
	if claimed == nil && v.Ephemeral == nil {
		return Spec{Volume: v}, nil
	}
	if m.claims == nil {
		return Spec{}, errors.New("this node runs without an API server (no --kubeconfig is given), so nobody can say what the claim is bound to")
	}
	step.is("asking the API server what its claim is bound to")
	persistent, err := m.claims.Find(ctx, p, v)
	if err != nil {
		return Spec{}, err
	}
	return Spec{Volume: v, Persistent: persistent, ReadOnly: claimed != nil && claimed.ReadOnly}, nil
}

// gidAnnotation on a PersistentVolume names a group that its users need.
const gidAnnotation = "pv.beta.kubernetes.io/gid"

// groupOf is the group that the pod's containers are to be in beside their own
// because of a volume; 0: none.
func groupOf(p *corev1.Pod, v *corev1.PersistentVolume) int64 {
	group, err := strconv.ParseInt(v.Annotations[gidAnnotation], 10, 64)
	if s := p.Spec.SecurityContext; err != nil || group < 0 || s != nil && slices.Contains(s.SupplementalGroups, group) {
		return 0
	}
	return group
}

// supporting returns the first plugin that supports a volume; nil: there is none.
func (m *Manager) supporting(spec Spec) Plugin {
	for _, plugin := range m.plugins {
		if plugin.Supports(spec) {
			return plugin
		}
	}
	return nil
}

// nameOf is the name of a volume's type; empty: it is not supported.
func (m *Manager) nameOf(spec Spec) string {
	if plugin := m.supporting(spec); plugin != nil {
		return plugin.Name()
	}
	return ""
}

// TypeOf is the qualified name of a volume's type, as directories have it; empty if
// it is not supported, or only known to whoever knows what its claim is bound to.
func (m *Manager) TypeOf(v *corev1.Volume) string {
	if v.PersistentVolumeClaim != nil || v.Ephemeral != nil {
		return ""
	}
	return m.nameOf(Spec{Volume: v})
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
