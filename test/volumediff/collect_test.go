//go:build e2e

package volumediff

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
	"nodeagent.dev/nodeagent/test/diff"
)

// collector looks at pods on a bed.
type collector struct {
	bed     *bed.Bed
	conn    *grpc.ClientConn
	runtime runtimeapi.RuntimeServiceClient
	common  *diff.Normaliser
}

func newCollector(ctx context.Context, t *testing.T, b *bed.Bed) *collector {
	t.Helper()
	conn, err := b.Runtime()
	bedtest.Must(t, "connecting to the runtime", err)
	common := &diff.Normaliser{}
	common.Name(b.RootDir, "$ROOT")
	common.Name(b.PodLogsDir, "$LOGS")
	common.Name(b.Dir, "$BED")
	common.Name(b.CgroupRoot, "$CGROUP")
	common.Name(b.NodeName, "$NODE")
	common.Name(b.Registry, "$REGISTRY")
	common.Name(b.Name, "$NAME")
	common.Word(b.NodeIP, "$NODEIP")
	// Each bed has an authority of its own, as does look say it.
	root, err := b.Client().CoreV1().ConfigMaps(metav1.NamespaceDefault).Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
	bedtest.Must(t, "reading the bed's authority", err)
	ca := []byte(root.Data["ca.crt"])
	common.Name(fmt.Sprintf("[%d sha256:%x]", len(ca), sha256.Sum256(ca)), "$CA")
	return &collector{bed: b, conn: conn, runtime: runtimeapi.NewRuntimeServiceClient(conn), common: common}
}

// look collects everything about a pod that has settled.
func (c *collector) look(ctx context.Context, one *Case, p *corev1.Pod, warnings map[string][]string) (diff.Facts, error) {
	n := c.common.Clone()
	n.Name(string(p.UID), "$UID")
	n.Word(p.Status.PodIP, "$PODIP")
	facts := diff.Facts{"phase": string(p.Status.Phase) + " " + p.Status.Reason}
	for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if text := state(s.State); text != "" {
			facts[s.Name+": state"] = text
		}
		if s.State.Terminated == nil || s.State.Terminated.Reason == "StartError" {
			continue
		}
		if err := c.said(ctx, facts, p, s.Name); err != nil {
			return nil, err
		}
	}
	if one.Until != untilEnd {
		for key, texts := range byVolume(warnings) {
			for i := range texts {
				texts[i] = nameless(n.Text(texts[i]))
			}
			slices.Sort(texts)
			facts[key] = strings.Join(slices.Compact(texts), "\n")
		}
	}
	if err := c.asked(ctx, facts, p); err != nil {
		return nil, err
	}
	facts = facts.Normalised(n)
	for key, value := range facts {
		facts[key] = nameless(value)
		if strings.HasSuffix(key, ".host_id") && len(value) > 5 {
			facts[key] = "$RANGE" // of users, of which each pod has its own
		}
	}
	return facts, nil
}

var ofVolume = regexp.MustCompile(`for volume "([^"]+)" :`)

// byVolume sorts warnings by reason and, where they name one, volume.
func byVolume(warnings map[string][]string) map[string][]string {
	all := map[string][]string{}
	for reason, texts := range warnings {
		for _, text := range texts {
			key := "events[" + reason + "]"
			if named := ofVolume.FindStringSubmatch(text); named != nil {
				key = "events[" + reason + " " + named[1] + "]"
			}
			all[key] = append(all[key], text)
		}
	}
	return all
}

// remove deletes a pod that would be tried again and again.
func (c *collector) remove(ctx context.Context, p *corev1.Pod) error {
	err := c.bed.Client().CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))})
	if err != nil {
		return fmt.Errorf("delete pod %s: %w", p.Name, err)
	}
	return nil
}

// What is random and no normaliser knows.
var (
	accountVolume = regexp.MustCompile(`kube-api-access-[a-z0-9]{5}\b`)
	snapshot      = regexp.MustCompile(`snapshots/\d+`)
	sandboxFiles  = regexp.MustCompile(`sandboxes/[0-9a-f$A-Z]+`)
	generation    = regexp.MustCompile(`\.\.\d{4}(_\d\d){5}\.\d+`)
	request       = regexp.MustCompile(`\breq-[a-z0-9]{5}\b`)
	descriptor    = regexp.MustCompile(`/fd/\d+`)
)

func nameless(s string) string {
	s = accountVolume.ReplaceAllString(s, "kube-api-access-$$RANDOM")
	s = snapshot.ReplaceAllString(s, "snapshots/$$N")
	s = sandboxFiles.ReplaceAllString(s, "sandboxes/$$ID")
	s = generation.ReplaceAllString(s, "..TIME")
	s = request.ReplaceAllString(s, "req-$$RANDOM")
	return descriptor.ReplaceAllString(s, "/fd/$$N")
}

// state tells a container's state without times, and nothing of one whose turn has
// not come. Whether an image is being pulled or waited for is a matter of the
// moment.
func state(s corev1.ContainerState) string {
	switch {
	case s.Terminated != nil:
		return fmt.Sprintf("ended %d %s %s", s.Terminated.ExitCode, s.Terminated.Reason, s.Terminated.Message)
	case s.Running != nil:
		return "running"
	case s.Waiting == nil || inTurn(s.Waiting):
		return ""
	case slices.Contains([]string{"ErrImagePull", "ImagePullBackOff"}, s.Waiting.Reason):
		return "waits for an image"
	}
	return strings.TrimSpace("waits " + s.Waiting.Reason + " " + s.Waiting.Message)
}

// said takes in what a container wrote: the facts of look, and complaints.
func (c *collector) said(ctx context.Context, facts diff.Facts, p *corev1.Pod, name string) error {
	text, err := c.bed.Client().CoreV1().Pods(p.Namespace).GetLogs(p.Name, &corev1.PodLogOptions{Container: name}).DoRaw(ctx)
	if err != nil {
		return fmt.Errorf("read the log of container %s: %w", name, err)
	}
	for line := range bytes.Lines(text) {
		var fact struct{ Key, Value string }
		if json.Unmarshal(line, &fact) == nil && fact.Key != "" {
			facts[name+": "+fact.Key] = fact.Value
		} else {
			facts[name+": complaints"] += string(line)
		}
	}
	return nil
}

// asked takes in the mounts that the agent asked the runtime for.
func (c *collector) asked(ctx context.Context, facts diff.Facts, p *corev1.Pod) error {
	list, err := c.runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{
		Filter: &runtimeapi.ContainerFilter{LabelSelector: map[string]string{"io.kubernetes.pod.uid": string(p.UID)}}})
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	for _, item := range list.GetContainers() {
		resp, err := c.runtime.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: item.GetId(), Verbose: true})
		if err != nil {
			return fmt.Errorf("ask for container %s: %w", item.GetMetadata().GetName(), err)
		}
		var verbose struct {
			Config struct {
				Mounts []map[string]any `json:"mounts"`
			} `json:"config"`
		}
		if err := json.Unmarshal([]byte(resp.GetInfo()["info"]), &verbose); err != nil {
			return fmt.Errorf("read the configuration of container %s: %w", item.GetMetadata().GetName(), err)
		}
		for _, m := range verbose.Config.Mounts {
			if err := facts.Add(fmt.Sprintf("%s: asked[%v]", item.GetMetadata().GetName(), m["container_path"]), m); err != nil {
				return err //nolint:wrapcheck // says what
			}
		}
	}
	return nil
}
