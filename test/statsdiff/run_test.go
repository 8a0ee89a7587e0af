//go:build e2e

package statsdiff

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"sigs.k8s.io/yaml"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
	"nodeagent.dev/nodeagent/test/bed/images"
	"nodeagent.dev/nodeagent/test/diff"
)

const (
	namespace = bedtest.Namespace
	// patience bounds what takes as long as the machine is slow.
	patience = 5 * time.Minute
	// An agent has said everything when it says the same for so long: cAdvisor
	// looks at things every 10 to 15 seconds.
	steadyFor = 24 * time.Second
	askEvery  = 6 * time.Second
	// steadyLimit is how long that may take.
	steadyLimit = 3 * time.Minute
)

// run starts a bed with the agent, gives it everything to tell of, and asks until
// it says the same again and again.
func run(t *testing.T, agent string, keep func(endpoint string, text []byte)) map[string]diff.Facts {
	t.Helper()
	b := bed.Start(t, options(agent))
	bedtest.ShowLog(t, b)
	host := filepath.Join(b.Dir, "host")
	must(t, "making a folder of the node", os.MkdirAll(host, 0o755))
	names := Names{"NODE": b.NodeName, "HOST": host, "REGISTRY": bed.RegistryHost, "IMAGE": images.BusyboxName, "AGNHOST": images.AgnhostName}
	objects := filepath.Join(b.Dir, "objects.yaml")
	must(t, "writing what pods refer to", os.WriteFile(objects, []byte(Objects(names)), 0o600))
	_, err := b.Kubectl(t.Context(), "create", "-f", objects)
	must(t, "making what pods refer to", err)
	cases, err := Cases(names)
	must(t, "reading the pods", err)
	board := bedtest.WatchPods(t, b, patience)
	for i := range cases {
		start(t, b, &cases[i])
	}
	for _, c := range cases {
		if c.Static {
			must(t, "waiting for a static pod under "+agent, running(t.Context(), b, c.Pod.Name+"-"+b.NodeName))
			continue
		}
		_, err := board.Await(t.Context(), c.Pod.Name, c.Until, bedtest.Settled(c.Settled))
		must(t, "waiting for pods under "+agent, err)
	}
	use(t, b, board)
	facts, texts := ask(t, b)
	for endpoint, text := range texts {
		keep(endpoint, text)
	}
	return facts
}

// start gives a pod to the agent.
func start(t *testing.T, b *bed.Bed, c *Case) {
	t.Helper()
	if !c.Static {
		_, err := b.Client().CoreV1().Pods(namespace).Create(t.Context(), c.Pod, metav1.CreateOptions{})
		must(t, "creating pod "+c.Pod.Name, err)
		return
	}
	text, err := yaml.Marshal(c.Pod)
	must(t, "writing a manifest", err)
	hidden := filepath.Join(b.ManifestDir, "."+c.Pod.Name)
	must(t, "writing a manifest", os.WriteFile(hidden, text, 0o600))
	must(t, "writing a manifest", os.Rename(hidden, filepath.Join(b.ManifestDir, c.Pod.Name+".yaml")))
}

// running asks the runtime until it runs a container of a pod.
func running(ctx context.Context, b *bed.Bed, pod string) error {
	conn, err := b.Runtime()
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	filter := &runtimeapi.ContainerFilter{
		LabelSelector: map[string]string{"io.kubernetes.pod.name": pod},
		State:         &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING},
	}
	for {
		list, err := runtimeapi.NewRuntimeServiceClient(conn).ListContainers(ctx, &runtimeapi.ListContainersRequest{Filter: filter})
		if err != nil {
			return fmt.Errorf("wait for pod %s: %w", pod, err)
		}
		if len(list.GetContainers()) > 0 {
			return nil
		}
		bedtest.Pause(ctx, time.Second)
	}
}

// ask fetches everything until its facts have stayed the same for a while.
func ask(t *testing.T, b *bed.Bed) (facts map[string]diff.Facts, texts map[string][]byte) {
	t.Helper()
	f := newFetcher(t, b)
	facts = map[string]diff.Facts{}
	began, since := time.Now(), time.Now()
	var changed []diff.Difference
	for time.Since(since) < steadyFor {
		if time.Since(began) > steadyLimit {
			t.Errorf("what %s says still changes after %s: %v", b.Agent(), steadyLimit, changed)
			break
		}
		places, err := placesOf(t.Context(), b)
		must(t, "listing what runs", err)
		now, answers, err := f.all(t.Context(), places)
		must(t, "asking "+b.Agent(), err)
		if d := diff.Compare(facts, now); len(d) > 0 {
			changed, since = d, time.Now()
		}
		facts, texts = now, answers
		bedtest.Pause(t.Context(), askEvery)
	}
	t.Logf("%s says the same after %s", b.Agent(), since.Sub(began).Round(time.Second))
	f.answers(t, facts)
	return facts, texts
}

