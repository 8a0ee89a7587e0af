//go:build e2e

package lifecycle

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// life is what the API server said about the pods of one name, from before
// their creation on.
type life struct {
	t    *testing.T
	bed  *bed.Bed
	name string
	dir  string // of the machine; /d in the containers of the test

	mu      sync.Mutex
	changed chan struct{} // closed at the next change
	seen    []*corev1.Pod // every version
	gone    map[types.UID]bool
	events  map[types.UID]*corev1.Event
	at      int // where until goes on
}

// live creates the pod and follows it. What its containers write to /d can be
// read by the test.
func live(t *testing.T, p *corev1.Pod) *life {
	t.Helper()
	b := shared.Bed(t)
	dir, err := os.MkdirTemp(b.Dir, "d-") //nolint:usetesting // containers may write to it after the test; it goes with the bed
	must(t, "making a folder for a pod", err)
	must(t, "opening the folder to all users", os.Chmod(dir, 0o777))
	l := &life{
		t: t, bed: b, name: p.Name, dir: dir, changed: make(chan struct{}),
		gone: map[types.UID]bool{}, events: map[types.UID]*corev1.Event{},
	}
	l.follow("metadata.name", l.pods().Watch)
	l.follow("involvedObject.name", b.Client().CoreV1().Events(namespace).Watch)
	l.create(p)
	return l
}

func (l *life) pods() typed.PodInterface { return l.bed.Client().CoreV1().Pods(namespace) }

// create makes a pod of the name, whose containers see the folder.
func (l *life) create(p *corev1.Pod) *corev1.Pod {
	l.t.Helper()
	p = p.DeepCopy()
	p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{
		Name: "d", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: l.dir}},
	})
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			list[i].VolumeMounts = append(list[i].VolumeMounts, corev1.VolumeMount{Name: "d", MountPath: "/d"})
		}
	}
	return bedtest.Create(l.t, l.bed, p)
}

// follow records what a watch says until the test ends.
func (l *life) follow(field string, open func(context.Context, metav1.ListOptions) (watch.Interface, error)) {
	l.t.Helper()
	w, err := open(l.t.Context(), metav1.ListOptions{FieldSelector: field + "=" + l.name})
	must(l.t, "watching by "+field, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range w.ResultChan() {
			l.note(e.Type, e.Object)
		}
	}()
	l.t.Cleanup(func() {
		w.Stop()
		<-done
		if l.t.Failed() && field == "metadata.name" {
			l.tell()
		}
	})
}

func (l *life) note(kind watch.EventType, object runtime.Object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch o := object.(type) {
	case *corev1.Pod:
		if kind == watch.Deleted {
			l.gone[o.UID] = true
		}
		l.seen = append(l.seen, o)
	case *corev1.Event:
		if kind != watch.Deleted {
			l.events[o.UID] = o
		}
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// tell logs the pod's story, for who has to find out why the test failed.
func (l *life) tell() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, p := range l.seen {
		l.t.Logf("%s, version %d (generation %d, deleted %v): %s", l.name, i, p.Generation, p.DeletionTimestamp, brief(p))
	}
	if n := len(l.seen); n > 0 {
		status, _ := json.Marshal(l.seen[n-1].Status)
		l.t.Logf("%s, its last status: %s", l.name, status)
	}
	for _, e := range l.events {
		l.t.Logf("%s, event: %d x %s %s %s: %q", l.name, e.Count, e.Type, e.Reason, e.InvolvedObject.FieldPath, e.Message)
	}
	l.t.Logf("%s, in /d/log: %q", l.name, l.lines())
}

// wait waits until done, which is called with the lock held, says so.
func (l *life) wait(what string, done func() bool) {
	l.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		l.mu.Lock()
		ok, changed := done(), l.changed
		l.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-limit.C:
			l.t.Fatalf("%s is not %s after %s", l.name, what, patience)
		}
	}
}

// until returns the pod as it was when it first satisfied done, beginning where
// the last call ended: calls in a row say what came after what.
func (l *life) until(what string, done func(*corev1.Pod) bool) *corev1.Pod {
	l.t.Helper()
	var found *corev1.Pod
	l.wait(what, func() bool {
		for ; l.at < len(l.seen); l.at++ {
			if done(l.seen[l.at]) {
				found = l.seen[l.at]
				return true
			}
		}
		return false
	})
	return found
}

