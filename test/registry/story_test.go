//go:build e2e

package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

const (
	normal, warning = corev1.EventTypeNormal, corev1.EventTypeWarning

	ifNotPresent, always, never = corev1.PullIfNotPresent, corev1.PullAlways, corev1.PullNever

	container = "a" // of every pod
)

// puller is a pod of one container that uses an image.
func puller(name, image string, policy corev1.PullPolicy, secrets ...string) *corev1.Pod {
	p := bedtest.NewPod(name, 0, bedtest.Obeys)
	p.Spec.Containers[0].Image, p.Spec.Containers[0].ImagePullPolicy = image, policy
	for _, s := range secrets {
		p.Spec.ImagePullSecrets = append(p.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: s})
	}
	return p
}

// story is what the API server said about a pod, from before its creation on.
type story struct {
	t   *testing.T
	bed *bed.Bed
	pod *corev1.Pod

	mu      sync.Mutex
	changed chan struct{}
	seen    []*corev1.Pod
	events  map[types.UID]*corev1.Event
	at      int
}

// tell creates a pod and follows it.
func tell(t *testing.T, b *bed.Bed, p *corev1.Pod) *story {
	t.Helper()
	s := &story{t: t, bed: b, changed: make(chan struct{}), events: map[types.UID]*corev1.Event{}}
	core := b.Client().CoreV1()
	s.follow("metadata.name="+p.Name, core.Pods(namespace).Watch)
	s.follow("involvedObject.name="+p.Name, core.Events(namespace).Watch)
	s.pod = bedtest.Create(t, b, p)
	return s
}

func (s *story) follow(field string, open func(context.Context, metav1.ListOptions) (watch.Interface, error)) {
	s.t.Helper()
	w, err := open(s.t.Context(), metav1.ListOptions{FieldSelector: field})
	must(s.t, "watching "+field, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range w.ResultChan() {
			s.note(e.Type, e.Object)
		}
	}()
	s.t.Cleanup(func() {
		w.Stop()
		<-done
		if s.t.Failed() && strings.HasPrefix(field, "metadata") {
			s.log()
		}
	})
}

func (s *story) note(kind watch.EventType, object runtime.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch o := object.(type) {
	case *corev1.Pod:
		s.seen = append(s.seen, o)
	case *corev1.Event:
		if kind != watch.Deleted {
			s.events[o.UID] = o
		}
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *story) log() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, p := range s.seen {
		state, _ := json.Marshal(state(p))
		s.t.Logf("%s, version %d: %s %s", p.Name, i, p.Status.Phase, state)
	}
	for _, e := range s.events {
		s.t.Logf("%s, event: %d x %s %s %s: %q", s.pod.Name, e.Count, e.Type, e.Reason, e.InvolvedObject.FieldPath, e.Message)
	}
}

func (s *story) wait(what string, done func() bool) {
	s.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		s.mu.Lock()
		ok, changed := done(), s.changed
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-limit.C:
			s.t.Fatalf("%s is not %s after %s", s.pod.Name, what, patience)
		}
	}
}

// until returns the pod as it was when it first satisfied done, beginning where
// the last call ended.
func (s *story) until(what string, done func(*corev1.Pod) bool) (found *corev1.Pod) {
	s.t.Helper()
	s.wait(what, func() bool {
		for ; s.at < len(s.seen); s.at++ {
			if done(s.seen[s.at]) {
				found = s.seen[s.at]
				return true
			}
		}
		return false
	})
	return found
}

// ready waits until the pod is.
func (s *story) ready() { s.t.Helper(); s.until("ready", bedtest.Ready) }

// waits waits until the container waits with the reason, and returns the message.
func (s *story) waits(reason string) string {
	s.t.Helper()
	p := s.until("waiting with "+reason, func(p *corev1.Pod) bool {
		w := state(p).Waiting
		return w != nil && w.Reason == reason
	})
	return state(p).Waiting.Message
}

// never checks that the container never waited with the reason.
func (s *story) never(reason string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.seen {
		if w := state(p).Waiting; w != nil && w.Reason == reason {
			s.t.Errorf("%s waited with %s: %s", p.Name, reason, w.Message)
			return
		}
	}
}

