package cgroup

import (
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/pod"
)

func list(kv ...string) corev1.ResourceList {
	l := corev1.ResourceList{}
	for i := 0; i < len(kv); i += 2 {
		l[corev1.ResourceName(kv[i])] = resource.MustParse(kv[i+1])
	}
	return l
}

func needs(requests, limits corev1.ResourceList) corev1.Container {
	return corev1.Container{Resources: corev1.ResourceRequirements{Requests: requests, Limits: limits}}
}

func TestFormulas(t *testing.T) {
	for milli, want := range map[int64]uint64{0: 2, 1: 2, 2: 2, 100: 102, 1000: 1024, 1500: 1536, 255999: 262142, 256000: 262144, 1 << 40: 262144, math.MaxInt64: 262144, -5: 2} {
		if got := shares(milli); got != want {
			t.Errorf("shares of %dm = %d, want %d", milli, got, want)
		}
	}
	for shares, want := range map[uint64]uint64{0: 1, 2: 1, 102: 4, 1024: 39, 262144: 10000, 300000: 10000} {
		if got := weight(shares); got != want {
			t.Errorf("weight of %d = %d, want %d", shares, got, want)
		}
	}
	for _, c := range []struct {
		milli  int64
		period time.Duration
		want   int64
	}{{0, defaultPeriod, 0}, {1, defaultPeriod, 1000}, {10, defaultPeriod, 1000}, {500, defaultPeriod, 50000}, {2000, 5 * time.Millisecond, 10000}, {-1, defaultPeriod, 1000}, {math.MaxInt64, time.Second, math.MaxInt64}} {
		if got := containerspec.Quota(c.milli, c.period); got != c.want {
			t.Errorf("quota of %dm in %s = %d, want %d", c.milli, c.period, got, c.want)
		}
	}
	for size, want := range map[int64]string{2 << 20: "2MB", 1 << 30: "1GB", 64 << 10: "64KB", 512: "512B"} {
		if got := pageSizeName(size); got != want {
			t.Errorf("%d is %s, want %s", size, got, want)
		}
		if got := pageSizeOf(want); got != size {
			t.Errorf("%s is %d, want %d", want, got, size)
		}
	}
	for _, name := range []string{"", "MB", "2", "2XB", "2MBB", "-2MB", "9999999999999999TB"} {
		if got := pageSizeOf(name); got != 0 {
			t.Errorf("%q is a page of %d", name, got)
		}
	}
	// What the kubelet reads back for a weight, and what its status takes as equal.
	for weight, want := range map[uint64]uint64{0: 2, 1: 2, 4: 80, 39: 998, 100: 2597, 10000: 262144, 1 << 50: 262144} {
		if got := sharesOf(weight); got != want {
			t.Errorf("shares of weight %d = %d, want %d", weight, got, want)
		}
	}
	if !SharesAgree(1024, 998) || !SharesAgree(1024, 1024) || SharesAgree(1024, 1025) || SharesAgree(2048, 998) {
		t.Error("shares do not survive the way through a weight")
	}
	for shares, want := range map[int64]int64{2: 2, 102: 100, 256: 250, 1024: 1000, 1 << 60: 256000} {
		if got := containerspec.MilliCPU(shares); got != want {
			t.Errorf("%d shares are %dm, want %dm", shares, got, want)
		}
	}
}

