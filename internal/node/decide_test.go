package node

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

var start = time.Unix(1_000_000, 0)

func ips(texts ...string) []netip.Addr {
	var list []netip.Addr
	for _, t := range texts {
		list = append(list, netip.MustParseAddr(t))
	}
	return list
}

func testConfig() Config {
	return Config{
		Name: "node-1", Hostname: "host-1", Version: "v1.37.1+nodeagent.0.1.0", Port: 10250, MaxImages: 50,
		Resources:    Resources{MaxPods: 110},
		Registration: Registration{Register: true, AttachDetach: true},
	}
}

func testFacts() Facts {
	return Facts{
		Machine: MachineFacts{
			Cores: 4, MemoryBytes: 8 << 30, StorageBytes: 100 << 30, MachineID: "m", SystemUUID: "u", BootID: "b1",
			KernelVersion: "6.1", OSImage: "Debian", OperatingSystem: "linux", Architecture: "amd64", UserNamespace: new(false),
		},
		Network: NetworkFacts{Local: ips("127.0.0.1", "10.0.0.5", "10.0.0.6", "fd00::5"), DefaultRoute: netip.MustParseAddr("10.0.0.5")},
		Runtime: RuntimeState{
			Info:   &pod.RuntimeInfo{Name: "containerd", Version: "2.1.0", Handlers: []pod.RuntimeHandler{{Name: "z"}, {Name: "", UserNamespaces: true}}},
			LastOK: start, DownAfter: 30 * time.Second,
		},
	}
}

func TestBuildNewNode(t *testing.T) {
	cfg := testConfig()
	cfg.Labels = map[string]string{"x": "y"}
	cfg.Taints = []corev1.Taint{{Key: "t", Effect: corev1.TaintEffectNoSchedule}}
	cfg.ProviderID = "cloud://1"
	cfg.DeclaredFeatures = []string{"B", "A"}
	n := Build(&cfg, testFacts(), nil, start).Node
	for key, want := range map[string]string{
		"kubernetes.io/hostname": "host-1", "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
		"beta.kubernetes.io/os": "linux", "beta.kubernetes.io/arch": "amd64", "x": "y",
	} {
		if n.Labels[key] != want {
			t.Errorf("label %s is %q, want %q", key, n.Labels[key], want)
		}
	}
	if n.Annotations[annotationAttachDetach] != "true" || len(n.Spec.Taints) != 1 || n.Spec.ProviderID != "cloud://1" {
		t.Errorf("annotations %v, spec %+v", n.Annotations, n.Spec)
	}
	info := n.Status.NodeInfo
	want := corev1.NodeSystemInfo{
		MachineID: "m", SystemUUID: "u", BootID: "b1", KernelVersion: "6.1", OSImage: "Debian",
		ContainerRuntimeVersion: "containerd://2.1.0", KubeletVersion: "v1.37.1+nodeagent.0.1.0",
		OperatingSystem: "linux", Architecture: "amd64", RunningInUserNamespace: info.RunningInUserNamespace,
	}
	if info != want || *info.RunningInUserNamespace {
		t.Errorf("node info %+v", info)
	}
	if got := n.Status.RuntimeHandlers; len(got) != 2 || got[0].Name != "" || !*got[0].Features.UserNamespaces {
		t.Errorf("handlers %+v", got)
	}
	if !slices.Equal(n.Status.DeclaredFeatures, []string{"A", "B"}) || n.Status.DaemonEndpoints.KubeletEndpoint.Port != 10250 {
		t.Errorf("features %v, endpoints %v", n.Status.DeclaredFeatures, n.Status.DaemonEndpoints)
	}
	var kinds []string
	for _, c := range n.Status.Conditions {
		kinds = append(kinds, string(c.Type)+"="+string(c.Status)+"/"+c.Reason+"/"+c.Message)
	}
	wantKinds := []string{
		"MemoryPressure=False/KubeletHasSufficientMemory/kubelet has sufficient memory available",
		"DiskPressure=False/KubeletHasNoDiskPressure/kubelet has no disk pressure",
		"PIDPressure=False/KubeletHasSufficientPID/kubelet has sufficient PID available",
		"Ready=True/KubeletReady/kubelet is posting ready status",
	}
	if !slices.Equal(kinds, wantKinds) {
		t.Errorf("conditions:\n%s", strings.Join(kinds, "\n"))
	}
}