// never checks that no version of the pod so far satisfies wrong.
func (l *life) never(what string, wrong func(*corev1.Pod) bool) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, p := range l.seen {
		if wrong(p) {
			l.t.Errorf("%s was %s (version %d)", l.name, what, i)
			return
		}
	}
}

// event waits for the event of a container, or of the pod when that is empty.
func (l *life) event(kind, reason, container, message string) *corev1.Event {
	l.t.Helper()
	return l.eventLike(fmt.Sprintf("told by event %s %s of %q: %q", kind, reason, container, message), func(e *corev1.Event) bool {
		return e.Type == kind && e.Reason == reason && e.Message == message && fieldPath(e, container)
	})
}

func fieldPath(e *corev1.Event, container string) bool {
	path := e.InvolvedObject.FieldPath
	return container == "" && path == "" || container != "" && strings.HasSuffix(path, "ontainers{"+container+"}")
}

func (l *life) eventLike(what string, is func(*corev1.Event) bool) (found *corev1.Event) {
	l.t.Helper()
	l.wait(what, func() bool {
		for _, e := range l.events {
			if is(e) {
				found = e
				return true
			}
		}
		return false
	})
	return found
}

// noEvent checks that there was no event so far that has the reason.
func (l *life) noEvent(reason string) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		if e.Reason == reason {
			l.t.Errorf("%s: event %s: %q; want none of that reason", l.name, e.Reason, e.Message)
		}
	}
}

// delete asks for the pod's deletion; a negative grace leaves it to the pod.
func (l *life) delete(grace int64) {
	l.t.Helper()
	var o metav1.DeleteOptions
	if grace >= 0 {
		o.GracePeriodSeconds = &grace
	}
	must(l.t, "deleting pod "+l.name, l.pods().Delete(l.t.Context(), l.name, o))
}

// ended waits until the pod's object is deleted, and returns its last version.
func (l *life) ended(p *corev1.Pod) (last *corev1.Pod) {
	l.t.Helper()
	l.wait("gone", func() bool { return l.gone[p.UID] })
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, v := range l.seen {
		if v.UID == p.UID {
			last = v
		}
	}
	return last
}

// patch changes the pod, or a subresource.
func (l *life) patch(what, change string, subresources ...string) *corev1.Pod {
	l.t.Helper()
	p, err := l.pods().Patch(l.t.Context(), l.name, types.StrategicMergePatchType, []byte(change), metav1.PatchOptions{}, subresources...)
	must(l.t, what, err)
	return p
}

// put makes a file for the containers, which see it complete or not at all.
func (l *life) put(file, content string) {
	l.t.Helper()
	next := filepath.Join(l.dir, file+".next")
	must(l.t, "writing "+file, os.WriteFile(next, []byte(content), 0o666))
	must(l.t, "putting "+file, os.Rename(next, filepath.Join(l.dir, file)))
}

// take removes a file from the containers.
func (l *life) take(file string) {
	l.t.Helper()
	must(l.t, "taking "+file, os.Remove(filepath.Join(l.dir, file)))
}

// lines are what the containers said so far.
func (l *life) lines() []string {
	content, _ := os.ReadFile(filepath.Join(l.dir, "log"))
	return strings.Split(strings.TrimSpace(string(content)), "\n")
}

// said waits until the containers have said the lines, which are all.
func (l *life) said(want ...string) {
	l.t.Helper()
	l.saidLike(fmt.Sprintf("%q", want), func(lines []string) bool { return strings.Join(lines, "\n") == strings.Join(want, "\n") })
}

// saidLike waits until what the containers said satisfies done.
func (l *life) saidLike(want string, done func([]string) bool) {
	l.t.Helper()
	w, err := fsnotify.NewWatcher()
	must(l.t, "making a watcher for files", err)
	defer func() { _ = w.Close() }()
	must(l.t, "watching the folder", w.Add(l.dir))
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for !done(l.lines()) {
		select {
		case <-w.Events:
		case err := <-w.Errors:
			l.t.Fatalf("watching the folder: %v", err)
		case <-limit.C:
			l.t.Fatalf("the containers of %s said %q, want %s", l.name, l.lines(), want)
		}
	}
}

// exists waits until a container has made the file.
func (l *life) exists(file string) {
	l.t.Helper()
	l.saidLike("and made "+file, func([]string) bool {
		_, err := os.Stat(filepath.Join(l.dir, file))
		return err == nil
	})
}

// read returns what is in a file of the containers.
func (l *life) read(file string) string {
	content, _ := os.ReadFile(filepath.Join(l.dir, file))
	return string(content)
}