func state(p *corev1.Pod) corev1.ContainerState {
	if len(p.Status.ContainerStatuses) == 0 {
		return corev1.ContainerState{}
	}
	return p.Status.ContainerStatuses[0].State
}

// event waits for an event of the container, or of the pod.
func (s *story) event(kind, reason, of, message string) *corev1.Event {
	s.t.Helper()
	return s.eventLike(kind, reason, of, fmt.Sprintf("%q", message), func(m string) bool { return m == message })
}

// eventLike waits for an event whose message is such.
func (s *story) eventLike(kind, reason, of, what string, such func(message string) bool) (found *corev1.Event) {
	s.t.Helper()
	path := ""
	if of != "" {
		path = "spec.containers{" + of + "}"
	}
	s.wait(fmt.Sprintf("told by event %s %s of %q: %s", kind, reason, of, what), func() bool {
		for _, e := range s.events {
			if e.Type == kind && e.Reason == reason && e.InvolvedObject.FieldPath == path && such(e.Message) {
				found = e
				return true
			}
		}
		return false
	})
	return found
}

// noEvent checks that no event so far has the reason.
func (s *story) noEvent(reason string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if e.Reason == reason {
			s.t.Errorf("%s: event %s: %q", s.pod.Name, reason, e.Message)
		}
	}
}

// refused waits until the pull has failed and is backed off from, checks that
// all that users see agrees, and returns what the runtime said.
func (s *story) refused(image string) string {
	s.t.Helper()
	s.event(normal, "Pulling", container, fmt.Sprintf("Pulling image %q", image))
	why := s.waits("ErrImagePull")
	s.event(warning, "Failed", container, fmt.Sprintf("Failed to pull image %q: %s", image, why))
	s.event(warning, "Failed", container, "Error: ErrImagePull")
	backOff := fmt.Sprintf("Back-off pulling image %q", image)
	if got := s.waits("ImagePullBackOff"); got != backOff+": ErrImagePull: "+why {
		s.t.Errorf("%s waits with ImagePullBackOff: %q, want %q", s.pod.Name, got, backOff+": ErrImagePull: "+why)
	}
	s.event(normal, "BackOff", container, backOff)
	s.event(warning, "Failed", container, "Error: ImagePullBackOff")
	return why
}

// recovers waits until the pod is ready, after all.
func (s *story) recovers(image string) {
	s.t.Helper()
	s.ready()
	prefix := fmt.Sprintf("Successfully pulled image %q in ", image)
	s.eventLike(normal, "Pulled", container, prefix+"...", func(m string) bool {
		return strings.HasPrefix(m, prefix) && strings.Contains(m, " including waiting). Image size: ") && strings.HasSuffix(m, " bytes.")
	})
}

// secret makes a pull secret for a registry.
func secret(t *testing.T, b *bed.Bed, name, host, password string) *corev1.Secret {
	t.Helper()
	secrets := b.Client().CoreV1().Secrets(namespace)
	s, err := secrets.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: dockerConfig(t, host, password)},
	}, metav1.CreateOptions{})
	must(t, "making secret "+name, err)
	t.Cleanup(func() { _ = secrets.Delete(context.Background(), name, metav1.DeleteOptions{}) })
	return s
}

// change puts another password into a secret.
func change(t *testing.T, b *bed.Bed, s *corev1.Secret, host, password string) {
	t.Helper()
	s = s.DeepCopy()
	s.Data = map[string][]byte{corev1.DockerConfigJsonKey: dockerConfig(t, host, password)}
	_, err := b.Client().CoreV1().Secrets(namespace).Update(t.Context(), s, metav1.UpdateOptions{})
	must(t, "changing secret "+s.Name, err)
}

func dockerConfig(t *testing.T, host, password string) []byte {
	t.Helper()
	text, err := json.Marshal(map[string]any{"auths": map[string]any{host: map[string]string{"username": user, "password": password}}})
	must(t, "encoding a Docker configuration", err)
	return text
}