func TestLimitsOfPods(t *testing.T) {
	none := map[int64]int64{}
	full := list("cpu", "500m", "memory", "64Mi")
	for name, c := range map[string]struct {
		spec corev1.PodSpec
		cfg  Config
		v2   bool
		want Limits
	}{
		"best effort": {
			spec: corev1.PodSpec{Containers: []corev1.Container{{}}},
			want: Limits{CPUShares: 2, HugePages: none},
		},
		"guaranteed": {
			spec: corev1.PodSpec{Containers: []corev1.Container{needs(full, full)}},
			want: Limits{CPUShares: 512, CPUQuota: new(int64(50000)), CPUPeriod: 100000, Memory: new(int64(64 << 20)), HugePages: none},
		},
		"guaranteed without quotas": {
			spec: corev1.PodSpec{Containers: []corev1.Container{needs(full, full)}}, cfg: Config{NoCPUQuota: true, PodPidsLimit: 7},
			want: Limits{CPUShares: 512, CPUQuota: new(int64(-1)), CPUPeriod: 100000, Memory: new(int64(64 << 20)), PIDs: new(int64(7)), HugePages: none},
		},
		"burstable without limits": {
			spec: corev1.PodSpec{Containers: []corev1.Container{needs(list("cpu", "250m"), nil)}},
			want: Limits{CPUShares: 256, HugePages: none},
		},
		"burstable, one container without limits": {
			spec: corev1.PodSpec{Containers: []corev1.Container{needs(nil, full), {}}},
			want: Limits{CPUShares: 2, HugePages: none},
		},
		"burstable, all with a memory limit": {
			spec: corev1.PodSpec{
				InitContainers: []corev1.Container{needs(nil, list("memory", "128Mi"))},
				Containers:     []corev1.Container{needs(list("cpu", "1"), list("memory", "64Mi")), needs(nil, full)},
			},
			want: Limits{CPUShares: 1024, Memory: new(int64(128 << 20)), HugePages: none},
		},
		"pod-level limits": {
			spec: corev1.PodSpec{
				Resources:  &corev1.ResourceRequirements{Requests: list("cpu", "100m"), Limits: list("cpu", "1", "memory", "1Gi")},
				Containers: []corev1.Container{{}},
			},
			cfg:  Config{CPUPeriod: 10 * time.Millisecond},
			want: Limits{CPUShares: 102, CPUQuota: new(int64(10000)), CPUPeriod: 10000, Memory: new(int64(1 << 30)), HugePages: none},
		},
		"huge pages": {
			spec: corev1.PodSpec{Containers: []corev1.Container{needs(list("cpu", "1", "hugepages-2Mi", "4Mi"), list("hugepages-2Mi", "4Mi"))}},
			want: Limits{CPUShares: 1024, HugePages: map[int64]int64{2 << 20: 4 << 20}},
		},
		"exclusive CPUs": {
			spec: corev1.PodSpec{Containers: []corev1.Container{needs(full, full)}},
			cfg:  Config{ExclusiveCPUs: func(*corev1.Pod) bool { return true }},
			want: Limits{CPUShares: 512, CPUQuota: new(int64(-1)), CPUPeriod: 100000, Memory: new(int64(64 << 20)), HugePages: none},
		},
		"overhead counts": {
			spec: corev1.PodSpec{Containers: []corev1.Container{needs(full, full)}, Overhead: list("cpu", "250m", "memory", "64Mi")},
			want: Limits{CPUShares: 768, CPUQuota: new(int64(75000)), CPUPeriod: 100000, Memory: new(int64(128 << 20)), HugePages: none},
		},
		"tiered, guaranteed": {
			spec: corev1.PodSpec{Containers: []corev1.Container{needs(full, full)}}, cfg: Config{TieredReservation: true}, v2: true,
			want: Limits{
				CPUShares: 512, CPUQuota: new(int64(50000)), CPUPeriod: 100000, Memory: new(int64(64 << 20)), HugePages: none,
				Unified: map[string]string{"memory.min": "67108864"},
			},
		},
		"tiered, burstable": {
			spec: corev1.PodSpec{Containers: []corev1.Container{needs(list("memory", "1Mi"), nil)}}, cfg: Config{TieredReservation: true}, v2: true,
			want: Limits{CPUShares: 2, HugePages: none, Unified: map[string]string{"memory.low": "1048576"}},
		},
		"tiered on cgroup v1": {
			spec: corev1.PodSpec{Containers: []corev1.Container{needs(list("memory", "1Mi"), nil)}}, cfg: Config{TieredReservation: true},
			want: Limits{CPUShares: 2, HugePages: none},
		},
		"tiered without the gate": {
			spec: corev1.PodSpec{Containers: []corev1.Container{needs(list("memory", "1Mi"), nil)}}, v2: true,
			cfg:  Config{TieredReservation: true, NoMemoryQoS: true, MemoryThrottlingFactor: new(0.5)},
			want: Limits{CPUShares: 2, HugePages: none},
		},
		"throttled above the request of the pod": {
			spec: corev1.PodSpec{
				Resources:  &corev1.ResourceRequirements{Requests: list("memory", "100Mi"), Limits: list("memory", "200Mi")},
				Containers: []corev1.Container{{}},
			},
			cfg: Config{MemoryThrottlingFactor: new(0.9)}, v2: true,
			want: Limits{
				CPUShares: 2, Memory: new(int64(200 << 20)), HugePages: none,
				Unified: map[string]string{"memory.high": "199229440"}, // 190 MiB
			},
		},
		"only pods with resources of their own are throttled": {
			spec: corev1.PodSpec{Containers: []corev1.Container{needs(list("memory", "100Mi"), list("memory", "200Mi"))}},
			cfg:  Config{MemoryThrottlingFactor: new(0.9)}, v2: true,
			want: Limits{CPUShares: 2, Memory: new(int64(200 << 20)), HugePages: none},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := limitsOf(&corev1.Pod{Spec: c.spec}, &c.cfg, c.v2)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOnly(t *testing.T) {
	all := Limits{CPUShares: 2, CPUQuota: new(int64(1)), CPUPeriod: 3, Memory: new(int64(4)), PIDs: new(int64(5)), Unified: map[string]string{"memory.low": "6"}}
	for part, want := range map[pod.Limit]Limits{
		pod.LimitMemory:    {Memory: all.Memory, Unified: all.Unified},
		pod.LimitCPUQuota:  {CPUQuota: all.CPUQuota, CPUPeriod: 3},
		pod.LimitCPUShares: {CPUShares: 2},
		pod.Limit(9):       {},
	} {
		if diff := cmp.Diff(want, all.Only(part)); diff != "" {
			t.Errorf("part %d: %s", part, diff)
		}
	}
}

func TestCompare(t *testing.T) {
	memory := func(n int64) Limits { return Limits{Memory: &n} }
	quota := func(n int64, period uint64) Limits { return Limits{CPUQuota: &n, CPUPeriod: period} }
	for _, c := range []struct {
		part          pod.Limit
		wanted, found Limits
		want          int
	}{
		{pod.LimitMemory, memory(2 << 20), memory(1 << 20), 1},
		{pod.LimitMemory, memory(1 << 20), memory(2 << 20), -1},
		{pod.LimitMemory, memory(1 << 20), memory(1 << 20), 0},
		{pod.LimitMemory, memory(1<<20 + 1), memory(1 << 20), 0},
		{pod.LimitMemory, memory(1 << 20), memory(Unlimited), -1},
		{pod.LimitMemory, Limits{}, memory(1 << 20), 0},
		{pod.LimitMemory, memory(0), memory(1 << 20), 0},
		{pod.LimitMemory, memory(1 << 20), Limits{}, 0},
		{pod.LimitCPUQuota, quota(2000, 1000), quota(1000, 1000), 1},
		{pod.LimitCPUQuota, quota(2000, 1000), quota(2000, 500), -1},
		{pod.LimitCPUQuota, quota(1000, 1000), quota(Unlimited, 1000), -1},
		{pod.LimitCPUQuota, quota(Unlimited, 1000), quota(1000, 1000), 1},
		{pod.LimitCPUQuota, quota(Unlimited, 1000), quota(Unlimited, 100), 0},
		{pod.LimitCPUQuota, Limits{}, quota(1000, 1000), 0},
		{pod.LimitCPUShares, Limits{CPUShares: 1024}, Limits{CPUShares: 998}, 0},
		{pod.LimitCPUShares, Limits{CPUShares: 2048}, Limits{CPUShares: 998}, 1},
		{pod.LimitCPUShares, Limits{CPUShares: 2}, Limits{CPUShares: 998}, -1},
		{pod.LimitCPUShares, Limits{CPUShares: 2}, Limits{}, 0},
		{pod.Limit(9), memory(2), memory(1), 0},
	} {
		if got := compare(c.wanted, c.found, c.part); got != c.want {
			t.Errorf("part %d of %+v and %+v: %d, want %d", c.part, c.wanted, c.found, got, c.want)
		}
	}
}

// hostile makes a pod of numbers that no API server would let through.
func hostile(cpuRequest, cpuLimit, memoryRequest, memoryLimit, pages int64, podLevel bool) *corev1.Pod {
	milli := func(n int64) resource.Quantity { return *resource.NewMilliQuantity(n, resource.DecimalSI) }
	bytes := func(n int64) resource.Quantity { return *resource.NewQuantity(n, resource.BinarySI) }
	r := corev1.ResourceRequirements{
		Requests: corev1.ResourceList{"cpu": milli(cpuRequest), "memory": bytes(memoryRequest), "hugepages-2Mi": bytes(pages), "hugepages-x": bytes(pages)},
		Limits:   corev1.ResourceList{"cpu": milli(cpuLimit), "memory": bytes(memoryLimit), "hugepages-2Mi": bytes(pages)},
	}
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Resources: r}, {Resources: r}}, Overhead: r.Requests}}
	if podLevel {
		p.Spec.Resources = &r
	}
	return p
}

