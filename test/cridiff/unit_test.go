package cridiff

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/test/diff"
	"nodeagent.dev/nodeagent/test/fakecri"
)

func corpus(t *testing.T) *Corpus {
	t.Helper()
	c, err := Load(map[string]string{"HOST": "/host"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCorpus(t *testing.T) {
	c := corpus(t)
	if len(c.Pods) < 150 {
		t.Errorf("the corpus has %d pods, want 150", len(c.Pods))
	}
	for i := range c.Pods {
		p := &c.Pods[i]
		for key := range p.Annotations {
			if strings.HasPrefix(key, "cridiff/") {
				t.Errorf("the agents would see annotation %s of pod %s", key, p.Name)
			}
		}
		for _, image := range p.Images() {
			if !strings.Contains(image, p.Name) {
				t.Errorf("image %s could be of another pod than %s", image, p.Name)
			}
		}
		if !p.Nothing && len(p.Expected()) == 0 {
			t.Errorf("nothing is expected of pod %s", p.Name)
		}
	}
	if _, err := Accepted(); err != nil {
		t.Error(err)
	}
}

// recorded connects an agent with a fake runtime through a recorder.
func connected(t *testing.T, cfg fakecri.Config) (*Recorder, *grpc.ClientConn) {
	t.Helper()
	fake := fakecri.New(cfg)
	t.Cleanup(fake.Close)
	runtime, err := fake.Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = runtime.Close() })
	socket := filepath.Join(t.TempDir(), "s")
	recorder, err := Record(socket, runtime)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(recorder.Close)
	agent, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = agent.Close() })
	return recorder, agent
}

func TestRecorder(t *testing.T) {
	recorder, conn := connected(t, fakecri.Config{CgroupDriver: "cgroupfs"})
	runtime, images := runtimeapi.NewRuntimeServiceClient(conn), runtimeapi.NewImageServiceClient(conn)
	ctx := t.Context()

	events, err := runtime.GetContainerEvents(ctx, &runtimeapi.GetEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	config := &runtimeapi.PodSandboxConfig{Metadata: &runtimeapi.PodSandboxMetadata{Name: "env-none", Namespace: "default", Uid: "u-1"}}
	first := make(chan string, 1)
	go func() {
		event, err := events.Recv()
		first <- fmt.Sprint(event.GetContainerId(), err)
	}()
	// The call returns before the runtime has begun to tell: events of sandboxes made
	// until then are nobody's.
	made := map[string]bool{}
	for told := ""; told == ""; config.Metadata.Attempt++ {
		one, err := runtime.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: config})
		if err != nil {
			t.Fatal(err)
		}
		made[fmt.Sprint(one.GetPodSandboxId(), nil)] = true
		select {
		case told = <-first:
			if !made[told] {
				t.Errorf("the event of a sandbox passes as %q", told)
			}
		case <-time.After(50 * time.Millisecond):
		}
	}
	if _, err := runtime.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: "absent"}); status.Code(err) != codes.NotFound {
		t.Errorf("a failure passes as %v", err)
	}
	if _, err := images.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: "a:1"}}); err != nil {
		t.Error(err)
	}
	if _, err := runtime.UpdateContainerResources(ctx, &runtimeapi.UpdateContainerResourcesRequest{ContainerId: "x"}); err != nil {
		t.Errorf("what the fake does not have is not granted: %v", err)
	}
	if _, err := runtime.CheckpointContainer(ctx, &runtimeapi.CheckpointContainerRequest{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("what nobody has is %v", err)
	}

	calls, err := recorder.Calls()
	if err != nil {
		t.Fatal(err)
	}
	var methods []string
	for _, c := range calls {
		methods = append(methods, c.Method)
	}
	methods = slices.Compact(methods)
	if want := []string{"RunPodSandbox", "ImageStatus", "UpdateContainerResources"}; !slices.Equal(methods, want) {
		t.Errorf("recorded %v, want %v", methods, want)
	}
}

