package containerspec

import (
	"maps"
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// amountList reads "cpu", "500m", "memory", "1Gi".
func amountList(kv ...string) corev1.ResourceList {
	l := corev1.ResourceList{}
	for i := 0; i < len(kv); i += 2 {
		l[corev1.ResourceName(kv[i])] = resource.MustParse(kv[i+1])
	}
	return l
}

// onePod has one container with these resources.
func onePod(requests, limits corev1.ResourceList) *corev1.Pod {
	p := testPod()
	p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: requests, Limits: limits}
	return p
}

func TestSaturation(t *testing.T) {
	for milli, want := range map[int64]int64{-1: 2, math.MinInt64: 2, 255999: 262142, 256000: 262144, math.MaxInt64: 262144} {
		if got := Shares(milli); got != want {
			t.Errorf("shares of %dm = %d, want %d", milli, got, want)
		}
	}
	for _, c := range []struct {
		milli  int64
		period time.Duration
		want   int64
	}{
		{-1, defaultPeriod, 1000}, {5, defaultPeriod, 1000}, {11, defaultPeriod, 1100}, {1500, 10 * time.Millisecond, 15000},
		{100, 5 * time.Millisecond, 1000}, {math.MaxInt64, time.Second, math.MaxInt64},
	} {
		if got := Quota(c.milli, c.period); got != c.want {
			t.Errorf("quota of %dm in %s = %d, want %d", c.milli, c.period, got, c.want)
		}
	}
	for _, c := range []struct{ part, whole, want int64 }{
		{1, 3, 333}, {0, 3, 0}, {-5, 3, 0}, {5, 3, 1000}, {math.MaxInt64 - 1, math.MaxInt64, 999}, {1, math.MaxInt64, 0},
	} {
		if got := perMille(c.part, c.whole); got != c.want {
			t.Errorf("%d of %d = %d, want %d", c.part, c.whole, got, c.want)
		}
	}
}

func TestQuotas(t *testing.T) {
	p := onePod(amountList("cpu", "1"), amountList("cpu", "2"))
	n := node()
	n.CPU = CPUPolicy{Period: 20 * time.Millisecond}
	r := containerResources(p, &p.Spec.Containers[0], &n)
	if r.CpuQuota != 40000 || r.CpuPeriod != 20000 {
		t.Errorf("quota %d in %d", r.CpuQuota, r.CpuPeriod)
	}
	ApplyCPUs(r, "2-3", "0", true)
	if r.CpuQuota != -1 || r.CpuPeriod != 20000 || r.CpusetCpus != "2-3" || r.CpusetMems != "0" || r.CpuShares != 1024 {
		t.Errorf("exclusive: %v", r)
	}
	n.CPU.NoQuota = true
	r = containerResources(p, &p.Spec.Containers[0], &n)
	ApplyCPUs(r, "", "", true)
	if r.CpuQuota != 0 || r.CpuPeriod != 0 {
		t.Errorf("without quotas: %d in %d", r.CpuQuota, r.CpuPeriod)
	}
}