func TestReadyMessage(t *testing.T) {
	tests := map[string]struct {
		change func(*Facts)
		after  time.Duration
		want   string
	}{
		"ready":       {func(*Facts) {}, 29 * time.Second, "kubelet is posting ready status"},
		"down":        {func(*Facts) {}, 30 * time.Second, "container runtime is down"},
		"not checked": {func(f *Facts) { f.Runtime = RuntimeState{} }, 0, "[container runtime status check may not have completed yet, network state unknown]"},
		"network": {
			func(f *Facts) {
				f.Runtime.Info = &pod.RuntimeInfo{NetworkProblem: "reason: NetworkPluginNotReady, message: cni"}
			}, 0,
			"container runtime network not ready: reason: NetworkPluginNotReady, message: cni",
		},
		"runtime not ready": {func(f *Facts) { f.Runtime.Info = &pod.RuntimeInfo{RuntimeProblem: "why"} }, 0, "container runtime not ready: why"},
		"check":             {func(f *Facts) { f.Unhealthy = []string{"PLEG is not healthy: x"} }, 40 * time.Second, "[container runtime is down, PLEG is not healthy: x]"},
		"memory unknown":    {func(f *Facts) { f.Machine.MemoryBytes = 0 }, 0, "missing node capacity for resources: memory"},
	}
	cfg := testConfig()
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := testFacts()
			tt.change(&f)
			r := Build(&cfg, f, nil, start.Add(tt.after))
			c := findCondition(r.Node.Status.Conditions, corev1.NodeReady)
			if c.Message != tt.want || r.Ready() != (name == "ready") {
				t.Errorf("%s %s: %q, want %q", c.Status, c.Reason, c.Message, tt.want)
			}
		})
	}
}

func TestConditionTimesAndEvents(t *testing.T) {
	cfg, f := testConfig(), testFacts()
	first := Build(&cfg, f, nil, start)
	first.Node.Status.Conditions = append(first.Node.Status.Conditions, corev1.NodeCondition{Type: "Other", Status: corev1.ConditionTrue, Message: "keep"})
	same := Build(&cfg, f, first.Node, start.Add(10*time.Second))
	if len(same.Events) != 0 || differ(first.Node, same.Node) {
		t.Errorf("an unchanged node differs; events %v", same.Events)
	}
	down := Build(&cfg, f, same.Node, start.Add(time.Minute))
	c := findCondition(down.Node.Status.Conditions, corev1.NodeReady)
	if !c.LastTransitionTime.Time.Equal(start.Add(time.Minute)) || !differ(same.Node, down.Node) {
		t.Errorf("transition at %s", c.LastTransitionTime)
	}
	memory := findCondition(down.Node.Status.Conditions, corev1.NodeMemoryPressure)
	if !memory.LastTransitionTime.Time.Equal(start) || !memory.LastHeartbeatTime.Time.Equal(start.Add(time.Minute)) {
		t.Errorf("memory pressure: %+v", memory)
	}
	if len(down.Events) != 1 || down.Events[0].Message != "Node node-1 status is now: NodeNotReady" {
		t.Errorf("events %v", down.Events)
	}
	if other := findCondition(down.Node.Status.Conditions, "Other"); other == nil || other.Message != "keep" {
		t.Errorf("a condition of others is gone: %+v", other)
	}
	f.Machine.BootID = "b2"
	f.Runtime.LastOK = start.Add(time.Minute)
	var reasons []string
	for _, e := range Build(&cfg, f, down.Node, start.Add(time.Minute)).Events {
		reasons = append(reasons, e.Reason)
	}
	if !slices.Equal(reasons, []string{"Rebooted", "NodeReady"}) {
		t.Errorf("events %v", reasons)
	}
}

