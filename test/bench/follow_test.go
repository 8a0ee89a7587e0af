//go:build e2e

package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

const (
	followers = 10
	// followLimit is how long the kubelet is waited for: it looks at a pod every
	// minute to a minute and a half.
	followLimit = 4 * time.Minute
	// followUpdates is how often nodeagent's are changed; the kubelet's once, all at
	// random moments, as that takes as long.
	followUpdates = 10
)

// files tells when files below the volumes of pods have changed, on the node.
type files struct {
	watcher *fsnotify.Watcher
	mu      sync.Mutex
	waiting map[string]*change
}

// change is a content that a file is to have.
type change struct {
	file, want string
	seen       chan time.Time
}

func newFiles(t *testing.T) *files {
	t.Helper()
	w, err := fsnotify.NewWatcher()
	must(t, "watching files", err)
	f := &files{watcher: w, waiting: map[string]*change{}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ev := range w.Events {
			f.look(filepath.Dir(ev.Name), time.Now())
		}
	}()
	t.Cleanup(func() {
		_ = w.Close()
		<-ended
	})
	return f
}

func (f *files) look(dir string, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.waiting[dir]
	if c == nil {
		return
	}
	if text, err := os.ReadFile(filepath.Join(dir, c.file)); err == nil && strings.TrimSpace(strings.Trim(string(text), `"`)) == c.want {
		delete(f.waiting, dir)
		c.seen <- at
	}
}

func (f *files) expect(dir, file, want string) <-chan time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := &change{file, want, make(chan time.Time, 1)}
	f.waiting[dir] = c
	return c.seen
}

// followed is an object, and where a pod has it on the node.
type followed struct {
	kind, name, dir, file string
}

// follows measures how long after a change of a ConfigMap, a Secret or a label the
// file of a volume has changed.
func follows(t *testing.T, s *site) {
	t.Helper()
	f := newFiles(t)
	var all []followed
	for i := range followers {
		name := fmt.Sprintf("follow-%d", i)
		p := followingPod(t, s, name)
		must(t, "waiting for a pod with volumes", s.board.await(t.Context(), p.Name, "ready", bedtest.Ready))
		volumes := filepath.Join(s.RootDir, "pods", string(p.UID), "volumes")
		for _, one := range []followed{
			{"configmap", name, filepath.Join(volumes, "kubernetes.io~configmap", "configmap"), "a"},
			{"secret", name, filepath.Join(volumes, "kubernetes.io~secret", "secret"), "a"},
			{"label", name, filepath.Join(volumes, "kubernetes.io~downward-api", "label"), "a"},
		} {
			must(t, "watching a volume", f.watcher.Add(one.dir))
			all = append(all, one)
		}
	}
	if s.Agent() == bed.Kubelet {
		// A label makes the kubelet look at the whole pod, and find what else has changed.
		labels := func(one followed) bool { return one.kind == "label" }
		s.followAll(t, f, slices.DeleteFunc(slices.Clone(all), labels))
		s.followAll(t, f, slices.DeleteFunc(all, func(one followed) bool { return !labels(one) }))
		return
	}
	for i := range followUpdates {
		for _, one := range all {
			d, err := s.follow(t.Context(), f, one, fmt.Sprint(i+2))
			must(t, "changing an object", err)
			s.add(figFollow, millisOf(d))
		}
	}
}

// followAll changes the objects, one each second, and waits for the files.
func (s *site) followAll(t *testing.T, f *files, all []followed) {
	t.Helper()
	group, ctx := errgroup.WithContext(t.Context())
	took := make([]time.Duration, len(all))
	for i, one := range all {
		group.Go(func() (err error) {
			pause(ctx, time.Duration(i)*time.Second)
			took[i], err = s.follow(ctx, f, one, "2")
			return err
		})
	}
	must(t, "changing objects", group.Wait())
	for _, d := range took {
		s.add(figFollow, millisOf(d))
	}
}

// follow changes an object and waits for the file.
func (s *site) follow(ctx context.Context, f *files, one followed, value string) (time.Duration, error) {
	seen := f.expect(one.dir, one.file, value)
	core, began := s.Client().CoreV1(), time.Now()
	var err error
	switch one.kind {
	case "configmap":
		_, err = core.ConfigMaps(namespace).Patch(ctx, one.name, types.MergePatchType, fmt.Appendf(nil, `{"data":{"a":%q}}`, value), metav1.PatchOptions{})
	case "secret":
		_, err = core.Secrets(namespace).Patch(ctx, one.name, types.MergePatchType, fmt.Appendf(nil, `{"stringData":{"a":%q}}`, value), metav1.PatchOptions{})
	default:
		_, err = core.Pods(namespace).Patch(ctx, one.name, types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"labels":{"a":%q}}}`, value), metav1.PatchOptions{})
	}
	if err != nil {
		return 0, fmt.Errorf("change the %s %s: %w", one.kind, one.name, err)
	}
	limit := time.NewTimer(followLimit)
	defer limit.Stop()
	select {
	case at := <-seen:
		return at.Sub(began), nil
	case <-limit.C:
		return 0, fmt.Errorf("the file of %s %s has not changed after %s", one.kind, one.name, followLimit)
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// followingPod makes a pod with a volume of each kind.
func followingPod(t *testing.T, s *site, name string) *corev1.Pod {
	t.Helper()
	core, meta := s.Client().CoreV1(), metav1.ObjectMeta{Name: name}
	_, err := core.ConfigMaps(namespace).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"a": "1"}}, metav1.CreateOptions{})
	must(t, "making a ConfigMap", err)
	_, err = core.Secrets(namespace).Create(t.Context(), &corev1.Secret{ObjectMeta: meta, StringData: map[string]string{"a": "1"}}, metav1.CreateOptions{})
	must(t, "making a Secret", err)
	p := bedtest.NewPod(name, 1, bedtest.Obeys)
	p.Labels["a"] = "1"
	p.Spec.Volumes = []corev1.Volume{
		{Name: "configmap", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}}}},
		{Name: "secret", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name}}},
		{Name: "label", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{
			{Path: "a", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['a']"}}}}}},
	}
	for _, v := range p.Spec.Volumes {
		p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: v.Name, MountPath: "/" + v.Name})
	}
	p, err = core.Pods(namespace).Create(t.Context(), p, metav1.CreateOptions{})
	must(t, "making a pod with volumes", err)
	return p
}