func TestSwap(t *testing.T) {
	const gib = 1 << 30
	high := int32(criticalPriority)
	half, all := amountList("memory", "8Gi"), amountList("memory", "32Gi")
	for _, c := range []struct {
		name string
		pod  *corev1.Pod
		edit func(*Node, *corev1.Pod)
		want string
	}{
		{"none is allowed", onePod(half, nil), func(n *Node, _ *corev1.Pod) { n.Memory.LimitedSwap = false }, "0"},
		{"its part", onePod(half, nil), nil, strconv.Itoa(2 * gib)},
		{"its part, with a limit", onePod(half, all), nil, strconv.Itoa(2 * gib)},
		{"rounded down", onePod(amountList("memory", "3"), nil), func(n *Node, _ *corev1.Pod) { n.MemoryCapacity, n.Memory.SwapCapacity = 7, 10 }, "4"},
		{"request is limit", onePod(half, half), nil, "0"},
		{"no memory", onePod(amountList("cpu", "1"), nil), nil, "0"},
		{"best effort", onePod(nil, nil), nil, "0"},
		{"guaranteed", onePod(amountList("cpu", "1", "memory", "8Gi"), amountList("cpu", "1", "memory", "8Gi")), nil, "0"},
		{"critical", onePod(half, nil), func(_ *Node, p *corev1.Pod) { p.Spec.Priority = &high }, "0"},
		{"static", onePod(half, nil), func(_ *Node, p *corev1.Pod) { p.Annotations[configSource] = "file" }, "0"},
		{"more than there is", onePod(all, nil), nil, "0"},
		{"nobody knows how much there is", onePod(half, nil), func(n *Node, _ *corev1.Pod) { n.MemoryCapacity = 0 }, "0"},
		{"no controller", onePod(half, nil), func(n *Node, _ *corev1.Pod) { n.NoSwap = false }, ""},
	} {
		n := node()
		n.NoSwap, n.Memory = true, MemoryPolicy{LimitedSwap: true, SwapCapacity: 4 * gib}
		if c.edit != nil {
			c.edit(&n, c.pod)
		}
		r := containerResources(c.pod, &c.pod.Spec.Containers[0], &n)
		if got := r.Unified["memory.swap.max"]; got != c.want || r.MemorySwapLimitInBytes != 0 {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		n.CgroupV1 = true
		if r := containerResources(c.pod, &c.pod.Spec.Containers[0], &n); n.NoSwap && r.MemorySwapLimitInBytes != r.MemoryLimitInBytes || len(r.Unified) != 0 {
			t.Errorf("%s on cgroup v1: %v", c.name, r)
		}
	}
}

func TestMemoryQoS(t *testing.T) {
	request, both := amountList("memory", "100Mi"), amountList("cpu", "1", "memory", "100Mi")
	zero := func(more map[string]string) map[string]string {
		files := map[string]string{"memory.min": "0", "memory.low": "0"}
		maps.Copy(files, more)
		return files
	}
	for _, c := range []struct {
		name   string
		pod    *corev1.Pod
		policy MemoryPolicy
		want   map[string]string
	}{
		{"nothing is configured", onePod(request, nil), MemoryPolicy{}, zero(nil)},
		{"reserved, burstable", onePod(request, nil), MemoryPolicy{TieredReservation: true}, map[string]string{"memory.low": "104857600"}},
		{"reserved, guaranteed", onePod(both, both), MemoryPolicy{TieredReservation: true}, map[string]string{"memory.min": "104857600"}},
		{"reserved, no request", onePod(nil, nil), MemoryPolicy{TieredReservation: true}, zero(nil)},
		{
			"slowed down below the limit", onePod(request, amountList("memory", "200Mi")), MemoryPolicy{ThrottlingFactor: new(0.9)},
			zero(map[string]string{"memory.high": "199229440"}), // 100 + 0.9*100 MiB
		},
		{
			"in whole pages", onePod(amountList("memory", "1"), amountList("memory", "100000")), MemoryPolicy{ThrottlingFactor: new(0.5)},
			zero(map[string]string{"memory.high": "49152"}), // 50000.5 bytes are 12.2 pages
		},
		{
			"in whole pages of 64 KiB", onePod(amountList("memory", "1"), amountList("memory", "200000")), MemoryPolicy{ThrottlingFactor: new(0.5), PageSize: 65536},
			zero(map[string]string{"memory.high": "65536"}),
		},
		{
			"below what the node has", onePod(request, nil), MemoryPolicy{ThrottlingFactor: new(0.5), Allocatable: 1 << 30},
			zero(map[string]string{"memory.high": "589299712"}), // 100 + 0.5*924 MiB
		},
		{
			"best effort", onePod(nil, nil), MemoryPolicy{ThrottlingFactor: new(0.5), Allocatable: 1 << 30},
			zero(map[string]string{"memory.high": "536870912"}),
		},
		{"nobody knows what the node has", onePod(request, nil), MemoryPolicy{ThrottlingFactor: new(0.5)}, zero(nil)},
		{"request is limit", onePod(request, request), MemoryPolicy{ThrottlingFactor: new(0.5)}, zero(nil)},
		{"not above the request", onePod(amountList("memory", "4096"), amountList("memory", "4098")), MemoryPolicy{ThrottlingFactor: new(0.5)}, zero(nil)},
	} {
		n := node()
		n.Memory = c.policy
		if diff := cmp.Diff(c.want, containerResources(c.pod, &c.pod.Spec.Containers[0], &n).Unified); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		n.NoMemoryQoS = true
		if diff := cmp.Diff(map[string]string{"memory.high": "max"}, containerResources(c.pod, &c.pod.Spec.Containers[0], &n).Unified); diff != "" {
			t.Errorf("%s, without the feature: %s", c.name, diff)
		}
	}
	// The pod's own limit slows all of its containers down.
	p := onePod(request, nil)
	p.Spec.Resources = &corev1.ResourceRequirements{Limits: amountList("memory", "1Gi")}
	n := node()
	n.Memory = MemoryPolicy{ThrottlingFactor: new(0.5), Allocatable: 1 << 30}
	if got := containerResources(p, &p.Spec.Containers[0], &n).Unified["memory.high"]; got != "" {
		t.Errorf("memory.high = %s below a pod with a limit", got)
	}
}

func TestUpdatedResources(t *testing.T) {
	p := onePod(amountList("cpu", "500m", "memory", "64Mi", "hugepages-2Mi", "4Mi"), amountList("cpu", "1", "memory", "128Mi", "hugepages-2Mi", "4Mi", "example.com/x", "1"))
	c := &p.Spec.Containers[0]
	n := node()
	n.NoSwap, n.OOMKillGroup, n.HugePageSizes = true, true, []string{"2MB", "1GB"}
	// Memory first: CPU stays as it is.
	c.Resources.Requests["memory"], c.Resources.Limits["memory"] = resource.MustParse("96Mi"), resource.MustParse("256Mi")
	want := &runtimeapi.LinuxContainerResources{
		CpuPeriod: 100000, CpuQuota: 100000, CpuShares: 512, MemoryLimitInBytes: 256 << 20,
		OomScoreAdj:    995, // 1000 - 1000 * 96 MiB / 16 GiB
		HugepageLimits: []*runtimeapi.HugepageLimit{{PageSize: "2MB", Limit: 4 << 20}, {PageSize: "1GB"}},
		Unified:        map[string]string{"memory.oom.group": "1", "memory.swap.max": "0", "memory.min": "0", "memory.low": "0"},
	}
	if diff := cmp.Diff(want, UpdatedResources(p, c, n), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	c.Resources.Requests["cpu"], c.Resources.Limits["cpu"] = resource.MustParse("1"), resource.MustParse("1500m")
	want.CpuQuota, want.CpuShares = 150000, 1024
	if diff := cmp.Diff(want, UpdatedResources(p, c, n), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	// No request is the least there is, where a new container would get its limit.
	for _, requests := range []corev1.ResourceList{nil, amountList("memory", "1Mi"), amountList("cpu", "0")} {
		c.Resources = corev1.ResourceRequirements{Requests: requests, Limits: amountList("cpu", "1")}
		if got := UpdatedResources(p, c, n); got.CpuShares != 2 || got.CpuQuota != 100000 || got.MemoryLimitInBytes != 0 {
			t.Errorf("requests %v: %v", requests, got)
		}
		if len(c.Resources.Requests) != len(requests) {
			t.Errorf("the container was changed: %v", c.Resources.Requests)
		}
	}
}

func TestUpdatedSandbox(t *testing.T) {
	p := onePod(nil, nil)
	l := pod.CgroupLimits{CPUShares: 1280, CPUQuota: 125000, CPUPeriod: 100000, Memory: 192 << 20, Unified: map[string]string{"memory.low": "1"}}
	want := &runtimeapi.LinuxContainerResources{
		CpuShares: 1280, CpuQuota: 125000, CpuPeriod: 100000, MemoryLimitInBytes: 192 << 20, Unified: map[string]string{"memory.low": "1"},
	}
	overhead, got := UpdatedSandbox(p, l, node())
	if diff := cmp.Diff(want, got, protocmp.Transform()) + cmp.Diff(&runtimeapi.LinuxContainerResources{}, overhead, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	p.Spec.Overhead = amountList("cpu", "250m", "memory", "64Mi")
	want.CpuShares, want.CpuQuota, want.MemoryLimitInBytes = 1024, 100000, 128<<20
	overhead, got = UpdatedSandbox(p, l, node())
	wantOverhead := &runtimeapi.LinuxContainerResources{CpuShares: 256, CpuQuota: 25000, CpuPeriod: 100000, MemoryLimitInBytes: 64 << 20}
	if diff := cmp.Diff(want, got, protocmp.Transform()) + cmp.Diff(wantOverhead, overhead, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	sandbox, err := Sandbox(pod.SandboxRequest{Pod: p}, node())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wantOverhead, sandbox.Linux.Overhead, protocmp.Transform()); diff != "" {
		t.Errorf("a new sandbox is told something else: %s", diff)
	}
	_, got = UpdatedSandbox(p, pod.CgroupLimits{CPUShares: 2, CPUQuota: -1, CPUPeriod: 100000, Memory: -1}, node())
	if diff := cmp.Diff(&runtimeapi.LinuxContainerResources{CpuShares: 2, CpuQuota: -1, CpuPeriod: 100000, MemoryLimitInBytes: -1}, got, protocmp.Transform()); diff != "" {
		t.Errorf("unlimited: %s", diff)
	}
}

func TestOOMScoreOfSidecars(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	p := onePod(amountList("memory", "4Gi"), nil)
	p.Spec.Resources = &corev1.ResourceRequirements{Requests: amountList("memory", "8Gi")}
	p.Spec.InitContainers = []corev1.Container{{Name: "side", RestartPolicy: &always}, {Name: "init"}}
	// 4 GiB are left for three containers, 1365.3 MiB for each.
	const capacity = 16 << 30
	for _, c := range []struct {
		container *corev1.Container
		want      int64
	}{
		{&p.Spec.Containers[0], 1000 - 333},     // 4 GiB and its part
		{&p.Spec.InitContainers[0], 1000 - 333}, // like the regular one that asks for least
		{&p.Spec.InitContainers[1], 1000 - 83},  // only its part
	} {
		if got := oomScoreAdj(p, c.container, capacity); got != c.want {
			t.Errorf("%s: %d, want %d", c.container.Name, got, c.want)
		}
	}
}

func amounts(milliCPU, bytes int64) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(milliCPU, resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(bytes, resource.BinarySI),
	}
}

func FuzzResources(f *testing.F) {
	f.Add(int64(500), int64(1000), int64(64<<20), int64(128<<20), int64(2<<20), int64(16<<30), int64(100), 0.9, uint8(0))
	f.Add(int64(-1), int64(math.MaxInt64), int64(math.MinInt64), int64(math.MaxInt64), int64(-1), int64(math.MaxInt64), int64(1000), math.NaN(), uint8(0xff))
	f.Add(int64(math.MaxInt64/1024+1), int64(1), int64(math.MaxInt64), int64(0), int64(math.MaxInt64), int64(-7), int64(1), math.Inf(1), uint8(0x55))
	f.Fuzz(func(t *testing.T, cpuRequest, cpuLimit, memoryRequest, memoryLimit, pages, capacity, periodMS int64, factor float64, bits uint8) {
		on := func(i int) bool { return bits&(1<<i) != 0 }
		n := node()
		n.MemoryCapacity, n.HugePageSizes = capacity, []string{"2MB", "1GB"}
		n.CPU = CPUPolicy{NoQuota: on(0), Period: time.Duration(min(max(periodMS, 1), 1000)) * time.Millisecond} // what New of the configuration lets through
		n.CgroupV1, n.NoSwap, n.NoMemoryQoS = on(1), on(2), on(3)
		n.Memory = MemoryPolicy{LimitedSwap: on(4), SwapCapacity: pages, TieredReservation: on(5), ThrottlingFactor: &factor, Allocatable: memoryLimit, PageSize: pages % 65536}
		r := corev1.ResourceRequirements{Requests: amounts(cpuRequest, memoryRequest), Limits: amounts(cpuLimit, memoryLimit)}
		r.Limits["hugepages-2Mi"], r.Limits["hugepages-"] = *resource.NewQuantity(pages, resource.BinarySI), *resource.NewQuantity(pages, resource.BinarySI)
		p := onePod(r.Requests, r.Limits)
		always := corev1.ContainerRestartPolicyAlways
		p.Spec.InitContainers = []corev1.Container{{Name: "side", RestartPolicy: &always, Resources: corev1.ResourceRequirements{Requests: r.Limits}}}
		p.Spec.Overhead = r.Requests
		if on(6) {
			p.Spec.Resources = &corev1.ResourceRequirements{Requests: amounts(cpuLimit, memoryLimit), Limits: r.Limits}
		}
		for _, c := range []*corev1.Container{&p.Spec.Containers[0], &p.Spec.InitContainers[0]} {
			checkResources(t, containerResources(p, c, &n))
			checkResources(t, UpdatedResources(p, c, n))
		}
		checkResources(t, sandboxResources(p, &n))
		overhead, sandbox := UpdatedSandbox(p, pod.CgroupLimits{CPUShares: cpuRequest, CPUQuota: cpuLimit, CPUPeriod: 100000, Memory: memoryLimit}, n)
		checkResources(t, overhead)
		if cpuRequest > 0 && sandbox.CpuShares <= 0 || memoryLimit > 0 && sandbox.MemoryLimitInBytes < 0 || cpuLimit > 0 && sandbox.CpuQuota <= 0 {
			t.Errorf("sandbox: %v", sandbox)
		}
		low, high := min(cpuRequest, cpuLimit), max(cpuRequest, cpuLimit)
		if Shares(low) > Shares(high) || low > 0 && Quota(low, n.CPU.Period) > Quota(high, n.CPU.Period) {
			t.Errorf("%dm get more than %dm", low, high)
		}
		if capacity > 0 && perMille(low, capacity) > perMille(high, capacity) {
			t.Errorf("%d is a larger part of %d than %d", low, capacity, high)
		}
	})
}

func checkResources(t *testing.T, r *runtimeapi.LinuxContainerResources) {
	t.Helper()
	empty := r.CpuShares == 0 && r.CpuPeriod == 0
	if !empty && (r.CpuShares < minShares || r.CpuShares > maxShares) {
		t.Errorf("shares %d", r.CpuShares)
	}
	if r.CpuQuota != 0 && r.CpuQuota < minQuota || r.CpuPeriod < 0 {
		t.Errorf("quota %d in %d", r.CpuQuota, r.CpuPeriod)
	}
	if r.MemoryLimitInBytes < 0 || r.MemorySwapLimitInBytes < 0 {
		t.Errorf("memory %d, with swap %d", r.MemoryLimitInBytes, r.MemorySwapLimitInBytes)
	}
	if r.OomScoreAdj < oomGuaranteed || r.OomScoreAdj > oomBestEffort {
		t.Errorf("oom_score_adj %d", r.OomScoreAdj)
	}
	for _, l := range r.HugepageLimits {
		if l.Limit > math.MaxInt64 {
			t.Errorf("huge pages %s: %d", l.PageSize, l.Limit)
		}
	}
	for file, value := range r.Unified {
		if n, err := strconv.ParseInt(value, 10, 64); value != "max" && (err != nil || n < 0) {
			t.Errorf("%s = %q", file, value)
		}
	}
}
