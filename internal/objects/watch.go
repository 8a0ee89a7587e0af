package objects

import (
	"context"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// watchTimeout is the shortest life of a watch, the kubelet's for single objects.
// There are many of them, and each renewal is a request.
const watchTimeout = 30 * time.Minute

// resource is a kind of objects, as the API spells it.
type resource string

const (
	configMaps resource = "configmaps"
	secrets    resource = "secrets"
)

func (r resource) singular() string {
	if r == secrets {
		return "secret"
	}
	return "configmap"
}

// watchEntry keeps an entry up to date until ctx ends or the entry is stopped.
func (s *Store) watchEntry(ctx context.Context, e *entry) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !e.start(cancel) {
		return
	}
	// The first list is not served from the API server's cache, which may be behind:
	// a ConfigMap that was made just before its pod would seem to be missing, and an
	// immutable object that was replaced under its name would stay the old one.
	from := request{selector: fields.OneTermEqualSelector("metadata.name", e.key.name).String(), latest: true, failures: e.failures}
	var lw *cache.ListWatch
	var example runtime.Object
	switch e.key.resource {
	case configMaps:
		lw, example = listWatch(s.client.CoreV1().ConfigMaps(e.key.namespace), from), &corev1.ConfigMap{}
	case secrets:
		lw, example = listWatch(s.client.CoreV1().Secrets(e.key.namespace), from), &corev1.Secret{}
	}
	reflect(ctx, e.key.String(), lw, example, sink{entry: e, tell: s.tell})
}

// watchServices keeps the services up to date until ctx ends.
func (s *Store) watchServices(ctx context.Context) {
	from := request{selector: fields.OneTermNotEqualSelector("spec.clusterIP", corev1.ClusterIPNone).String(), failures: s.services.failures}
	reflect(ctx, "services", listWatch(s.client.CoreV1().Services(metav1.NamespaceAll), from), &corev1.Service{}, s.services)
}

// watchClasses keeps the RuntimeClasses up to date until ctx ends. There are few, and
// the node may read all.
func (s *Store) watchClasses(ctx context.Context) {
	from := request{failures: s.classes.failures}
	reflect(ctx, "runtime classes", listWatch(s.client.NodeV1().RuntimeClasses(), from), &nodev1.RuntimeClass{}, s.classes)
}

// request is what a reflector asks for.
type request struct {
	selector string
	// latest: the first list is the newest state, not that of a cache.
	latest   bool
	failures *failures
}

// lister is the part of a typed client that a reflector needs.
type lister[L runtime.Object] interface {
	List(ctx context.Context, opts metav1.ListOptions) (L, error)
	Watch(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error)
}

func listWatch[L runtime.Object](client lister[L], from request) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			opts.FieldSelector = from.selector
			if from.latest && opts.ResourceVersion == "0" {
				opts.ResourceVersion = ""
			}
			list, err := client.List(ctx, opts)
			if err != nil {
				return nil, from.failures.add(ctx, "listing", err)
			}
			return list, nil
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			opts.FieldSelector = from.selector
			w, err := client.Watch(ctx, opts)
			if err != nil {
				return nil, from.failures.add(ctx, "watching", err)
			}
			return w, nil
		},
	}
}

// reflect runs a reflector until ctx ends. It is silent: what fails is said once by
// failures, and the reflector's own lines and errors could quote an object.
func reflect(ctx context.Context, name string, lw *cache.ListWatch, example runtime.Object, to cache.ReflectorStore) {
	silent := logr.Discard()
	r := cache.NewReflectorWithOptions(cache.ToListWatcherWithWatchListSemantics(lw, listFirst{}), example, to,
		cache.ReflectorOptions{Name: name, Logger: &silent, MinWatchTimeout: watchTimeout})
	ctx = klog.NewContext(ctx, silent)
	// Until returns why it ended, which is ctx; a failure is no reason to.
	_ = pauses().DelayWithReset(clock.RealClock{}, 2*time.Minute).Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		_ = r.ListAndWatchWithContext(ctx) // failures has it
		return false, nil
	})
}

// pauses are between the attempts of one reflector, as client-go has them: from
// about a second to about half a minute, and from the beginning every two minutes.
func pauses() *wait.Backoff {
	return &wait.Backoff{Duration: 800 * time.Millisecond, Cap: 30 * time.Second, Steps: 40, Factor: 2, Jitter: 1}
}

// listFirst has reflectors list and then watch. The stream that does both at once
// sleeps between its attempts for up to a minute without looking whether it is still
// wanted, and would hold up the end of the agent during an outage.
type listFirst struct{}

// IsWatchListSemanticsUnSupported is what client-go looks for.
func (listFirst) IsWatchListSemanticsUnSupported() bool { return true }