func TestResources(t *testing.T) {
	cfg, f := testConfig(), testFacts()
	cfg.PodsPerCore = 10
	cfg.SystemReserved = corev1.ResourceList{"cpu": resource.MustParse("500m"), "memory": resource.MustParse("1Gi")}
	cfg.KubeReserved = corev1.ResourceList{"cpu": resource.MustParse("4"), "ephemeral-storage": resource.MustParse("10Gi")}
	cfg.EvictMemory, cfg.EvictStorage = Threshold{Bytes: 100 << 20}, Threshold{Fraction: 0.1}
	f.Machine.HugePages = map[int64]int64{2 << 20: 64 << 20, 1 << 30: 0}
	prior := &corev1.Node{Status: corev1.NodeStatus{Capacity: corev1.ResourceList{
		"hugepages-16Gi": resource.MustParse("16Gi"), "example.com/gpu": resource.MustParse("2"),
	}, Allocatable: corev1.ResourceList{"example.com/gone": resource.MustParse("1")}}}
	s := Build(&cfg, f, prior, start).Node.Status
	storage := resource.NewQuantity(100<<30-10<<30-int64(float64(100<<30)*float64(float32(0.1))), resource.BinarySI)
	for name, want := range map[corev1.ResourceName][2]string{
		"cpu": {"4", "0"}, "memory": {"8Gi", "7004Mi"}, "pods": {"40", "40"}, "ephemeral-storage": {"100Gi", storage.String()},
		"hugepages-2Mi": {"64Mi", "64Mi"}, "hugepages-1Gi": {"0", "0"}, "example.com/gpu": {"2", "2"},
	} {
		c, a := s.Capacity[name], s.Allocatable[name]
		if c.Cmp(resource.MustParse(want[0])) != 0 || a.Cmp(resource.MustParse(want[1])) != 0 {
			t.Errorf("%s: capacity %s, allocatable %s, want %v", name, c.String(), a.String(), want)
		}
	}
	if len(s.Capacity) != 7 || len(s.Allocatable) != 7 {
		t.Errorf("capacity %v, allocatable %v", s.Capacity, s.Allocatable)
	}
}

func TestAddresses(t *testing.T) {
	prior := &corev1.Node{Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeExternalIP, Address: "1.1.1.1"}}}}
	tests := map[string]struct {
		change  func(*Config, *NetworkFacts)
		prior   *corev1.Node
		want    string
		problem string
	}{
		"default route":     {change: func(*Config, *NetworkFacts) {}, want: "10.0.0.5 host-1"},
		"configured":        {change: func(c *Config, _ *NetworkFacts) { c.IPs = ips("10.0.0.6") }, want: "10.0.0.6 host-1"},
		"two families":      {change: func(c *Config, _ *NetworkFacts) { c.IPs = ips("10.0.0.6", "fd00::5") }, want: "10.0.0.6 fd00::5 host-1"},
		"not local":         {change: func(c *Config, _ *NetworkFacts) { c.IPs = ips("10.9.9.9") }, problem: "no network interface"},
		"loopback":          {change: func(c *Config, _ *NetworkFacts) { c.IPs = ips("127.0.0.1") }, problem: "loopback"},
		"hostname is an IP": {change: func(c *Config, _ *NetworkFacts) { c.Hostname = "10.0.0.9" }, want: "10.0.0.9 10.0.0.9"},
		"name resolves":     {change: func(_ *Config, n *NetworkFacts) { n.Named = ips("127.0.0.1", "fd00::5", "10.0.0.6") }, want: "10.0.0.6 host-1"},
		"IPv6 wanted":       {change: func(c *Config, n *NetworkFacts) { c.IPs = ips("::"); n.Named = ips("10.0.0.6", "fd00::5") }, want: "fd00::5 host-1"},
		"other family":      {change: func(_ *Config, n *NetworkFacts) { n.Named = ips("fd00::5") }, want: "fd00::5 host-1"},
		"nothing": {
			change: func(_ *Config, n *NetworkFacts) { *n = NetworkFacts{Problem: "no route"} }, prior: prior,
			want: "1.1.1.1", problem: "can't get ip address of node node-1: no route",
		},
		"cloud":            {change: func(c *Config, _ *NetworkFacts) { c.ExternalCloud = true }, want: "host-1"},
		"cloud, prior":     {change: func(c *Config, _ *NetworkFacts) { c.ExternalCloud = true }, prior: prior, want: "1.1.1.1"},
		"cloud and own IP": {change: func(c *Config, _ *NetworkFacts) { c.ExternalCloud = true; c.IPs = ips("10.0.0.6") }, want: "10.0.0.6 host-1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg, f := testConfig(), testFacts()
			tt.change(&cfg, &f.Network)
			r := Build(&cfg, f, tt.prior, start)
			var got []string
			for _, a := range r.Node.Status.Addresses {
				got = append(got, a.Address)
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("got %q, want %q", s, tt.want)
			}
			if s := strings.Join(r.Problems, " "); !strings.Contains(s, tt.problem) || (tt.problem == "") != (s == "") {
				t.Errorf("problems %q, want %q", s, tt.problem)
			}
		})
	}
}