func FuzzLimits(f *testing.F) {
	f.Add(int64(500), int64(500), int64(64<<20), int64(64<<20), int64(2<<20), int64(100000), 0.9, false)
	f.Add(int64(-1), int64(math.MaxInt64), int64(math.MinInt64), int64(math.MaxInt64), int64(math.MaxInt64), int64(1000000), math.Inf(1), true)
	f.Add(int64(math.MaxInt64/1024+1), int64(1), int64(math.MaxInt64), int64(0), int64(-1), int64(1000), math.NaN(), true)
	f.Fuzz(func(t *testing.T, cpuRequest, cpuLimit, memoryRequest, memoryLimit, pages, period int64, factor float64, podLevel bool) {
		if period < 1000 || period > 1000000 {
			t.Skip("New does not take it")
		}
		cfg := Config{CPUPeriod: time.Duration(period) * time.Microsecond, TieredReservation: true, MemoryThrottlingFactor: &factor}
		p := hostile(cpuRequest, cpuLimit, memoryRequest, memoryLimit, pages, podLevel)
		checkLimits(t, limitsOf(p, &cfg, true))
		checkLimits(t, nodeLimits(p.Spec.Containers[0].Resources.Limits))
		h := host{v2: true, pageSizes: []string{"2MB", "1GB"}}
		for _, page := range h.hugetlb(limitsOf(p, &cfg, true)) {
			if page.Limit > math.MaxInt64 {
				t.Errorf("huge pages of %s: %d", page.Pagesize, page.Limit)
			}
		}
		if more := max(cpuRequest, cpuLimit); shares(more) < shares(min(cpuRequest, cpuLimit)) || weight(shares(more)) < weight(shares(min(cpuRequest, cpuLimit))) {
			t.Errorf("%dm gets less than %dm", more, min(cpuRequest, cpuLimit))
		}
		if low, high := min(cpuRequest, cpuLimit), max(cpuRequest, cpuLimit); low > 0 && containerspec.Quota(low, cfg.period()) > containerspec.Quota(high, cfg.period()) {
			t.Errorf("the quota of %dm is more than that of %dm", low, high)
		}
		if s := shares(cpuRequest); !SharesAgree(s, sharesOf(weight(s))) {
			t.Errorf("%d shares do not survive", s)
		}
		asks := map[types.UID]ask{"a": askFor(corev1.PodQOSBurstable, cpuRequest, memoryRequest), "b": askFor(corev1.PodQOSGuaranteed, cpuLimit, memoryLimit)}
		for _, class := range classes() {
			if s := shareOf(class, asks, true); s.min < 0 || s.low < 0 || s.shares > maxShares {
				t.Errorf("%s gets %+v", class, s)
			}
		}
	})
}

func askFor(class corev1.PodQOSClass, cpu, memory int64) ask {
	return ask{class: class, cpu: cpu, memory: memory}
}

func checkLimits(t *testing.T, l Limits) {
	t.Helper()
	if l.CPUShares < minShares || l.CPUShares > maxShares || weight(l.CPUShares) < 1 || weight(l.CPUShares) > maxWeight {
		t.Errorf("shares %d, weight %d", l.CPUShares, weight(l.CPUShares))
	}
	if l.CPUQuota != nil && *l.CPUQuota != 0 && *l.CPUQuota != Unlimited && *l.CPUQuota < minQuota {
		t.Errorf("quota %d", *l.CPUQuota)
	}
	if l.Memory != nil && *l.Memory < 0 {
		t.Errorf("memory %d", *l.Memory)
	}
	for size, limit := range l.HugePages {
		if limit < 0 {
			t.Errorf("huge pages of %d: %d", size, limit)
		}
	}
	for file, value := range l.Unified {
		if n, err := strconv.ParseInt(value, 10, 64); err != nil || n <= 0 {
			t.Errorf("%s = %q", file, value)
		}
	}
}