// placesOf knows what is special about the bed and what runs on it.
func placesOf(ctx context.Context, b *bed.Bed) (*Places, error) {
	n := &diff.Normaliser{}
	n.Name(b.RootDir, "$ROOT")
	n.Name(b.Dir, "$BED")
	n.Name(b.CgroupRoot, "$CGROUP")
	n.Name(b.NodeName, "$NODE")
	n.Word(b.NodeIP, "$NODEIP")
	conn, err := b.Runtime()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	client := runtimeapi.NewRuntimeServiceClient(conn)
	sandboxes, err := client.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return nil, fmt.Errorf("list sandboxes: %w", err)
	}
	of := map[string]string{}
	for _, s := range sandboxes.GetItems() {
		pod := strings.TrimSuffix(s.GetMetadata().GetName(), "-"+b.NodeName)
		of[s.GetId()] = pod
		n.Name(s.GetId(), "$SANDBOX("+pod+")")
		n.Name(s.GetMetadata().GetUid(), "$UID("+pod+")")
	}
	containers, err := client.ListContainers(ctx, &runtimeapi.ListContainersRequest{})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	for _, c := range containers.GetContainers() {
		n.Name(c.GetId(), "$CONTAINER("+of[c.GetPodSandboxId()]+"/"+c.GetMetadata().GetName()+")")
	}
	pods, err := b.Client().CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	for _, p := range pods.Items {
		pod := strings.TrimSuffix(p.Name, "-"+b.NodeName)
		n.Name(string(p.UID), "$UID("+pod+")")
	}
	return NewPlaces(n, bed.Base()), nil
}

// use does what is done to pods: exec, logs, port-forward, a resize, an ephemeral
// container, and the end of a pod.
func use(t *testing.T, b *bed.Bed, board *bedtest.Board) {
	t.Helper()
	ctx, pods := t.Context(), b.Client().CoreV1().Pods(namespace)
	for _, args := range [][]string{{"exec", "used", "--", "true"}, {"logs", "used"}, {"logs", "used", "--tail=1"}, {"delete", "pod", "removed"}} {
		_, err := b.Kubectl(ctx, args...)
		must(t, "using pods: "+strings.Join(args, " "), err)
	}
	must(t, "forwarding a port", forward(ctx, b, "used", "8080"))
	patch := []byte(`{"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"30m","memory":"16Mi"},"limits":{"cpu":"80m","memory":"48Mi"}}}]}}`)
	_, err := pods.Patch(ctx, "resized", "application/strategic-merge-patch+json", patch, metav1.PatchOptions{}, "resize")
	must(t, "resizing a pod", err)
	patch, err = json.Marshal(map[string]any{"spec": map[string]any{"ephemeralContainers": []corev1.EphemeralContainer{{
		EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "looks", Image: images.BusyboxName, Command: []string{"sleep", "3600"}},
	}}}})
	must(t, "adding an ephemeral container", err)
	_, err = pods.Patch(ctx, "used", "application/strategic-merge-patch+json", patch, metav1.PatchOptions{}, "ephemeralcontainers")
	must(t, "adding an ephemeral container", err)
	for pod, done := range map[string]func(*corev1.Pod, bool) bool{
		"removed": bedtest.Gone,
		"resized": bedtest.Settled(func(p *corev1.Pod) bool {
			s := p.Status.ContainerStatuses
			return len(s) == 1 && s[0].Resources != nil && s[0].Resources.Limits.Memory().Value() == 48<<20
		}),
		"used": bedtest.Settled(func(p *corev1.Pod) bool {
			s := p.Status.EphemeralContainerStatuses
			return len(s) == 1 && s[0].State.Running != nil
		}),
	} {
		_, err := board.Await(ctx, pod, "as it was changed", done)
		must(t, "using pods", err)
	}
}

// all fetches every endpoint.
func (f *fetcher) all(ctx context.Context, places *Places) (map[string]diff.Facts, map[string][]byte, error) {
	facts, texts := map[string]diff.Facts{}, map[string][]byte{}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(endpoints)) {
		a, err := f.get(ctx, name, asPlain)
		if err != nil {
			return nil, nil, err
		}
		texts[name] = a.body
		if a.status != 200 {
			facts[name] = diff.Facts{} // said by answers
			continue
		}
		if strings.HasPrefix(name, "summary") {
			facts[name], err = Summary(a.body, places.Text)
		} else {
			facts[name], err = (&Rows{Place: places.Text, Skip: places.Skip}).Facts(strings.NewReader(string(a.body)))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return facts, texts, errors.Join(errs...)
}
