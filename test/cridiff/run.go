package cridiff

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"nodeagent.dev/nodeagent/test/diff"
	"nodeagent.dev/nodeagent/test/fakecri"
)

// Target is a node that runs the corpus.
type Target struct {
	// Client is the administrator's.
	Client kubernetes.Interface
	// Node is the node's name.
	Node string
	// Manifests is the agent's staticPodPath.
	Manifests string
	// Socket is where the agent looks for its runtime.
	Socket string
	// CgroupDriver is what the runtime says: cgroupfs or systemd.
	CgroupDriver string
	// Places replaces what is special about the node: folders, names, addresses.
	Places *diff.Normaliser
	// Slowness is how many times longer than on a usual machine things take; 0 is
	// one. An agent has to be silent for that much longer to count as done.
	Slowness int
}

// times is how long d is on the target.
func (t *Target) times(d time.Duration) time.Duration { return d * time.Duration(max(t.Slowness, 1)) }

// Prepare makes what the pods refer to. It is done once for a node.
func (t *Target) Prepare(ctx context.Context, c *Corpus) error {
	for _, object := range c.Objects {
		if err := t.create(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

// WaitReady asks every so often until the node is ready.
func (t *Target) WaitReady(ctx context.Context, every time.Duration) error {
	for {
		node, err := t.Client.CoreV1().Nodes().Get(ctx, t.Node, metav1.GetOptions{})
		if err == nil && slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		}) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for node %s to be ready: %w", t.Node, errors.Join(ctx.Err(), err))
		case <-time.After(every):
		}
	}
}

// Open starts the runtime of one run. The agent may be started now.
func (t *Target) Open(c *Corpus) (*Session, error) {
	fake := fakecri.New(c.Runtime(t.CgroupDriver))
	conn, err := fake.Dial()
	if err != nil {
		fake.Close()
		return nil, fmt.Errorf("connect to the fake runtime: %w", err)
	}
	recorder, err := Record(t.Socket, conn)
	if err != nil {
		_ = conn.Close()
		fake.Close()
		return nil, err
	}
	return &Session{target: t, corpus: c, fake: fake, conn: conn, recorder: recorder}, nil
}

// Session is a runtime that an agent works with.
type Session struct {
	target   *Target
	corpus   *Corpus
	fake     *fakecri.Server
	conn     *grpc.ClientConn
	recorder *Recorder
}

// Close ends the runtime and everything in it.
func (s *Session) Close() {
	s.recorder.Close()
	_ = s.conn.Close()
	s.fake.Close()
}

// Run gives the agent all pods and returns what it asked for. Pods stay; see
// [Target.Clear].
func (s *Session) Run(ctx context.Context, agent string) (*Result, error) {
	var starting errgroup.Group
	starting.SetLimit(8)
	errs := make([]error, len(s.corpus.Pods))
	for i := range s.corpus.Pods {
		starting.Go(func() error {
			errs[i] = s.target.start(ctx, &s.corpus.Pods[i])
			return nil
		})
	}
	_ = starting.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	missing, err := s.wait(ctx)
	if err != nil {
		return nil, err
	}
	calls, err := s.recorder.Calls()
	if err != nil {
		return nil, err
	}
	result, err := s.corpus.factsOf(calls, s.target.Node, s.identities(), s.target.Places)
	if err != nil {
		return nil, err
	}
	result.Agent, result.Missing = agent, missing
	return result, nil
}

// identities tells what the identities of the fake stand for.
func (s *Session) identities() identities {
	ids := identities{containers: map[string][2]string{}, sandboxes: map[string]string{}}
	all := s.fake.Snapshot()
	for _, k := range all.Containers {
		ids.containers[k.ID] = [2]string{s.target.plain(k.PodName), k.Name}
	}
	for _, sb := range all.Sandboxes {
		ids.sandboxes[sb.ID] = s.target.plain(sb.Name)
	}
	return ids
}

// plain is the name of a pod as the corpus has it: that of a static pod has the
// node's behind it.
func (t *Target) plain(name string) string { return strings.TrimSuffix(name, "-"+t.Node) }

// start gives a pod to the agent.
func (t *Target) start(ctx context.Context, p *Pod) error {
	if p.Static {
		text, err := yaml.Marshal(p.Pod)
		if err != nil {
			return fmt.Errorf("write pod %s: %w", p.Name, err)
		}
		// A file whose name begins with a dot is not read while it is written.
		file := filepath.Join(t.Manifests, p.Name+".yaml")
		temporary := filepath.Join(t.Manifests, "."+p.Name)
		if err := os.WriteFile(temporary, text, 0o600); err != nil {
			return fmt.Errorf("write the manifest of %s: %w", p.Name, err)
		}
		return os.Rename(temporary, file) //nolint:wrapcheck // says what it did
	}
	pod := p.DeepCopy()
	pod.Spec.NodeName = t.Node
	pods := t.Client.CoreV1().Pods(p.Namespace)
	for {
		_, err := pods.Create(ctx, pod, metav1.CreateOptions{})
		if err == nil {
			return nil
		}
		// A new namespace gets its service account a moment later.
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "serviceaccount") {
			return fmt.Errorf("create pod %s: %w", p.Name, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("create pod %s: %w: %w", p.Name, ctx.Err(), err)
		case <-time.After(tick):
		}
	}
}

// create makes what pods refer to; what exists stays.
func (t *Target) create(ctx context.Context, object runtime.Object) error {
	o := metav1.CreateOptions{}
	var err error
	switch v := object.(type) {
	case *corev1.Namespace:
		_, err = t.Client.CoreV1().Namespaces().Create(ctx, v, o)
	case *corev1.ConfigMap:
		_, err = t.Client.CoreV1().ConfigMaps(namespace(v)).Create(ctx, v, o)
	case *corev1.Secret:
		_, err = t.Client.CoreV1().Secrets(namespace(v)).Create(ctx, v, o)
	case *corev1.Service:
		_, err = t.Client.CoreV1().Services(namespace(v)).Create(ctx, v, o)
	case *corev1.ServiceAccount:
		_, err = t.Client.CoreV1().ServiceAccounts(namespace(v)).Create(ctx, v, o)
	case *nodev1.RuntimeClass:
		_, err = t.Client.NodeV1().RuntimeClasses().Create(ctx, v, o)
	case *schedulingv1.PriorityClass:
		_, err = t.Client.SchedulingV1().PriorityClasses().Create(ctx, v, o)
	default:
		return fmt.Errorf("create a %T: the corpus cannot have it yet, add it to Target.create", object)
	}
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create what pods refer to: %w", err)
	}
	return nil
}

func namespace(o metav1.Object) string {
	if o.GetNamespace() == "" {
		return metav1.NamespaceDefault
	}
	return o.GetNamespace()
}

// Clear takes all pods away at once; the agent has to be stopped.
func (t *Target) Clear(ctx context.Context, c *Corpus) error {
	var errs []error
	spaces := map[string]bool{}
	for i := range c.Pods {
		p := &c.Pods[i]
		spaces[p.Namespace] = true
		if p.Static {
			if err := os.Remove(filepath.Join(t.Manifests, p.Name+".yaml")); err != nil && !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, fmt.Errorf("remove a manifest: %w", err))
			}
		}
	}
	for space := range spaces {
		err := t.Client.CoreV1().Pods(space).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}, metav1.ListOptions{})
		if err != nil {
			errs = append(errs, fmt.Errorf("delete the pods of namespace %s: %w", space, err))
		}
	}
	return errors.Join(errs...)
}
