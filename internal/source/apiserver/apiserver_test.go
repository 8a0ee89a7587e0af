package apiserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"nodeagent.dev/nodeagent/internal/source"
	"nodeagent.dev/nodeagent/internal/source/sourcetest"
)

func newPod(name, uid string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name, UID: types.UID(uid), Annotations: map[string]string{"a": "b"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "x"}},
		},
		Spec: corev1.PodSpec{NodeName: "node-1"},
	}
}

func TestConformance(t *testing.T) {
	sourcetest.Run(t, sourcetest.Harness{New: func(t *testing.T) (source.Source, func(*testing.T, ...string)) {
		client := fake.NewClientset()
		s, err := New(client, "node-1", zaptest.NewLogger(t))
		if err != nil {
			t.Fatal(err)
		}
		return s, func(t *testing.T, names ...string) { setPods(t, client, names) }
	}})
}

func setPods(t *testing.T, client *fake.Clientset, names []string) {
	t.Helper()
	pods := client.CoreV1().Pods("default")
	list, err := pods.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list.Items {
		if !slices.Contains(names, p.Name) {
			if err := pods.Delete(t.Context(), p.Name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, n := range names {
		if _, err := pods.Create(t.Context(), newPod(n, "uid-"+n), metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
}

func start(t *testing.T, client *fake.Clientset) (<-chan []*corev1.Pod, func()) {
	t.Helper()
	s, err := New(client, "node-1", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	out, ended := make(chan []*corev1.Pod), make(chan error, 1)
	go func() { ended <- s.Run(ctx, out) }()
	return out, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func names(set []*corev1.Pod) string {
	var all []string
	for _, p := range set {
		all = append(all, p.Name)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestPodsAreSelectedTrimmedAndMarked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mirror := newPod("mirror", "2")
		mirror.Annotations[corev1.MirrorPodAnnotationKey] = "hash"
		client := fake.NewClientset(newPod("a", "1"), mirror)
		out, stop := start(t, client)
		defer stop()
		set := <-out
		if names(set) != "a" {
			t.Fatalf("got %s", names(set))
		}
		p := set[0]
		if p.ManagedFields != nil || p.Annotations["a"] != "b" || p.Annotations[annotationSource] != "api" {
			t.Errorf("metadata: %+v", p.ObjectMeta)
		}
		seen := p.Annotations[annotationSeen]
		time.Sleep(time.Minute)
		changed := newPod("a", "1")
		changed.Labels = map[string]string{"new": "label"}
		if _, err := client.CoreV1().Pods("default").Update(t.Context(), changed, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		p = (<-out)[0]
		if p.Labels["new"] != "label" || seen == "" || p.Annotations[annotationSeen] != seen {
			t.Errorf("after an update: %+v, first seen %s", p.ObjectMeta, seen)
		}
		for _, a := range client.Actions() {
			if l, ok := a.(clienttesting.ListActionImpl); ok && l.ListRestrictions.Fields.String() != "spec.nodeName=node-1" {
				t.Errorf("listed with %q", l.ListRestrictions.Fields)
			}
		}
	})
}

func TestBurstMakesOneSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		out, stop := start(t, client)
		defer stop()
		<-out
		time.Sleep(time.Second)
		begin := time.Now()
		setPods(t, client, []string{"first"})
		if got := names(<-out); got != "first" || time.Since(begin) != 0 {
			t.Fatalf("got %q after %s", got, time.Since(begin))
		}
		var all []string
		for i := range 50 {
			all = append(all, fmt.Sprintf("p%02d", i))
		}
		setPods(t, client, all)
		if set := <-out; len(set) != 50 || time.Since(begin) > burst {
			t.Fatalf("%d pods after %s", len(set), time.Since(begin))
		}
		time.Sleep(time.Second)
		select {
		case set := <-out:
			t.Fatalf("one more set: %s", names(set))
		default:
		}
	})
}

func TestOutageSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(newPod("a", "1"))
		var down atomic.Bool
		down.Store(true)
		client.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
			return down.Load(), nil, errors.New("connection refused")
		})
		out, stop := start(t, client)
		defer stop()
		time.Sleep(5 * time.Minute)
		select {
		case set := <-out:
			t.Fatalf("a set of %d pods although the list failed", len(set))
		default:
		}
		down.Store(false)
		if got := names(<-out); got != "a" {
			t.Fatalf("got %q", got)
		}
	})
}

func TestReplacedUnderTheSameName(t *testing.T) {
	s := newStore(time.Now)
	if err := s.Replace([]any{newPod("a", "1")}, ""); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(newPod("a", "2")); err != nil {
		t.Fatal(err)
	}
	if set := s.pods(); len(set) != 1 || set[0].UID != "2" {
		t.Fatalf("got %v", set)
	}
	if err := s.Add(&corev1.Node{}); err == nil {
		t.Error("a Node was accepted as a pod")
	}
}

func TestNewChecksItsArguments(t *testing.T) {
	if _, err := New(nil, "n", nil); err == nil {
		t.Error("no client was accepted")
	}
	if _, err := New(fake.NewClientset(), "", nil); err == nil {
		t.Error("no name was accepted")
	}
}
