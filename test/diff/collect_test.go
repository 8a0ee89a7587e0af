//go:build e2e

package diff

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/test/bed"
)

// collector looks at pods on a bed.
type collector struct {
	bed     *bed.Bed
	conn    *grpc.ClientConn
	runtime runtimeapi.RuntimeServiceClient
	tracker *tracker
	common  *Normaliser
	// turns bounds how many pods are looked at at once.
	turns chan struct{}
}

func newCollector(ctx context.Context, b *bed.Bed) (*collector, error) {
	conn, err := b.Runtime()
	if err != nil {
		return nil, err
	}
	common := &Normaliser{}
	common.Name(b.RootDir, "$ROOT")
	common.Name(b.PodLogsDir, "$LOGS")
	common.Name(b.Dir, "$BED")
	common.Name(b.CgroupRoot, "$CGROUP")
	common.Name(b.NodeName, "$NODE")
	common.Name(b.Registry, "$REGISTRY")
	common.Name(b.Name, "$NAME")
	common.Word(b.NodeIP, "$NODEIP")
	return &collector{
		bed: b, conn: conn, runtime: runtimeapi.NewRuntimeServiceClient(conn),
		tracker: track(ctx, b), common: common, turns: make(chan struct{}, 4),
	}, nil
}

// sight is one look at a pod.
type sight struct {
	pod   *corev1.Pod
	facts Facts
	norm  *Normaliser
}

// look collects everything about a pod as it is now.
func (c *collector) look(ctx context.Context, p *corev1.Pod) (Facts, error) {
	c.turns <- struct{}{}
	defer func() { <-c.turns }()
	s := c.sight(p)
	for _, part := range []func(context.Context, *sight) error{c.sandboxes, c.containers, c.events} {
		if err := part(ctx, s); err != nil {
			return nil, err
		}
	}
	if err := s.facts.Add("status", p.Status); err != nil {
		return nil, err
	}
	if err := c.disk(s); err != nil {
		return nil, err
	}
	return s.facts.Normalised(s.norm), nil
}

// lookBack collects what there is of a pod whose object is gone. The runtime
// and the logs are left out: the kubelet collects that garbage every minute.
func (c *collector) lookBack(ctx context.Context, p *corev1.Pod) (Facts, error) {
	c.turns <- struct{}{}
	defer func() { <-c.turns }()
	s := c.sight(p)
	if err := c.events(ctx, s); err != nil {
		return nil, err
	}
	if err := s.facts.Add("status", p.Status); err != nil {
		return nil, err
	}
	if err := c.directory(s); err != nil {
		return nil, err
	}
	if err := c.cgroups(s); err != nil {
		return nil, err
	}
	return s.facts.Normalised(s.norm), nil
}

func (c *collector) sight(p *corev1.Pod) *sight {
	s := &sight{pod: p, facts: Facts{}, norm: c.common.Clone()}
	s.norm.Name(string(p.UID), "$UID")
	if !p.Spec.HostNetwork {
		s.norm.Word(p.Status.PodIP, "$PODIP")
	}
	return s
}

func (s *sight) labels() map[string]string {
	return map[string]string{"io.kubernetes.pod.uid": string(s.pod.UID)}
}

func (c *collector) sandboxes(ctx context.Context, s *sight) error {
	list, err := c.runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{Filter: &runtimeapi.PodSandboxFilter{LabelSelector: s.labels()}})
	if err != nil {
		return fmt.Errorf("list sandboxes: %w", err)
	}
	for _, item := range list.GetItems() {
		name := fmt.Sprintf("sandbox[%d]", item.GetMetadata().GetAttempt())
		s.norm.Word(item.GetId(), "$SANDBOX")
		resp, err := c.runtime.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: item.GetId(), Verbose: true})
		if err != nil {
			return fmt.Errorf("ask for %s: %w", name, err)
		}
		if err := s.facts.Add(name, resp.GetStatus()); err != nil {
			return err
		}
		if err := s.config(name, resp.GetInfo()); err != nil {
			return err
		}
	}
	return nil
}

func (c *collector) containers(ctx context.Context, s *sight) error {
	list, err := c.runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{LabelSelector: s.labels()}})
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	for _, item := range list.GetContainers() {
		name := fmt.Sprintf("container[%s/%d]", item.GetMetadata().GetName(), item.GetMetadata().GetAttempt())
		s.norm.Word(item.GetId(), "$"+strings.ToUpper(name))
		resp, err := c.runtime.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: item.GetId(), Verbose: true})
		if err != nil {
			return fmt.Errorf("ask for %s: %w", name, err)
		}
		if err := s.facts.Add(name, resp.GetStatus()); err != nil {
			return err
		}
		if err := s.config(name, resp.GetInfo()); err != nil {
			return err
		}
	}
	return nil
}

// config takes in what the runtime was asked for, which it tells the verbose.
func (s *sight) config(name string, info map[string]string) error {
	var verbose struct {
		Config map[string]any `json:"config"`
	}
	if err := json.Unmarshal([]byte(info["info"]), &verbose); err != nil {
		return fmt.Errorf("read the configuration of %s: %w", name, err)
	}
	for _, said := range []string{"labels", "annotations", "metadata"} {
		delete(verbose.Config, said) // the status has them too
	}
	return s.facts.Add(name+".config", verbose.Config)
}

// events are a set for each reason and part of the pod.
func (c *collector) events(ctx context.Context, s *sight) error {
	list, err := c.bed.Client().CoreV1().Events(s.pod.Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("involvedObject.uid", string(s.pod.UID)).String()})
	if err != nil {
		return fmt.Errorf("list events: %w", err)
	}
	sets := map[string][]string{}
	for i := range list.Items {
		e := &list.Items[i]
		if e.Source.Component != "kubelet" {
			continue // the scheduler and the controllers
		}
		key := "events[" + e.Reason + " " + e.InvolvedObject.FieldPath + "]"
		text := s.norm.Text(fmt.Sprintf("%s: %s (%s by %s on %s)", e.Type, e.Message,
			e.InvolvedObject.APIVersion, e.ReportingController, e.Source.Host))
		if !slices.Contains(sets[key], text) {
			sets[key] = append(sets[key], text)
		}
	}
	for key, set := range sets {
		slices.Sort(set)
		s.facts[key] = strings.Join(set, "\n")
	}
	return nil
}