// TestFacts makes facts of what an agent asked for.
func TestFacts(t *testing.T) {
	recorder, conn := connected(t, fakecri.Config{})
	runtime, images := runtimeapi.NewRuntimeServiceClient(conn), runtimeapi.NewImageServiceClient(conn)
	image := "cridiff.test/env-none/c:1"
	sandbox := &runtimeapi.PodSandboxConfig{
		Metadata:  &runtimeapi.PodSandboxMetadata{Name: "env-none", Namespace: "default", Uid: "u-1"},
		DnsConfig: &runtimeapi.DNSConfig{Options: []string{"b", "a"}}, LogDirectory: "/logs/u-1",
	}
	made, err := runtime.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: sandbox})
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range []*runtimeapi.ImageSpec{{Image: image}, {Image: image}, {Image: image, Annotations: map[string]string{"a": "b"}}} {
		if _, err := images.ImageStatus(t.Context(), &runtimeapi.ImageStatusRequest{Image: spec}); err != nil {
			t.Fatal(err)
		}
	}
	other := &runtimeapi.PodSandboxConfig{Metadata: sandbox.Metadata, DnsConfig: &runtimeapi.DNSConfig{Options: []string{"a", "b"}}, Hostname: "h"}
	_, err = runtime.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{
		PodSandboxId: made.GetPodSandboxId(), SandboxConfig: other,
		Config: &runtimeapi.ContainerConfig{
			Metadata: &runtimeapi.ContainerMetadata{Name: "c"}, Image: &runtimeapi.ImageSpec{Image: image},
			Envs:   []*runtimeapi.KeyValue{{Key: "A", Value: []byte("10.88.1.2")}, {Key: "A", Value: []byte("two")}},
			Mounts: []*runtimeapi.Mount{{ContainerPath: "/z", HostPath: "/pods/u-1/z"}, {ContainerPath: "/a", HostPath: "/a"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	calls, err := recorder.Calls()
	if err != nil {
		t.Fatal(err)
	}
	result, err := corpus(t).factsOf(calls, "node", identities{}, &diff.Normaliser{})
	if err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]string{
		"sandbox[0].config.metadata.uid":                               "$UID",
		"sandbox[0].config.log_directory":                              "/logs/$UID",
		"sandbox[0].config.dns_config.options[0]":                      "a",
		"container[c/0].sandbox_config_is":                             "sandbox[0]",
		"container[c/0].sandbox_config_but.hostname":                   "h",
		"container[c/0].sandbox_config_but.log_directory":              "(none)",
		"container[c/0].config.envs.A":                                 "$PODIP",
		"container[c/0].config.envs[A#2]":                              "two",
		"container[c/0].config.mounts[/z].host_path":                   "/pods/$UID/z",
		"container[c/0].config.mount_order":                            "/z /a",
		"image[cridiff.test/env-none/c:1].image.annotations.a":         "b",
		"image[cridiff.test/env-none/c:1, by name only].image.image":   image,
		"image[cridiff.test/env-none/c:1, by name only]#2.image.image": "",
	} {
		if got := result.Pods["env-none"][field]; got != want {
			t.Errorf("%s is %q, want %q", field, got, want)
		}
	}
	if n := result.Messages["ImageStatus"]; n != 2 {
		t.Errorf("%d different questions about images, want 2", n)
	}
}

func TestJudge(t *testing.T) {
	kubelet := &Result{Pods: map[string]diff.Facts{"p": {"sandbox[0].a": "1", "container[c/0].a": "1", "container[c/0].b": "1", "container[c/0].k": "1"}}}
	nodeagent := &Result{Pods: map[string]diff.Facts{"p": {"container[c/0].a": "2", "container[c/0].b": "1", "image[x].a": "1", "image[x].b": "1"}}}
	list, err := diff.ParseAccepted(strings.NewReader("p/image[*] | nodeagent only | it is said why\np/gone | values differ | it is said why\n"))
	if err != nil {
		t.Fatal(err)
	}
	v := Judge(kubelet, nodeagent, list)
	pods, stale := v.Problems()
	var fields []string
	for _, d := range v.Unknown {
		fields = append(fields, d.Field+" "+string(d.Kind))
	}
	want := []string{"container[c/0].a values differ", "container[c/0].k kubelet only", "sandbox[0] kubelet only"}
	if !slices.Equal(fields, want) {
		t.Errorf("unknown are %v, want %v", fields, want)
	}
	if len(pods) != 1 || len(stale) != 1 || !strings.Contains(stale[0], "p/gone") {
		t.Errorf("problems are %v and %v", pods, stale)
	}
	if s := v.Summary(); !strings.Contains(s, "4 differ, 3 of them unexplained") {
		t.Errorf("summary: %s", s)
	}
}

func TestBelow(t *testing.T) {
	all := corpus(t)
	small, large := all.Below(700 << 20)
	if want := []string{"res-burstable-memory", "res-sidecar", "res-sidecar-small"}; !slices.Equal(slices.Sorted(slices.Values(large)), want) {
		t.Errorf("more than 700Mi is requested by %v, want %v", large, want)
	}
	if len(small.Pods)+len(large) != len(all.Pods) {
		t.Errorf("%d pods and %d that are too large, of %d", len(small.Pods), len(large), len(all.Pods))
	}
	if slices.ContainsFunc(small.Pods, func(p Pod) bool { return slices.Contains(large, p.Name) }) {
		t.Errorf("a pod of %v is still there", large)
	}
}

func TestSample(t *testing.T) {
	all := corpus(t)
	count := func(c *Corpus, prefix string) int { return len(c.Only(prefix).Pods) }
	some := all.Sample(4, "res-", "static-")
	for _, prefix := range []string{"res-", "static-"} {
		if got, want := count(some, prefix), count(all, prefix); got != want {
			t.Errorf("%d pods %s, want all %d", got, prefix, want)
		}
	}
	for _, prefix := range []string{"sec-", "env-", "ns-", "pull-", "vol-", "name-", "ex-"} {
		if count(some, prefix) == 0 {
			t.Errorf("no pod %s", prefix)
		}
	}
	if got, want := len(some.Pods), len(all.Pods)/4+25; got < want || got > want+15 {
		t.Errorf("%d pods, want some more than %d", got, want)
	}
	if got := len(all.Sample(1).Pods); got != len(all.Pods) {
		t.Errorf("one in one are %d pods, want %d", got, len(all.Pods))
	}
}
