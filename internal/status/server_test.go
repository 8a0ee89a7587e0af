package status

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

var podResource = schema.GroupResource{Resource: "pods"}

// call is one request the server got.
type call struct {
	verb, name string
	at         time.Time
	patch      map[string]any
	options    metav1.DeleteOptions
}

// server is an API server that holds pods. Unlike client-go's fake it serves
// requests side by side and lets them hang. What the writer has no business
// calling, a GET above all, is not there and panics.
type server struct {
	mu      sync.Mutex
	version int
	pods    map[string]*corev1.Pod
	calls   []call
	busy    map[string]int
	// most is the largest number of requests for one pod, and in all, at a time.
	most, mostAll int
	// rule may hold a request or fail it; it runs before the effect.
	rule func(ctx context.Context, c call) error
}

func newServer(pods ...*corev1.Pod) *server {
	s := &server{pods: map[string]*corev1.Pod{}, busy: map[string]int{}}
	for _, p := range pods {
		s.version++
		p.ResourceVersion = strconv.Itoa(s.version)
		s.pods[p.Name] = p
	}
	return s
}

func (s *server) Pods(string) typedcorev1.PodInterface { return client{server: s} }

type client struct {
	typedcorev1.PodInterface
	server *server
}

// enter counts the request and lets the rule decide on it.
func (s *server) enter(ctx context.Context, c call) (leave func(), err error) {
	c.at = time.Now()
	s.mu.Lock()
	s.calls = append(s.calls, c)
	s.busy[c.name]++
	all := 0
	for _, n := range s.busy {
		all += n
	}
	s.most, s.mostAll = max(s.most, s.busy[c.name]), max(s.mostAll, all)
	rule := s.rule
	s.mu.Unlock()
	if rule != nil {
		err = rule(ctx, c)
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.busy[c.name]--
	}, err
}

func (c client) Patch(ctx context.Context, name string, kind types.PatchType, data []byte, _ metav1.PatchOptions, sub ...string) (*corev1.Pod, error) {
	s := c.server
	if kind != types.StrategicMergePatchType || !slices.Equal(sub, []string{"status"}) {
		return nil, fmt.Errorf("unexpected patch of kind %s to %v", kind, sub)
	}
	var patch map[string]any
	if err := json.Unmarshal(data, &patch); err != nil {
		return nil, err
	}
	leave, err := s.enter(ctx, call{verb: "patch", name: name, patch: patch})
	defer leave()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pods[name]
	if p == nil {
		return nil, apierrors.NewNotFound(podResource, name)
	}
	if meta, _ := patch["metadata"].(map[string]any); meta["uid"] != string(p.UID) {
		return nil, apierrors.NewConflict(podResource, name, fmt.Errorf("UID in precondition: %v, UID in object meta: %s", meta["uid"], p.UID))
	}
	before, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	after, err := strategicpatch.StrategicMergePatch(before, data, corev1.Pod{})
	if err != nil {
		return nil, err
	}
	next := &corev1.Pod{}
	if err := json.Unmarshal(after, next); err != nil {
		return nil, err
	}
	s.version++
	next.ResourceVersion = strconv.Itoa(s.version)
	s.pods[name] = next
	return next.DeepCopy(), nil
}

func (c client) Delete(ctx context.Context, name string, o metav1.DeleteOptions) error {
	s := c.server
	leave, err := s.enter(ctx, call{verb: "delete", name: name, options: o})
	defer leave()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pods[name] == nil {
		return apierrors.NewNotFound(podResource, name)
	}
	delete(s.pods, name)
	return nil
}

// change lets somebody else write an object.
func (s *server) change(name string, f func(p *corev1.Pod)) *corev1.Pod {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pods[name].DeepCopy()
	f(p)
	s.version++
	p.ResourceVersion = strconv.Itoa(s.version)
	s.pods[name] = p
	return p.DeepCopy()
}

func (s *server) pod(name string) *corev1.Pod {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pods[name]
}

func (s *server) message(name string) string {
	if p := s.pod(name); p != nil {
		return p.Status.Message
	}
	return "(no pod)"
}

func (s *server) requests() []call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

func (s *server) setRule(rule func(ctx context.Context, c call) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rule = rule
}