func TestImages(t *testing.T) {
	all := []corev1.ContainerImage{{Names: []string{"small"}, SizeBytes: 1}, {Names: []string{"1", "2", "3", "4", "5", "6"}, SizeBytes: 9}, {SizeBytes: 5}}
	if got := images(all, 2); len(got) != 2 || got[0].SizeBytes != 9 || len(got[0].Names) != 5 || got[1].SizeBytes != 5 {
		t.Errorf("got %v", got)
	}
	if got := images(all, -1); len(got) != 3 || len(all[1].Names) != 6 {
		t.Errorf("got %v, input %v", got, all)
	}
}

func TestReconcileKeepsWhatIsNotOurs(t *testing.T) {
	cfg, f := testConfig(), testFacts()
	cfg.Labels = map[string]string{"only-at-creation": "x", corev1.LabelTopologyZone: "z"}
	existing := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: "node-1", Labels: map[string]string{"theirs": "y", corev1.LabelHostname: "old"}, Annotations: map[string]string{"theirs": "y"},
	}}
	n := Reconcile(&cfg, f, existing)
	if n.Labels["theirs"] != "y" || n.Labels[corev1.LabelHostname] != "host-1" || n.Labels[corev1.LabelTopologyZone] != "z" ||
		n.Labels["only-at-creation"] != "" || n.Annotations["theirs"] != "y" || n.Annotations[annotationAttachDetach] != "true" {
		t.Errorf("labels %v, annotations %v", n.Labels, n.Annotations)
	}
	cfg.AttachDetach = false
	if n = Reconcile(&cfg, f, n); len(n.Annotations) != 1 {
		t.Errorf("annotations %v", n.Annotations)
	}
	if existing.Labels[corev1.LabelHostname] != "old" {
		t.Error("the existing Node was changed")
	}
}

func TestPatchHoldsOnlyWhatChanged(t *testing.T) {
	cfg, f := testConfig(), testFacts()
	a := Build(&cfg, f, nil, start).Node
	cfg.IPs = ips("10.0.0.6", "fd00::5")
	b := Build(&cfg, f, a, start).Node
	data, err := statusPatch(a, b)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"status":{"addresses":[{"type":"InternalIP","address":"10.0.0.6"},{"type":"InternalIP","address":"fd00::5"},` +
		`{"type":"Hostname","address":"host-1"},{"$patch":"replace"}]}}`
	if string(data) != want {
		t.Errorf("patch %s", data)
	}
}
