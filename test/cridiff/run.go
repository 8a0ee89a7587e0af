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

const (
	tick = 200 * time.Millisecond
	// quiet is how long nothing has to be asked for before an agent is taken to
	// be done although something is missing: longer than a back-off.
	quiet = 12 * time.Second
	// settle is how long pods get that do not come up.
	settle = 5 * time.Second
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
}

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
	containers := map[string][2]string{}
	for _, k := range s.fake.Snapshot().Containers {
		containers[k.ID] = [2]string{strings.TrimSuffix(k.PodName, "-"+s.target.Node), k.Name}
	}
	result, err := s.corpus.factsOf(calls, s.target.Node, containers, s.target.Places)
	if err != nil {
		return nil, err
	}
	result.Agent, result.Missing = agent, missing
	return result, nil
}

// wait returns when all containers that are expected have been started, or when
// the agent has stopped asking for anything.
func (s *Session) wait(ctx context.Context) (missing []string, err error) {
	begin := time.Now()
	last, change := -1, begin
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	debugged := map[string]bool{}
	for {
		missing = s.missing()
		for i := range s.corpus.Pods {
			p := &s.corpus.Pods[i]
			if len(p.Ephemeral) == 0 || debugged[p.Name] || !p.upTo(missing) {
				continue
			}
			debugged[p.Name] = true
			if err := s.target.debug(ctx, p); err != nil {
				return missing, err
			}
		}
		journal := s.fake.Journal()
		if len(journal) != last {
			last, change = len(journal), time.Now()
		}
		if len(missing) == 0 && time.Since(begin) > settle || time.Since(change) > quiet {
			return missing, nil
		}
		select {
		case <-ctx.Done():
			return missing, fmt.Errorf("wait for the containers of the corpus: %w; missing: %v", ctx.Err(), missing)
		case <-ticker.C:
		}
	}
}

// upTo reports whether nothing but ephemeral containers is missing of the pod.
func (p *Pod) upTo(missing []string) bool {
	own := 0
	for _, m := range missing {
		if strings.HasPrefix(m, p.Name+": ") {
			own++
		}
	}
	return own <= len(p.Ephemeral)
}

// missing lists the containers that have not been started.
func (s *Session) missing() []string {
	started := map[string]bool{}
	for _, e := range s.fake.Journal() {
		if e.Verb == "StartContainer" {
			started[fmt.Sprintf("%s %s/%d", e.PodUID, e.Name, e.Attempt)] = true
		}
	}
	uids := map[string]string{}
	for _, sb := range s.fake.Snapshot().Sandboxes {
		uids[strings.TrimSuffix(sb.Name, "-"+s.target.Node)] = sb.PodUID
	}
	var missing []string
	for i := range s.corpus.Pods {
		p := &s.corpus.Pods[i]
		for _, want := range p.Expected() {
			if !started[uids[p.Name]+" "+want] {
				missing = append(missing, p.Name+": "+want)
			}
		}
	}
	slices.Sort(missing)
	return missing
}

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

// debug adds the ephemeral containers to a pod.
func (t *Target) debug(ctx context.Context, p *Pod) error {
	pods := t.Client.CoreV1().Pods(p.Namespace)
	for {
		made, err := pods.Get(ctx, p.Name, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("read pod %s: %w", p.Name, err)
		}
		made.Spec.EphemeralContainers = p.Ephemeral
		_, err = pods.UpdateEphemeralContainers(ctx, p.Name, made, metav1.UpdateOptions{})
		if err == nil {
			return nil
		}
		if !apierrors.IsConflict(err) {
			return fmt.Errorf("add ephemeral containers to pod %s: %w", p.Name, err)
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
