//go:build e2e

package volumediff

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
	"nodeagent.dev/nodeagent/test/diff"
)

// patience bounds how long pods take to settle; on a machine of their own all of
// them take a minute.
const patience = 200 * time.Second

// wanted limits a run, see podsEnv.
func wanted(t *testing.T, all []Case) []Case {
	t.Helper()
	pattern := os.Getenv(podsEnv)
	if pattern == "" {
		return all
	}
	return slices.DeleteFunc(all, func(c Case) bool {
		ok, err := path.Match(pattern, c.Pod.Name)
		bedtest.Must(t, "reading "+podsEnv, err)
		return !ok
	})
}

// run starts a bed with the agent, runs all pods on it, and returns their facts
// and who did not settle.
func run(t *testing.T, agent string, only map[string]bool) (facts map[string]diff.Facts, unsettled []string) {
	t.Helper()
	b := bed.Start(t, bed.Options{Agent: agent, KubeletConfig: func(config map[string]any) {
		config["kubeAPIQPS"], config["kubeAPIBurst"] = 500, 1000
		config["eventRecordQPS"], config["registryPullQPS"] = 0, 0
		config["serializeImagePulls"] = false
	}})
	bedtest.ShowLog(t, b)
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	names := prepare(ctx, t, b)
	all, err := Cases(names)
	bedtest.Must(t, "reading the pods", err)
	all = wanted(t, all)
	if only != nil {
		all = slices.DeleteFunc(all, func(c Case) bool { return !only[c.Pod.Name] })
	}
	c := newCollector(ctx, t, b)
	defer c.conn.Close()

	begin := time.Now()
	r := &runner{collector: c, open: map[string]*Case{}, facts: map[string]diff.Facts{}}
	for i := range all {
		r.open[all[i].Pod.Name] = &all[i]
	}
	r.watch(ctx, b.Client())
	bedtest.Must(t, "creating the pods", r.create(ctx, b.Client()))
	bedtest.Must(t, "following the pods", r.follow(ctx, patience))
	t.Logf("%d pods under %s took %s, the last were %v", len(all), agent,
		time.Since(begin).Round(100*time.Millisecond), r.settled[max(0, len(r.settled)-5):])
	return r.facts, slices.Sorted(maps.Keys(r.open))
}

// runner follows pods until they have settled.
type runner struct {
	collector *collector
	// open are the pods that have not settled.
	open map[string]*Case
	// settled are the others, in order, with the time they took.
	settled []string

	pods, events cache.Store
	// changed has an element when something did.
	changed chan struct{}

	mu    sync.Mutex
	facts map[string]diff.Facts
}

// watch keeps pods and events up to date.
func (r *runner) watch(ctx context.Context, client kubernetes.Interface) {
	r.changed = make(chan struct{}, 1)
	signal := func() {
		select {
		case r.changed <- struct{}{}:
		default:
		}
	}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(metav1.NamespaceDefault))
	for _, informer := range []cache.SharedIndexInformer{factory.Core().V1().Pods().Informer(), factory.Core().V1().Events().Informer()} {
		_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{ // fails only once stopped
			AddFunc: func(any) { signal() }, UpdateFunc: func(any, any) { signal() },
		})
	}
	r.pods = factory.Core().V1().Pods().Informer().GetStore()
	r.events = factory.Core().V1().Events().Informer().GetStore()
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
}

func (r *runner) create(ctx context.Context, client kubernetes.Interface) error {
	var creating errgroup.Group
	creating.SetLimit(8)
	names := slices.Sorted(maps.Keys(r.open))
	errs := make([]error, len(names))
	for i, name := range names {
		creating.Go(func() error {
			if _, err := client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, r.open[name].Pod, metav1.CreateOptions{}); err != nil {
				errs[i] = fmt.Errorf("create pod %s: %w", name, err)
			}
			return nil
		})
	}
	_ = creating.Wait() // none returns an error
	return errors.Join(errs...)
}

// follow collects the facts of each pod once it has settled, and in the end those
// of the others, which stay in r.open.
func (r *runner) follow(ctx context.Context, limit time.Duration) error {
	end := time.NewTimer(limit)
	defer end.Stop()
	var looking errgroup.Group
	looking.SetLimit(4)
	late, begin := false, time.Now()
	for len(r.open) > 0 && !late {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for pods to settle: %w", ctx.Err())
		case <-end.C:
			late = true
		case <-r.changed:
		}
		for _, name := range slices.Sorted(maps.Keys(r.open)) {
			p, warnings, settled := r.look(r.open[name])
			if p == nil || !settled && !late {
				continue
			}
			one := r.open[name]
			if settled {
				delete(r.open, name)
				r.settled = append(r.settled, fmt.Sprintf("%s after %s", name, time.Since(begin).Round(time.Second)))
			}
			looking.Go(func() error {
				facts, err := r.collector.look(ctx, one, p, warnings)
				if err != nil {
					return fmt.Errorf("look at pod %s: %w", p.Name, err)
				}
				if !settled {
					facts["settled"] = "no"
				}
				r.mu.Lock()
				r.facts[p.Name] = facts
				r.mu.Unlock()
				if one.Fails() {
					return r.collector.remove(ctx, p)
				}
				return nil
			})
		}
	}
	return looking.Wait() //nolint:wrapcheck // says which
}

// passing are warnings that are over with the next try: the cluster has not done
// its part yet, or the machine is slow.
var passing = regexp.MustCompile(`is not issued yet|no credentials yet|persistentvolumeclaims "[^"]+-scratch" not found|` +
	`timed out waiting for the condition|context deadline exceeded`)

// look returns the pod, its warnings by reason, and whether it has settled.
func (r *runner) look(c *Case) (p *corev1.Pod, warnings map[string][]string, settled bool) {
	item, ok, _ := r.pods.GetByKey(metav1.NamespaceDefault + "/" + c.Pod.Name)
	if !ok {
		return nil, nil, false
	}
	p = item.(*corev1.Pod)
	warnings = map[string][]string{}
	count := 0
	for _, item := range r.events.List() {
		e := item.(*corev1.Event)
		if e.InvolvedObject.UID != p.UID || e.Source.Component != "kubelet" || e.Type != corev1.EventTypeWarning || passing.MatchString(e.Message) {
			continue
		}
		if !slices.Contains(warnings[e.Reason], e.Message) {
			warnings[e.Reason] = append(warnings[e.Reason], e.Message)
			if c.Reason == "" || c.Reason == e.Reason {
				count++
			}
		}
	}
	ended := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	switch c.Until {
	case untilEvent:
		settled = count >= c.Count
	case untilWaiting:
		settled = (ended || waits(p)) && count >= c.Count
	default:
		settled = ended
	}
	return p, warnings, settled
}

// waits reports whether a container waits for something else than its turn.
func waits(p *corev1.Pod) bool {
	return slices.ContainsFunc(slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses), func(s corev1.ContainerStatus) bool {
		return s.State.Waiting != nil && !inTurn(s.State.Waiting)
	})
}

// inTurn reports whether a container waits for nothing but its turn.
func inTurn(w *corev1.ContainerStateWaiting) bool {
	return slices.Contains([]string{"", "ContainerCreating", "PodInitializing"}, w.Reason)
}
