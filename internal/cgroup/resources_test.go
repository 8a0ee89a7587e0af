package cgroup

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
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
	for milli, want := range map[int64]uint64{0: 2, 1: 2, 2: 2, 100: 102, 1000: 1024, 1500: 1536, 1 << 40: 262144} {
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
	}{{0, defaultPeriod, 0}, {1, defaultPeriod, 1000}, {10, defaultPeriod, 1000}, {500, defaultPeriod, 50000}, {2000, 5 * time.Millisecond, 10000}} {
		if got := quotaOf(c.milli, c.period); got != c.want {
			t.Errorf("quota of %dm in %s = %d, want %d", c.milli, c.period, got, c.want)
		}
	}
	for size, want := range map[int64]string{2 << 20: "2MB", 1 << 30: "1GB", 64 << 10: "64KB", 512: "512B"} {
		if got := pageSizeName(size); got != want {
			t.Errorf("%d is %s, want %s", size, got, want)
		}
	}
}

func TestLimitsOfPods(t *testing.T) {
	none := map[int64]int64{}
	full := list("cpu", "500m", "memory", "64Mi")
	for name, c := range map[string]struct {
		spec corev1.PodSpec
		cfg  Config
		want limits
	}{
		"best effort": {
			spec: corev1.PodSpec{Containers: []corev1.Container{{}}},
			want: limits{shares: 2, hugePages: none},
		},
		"guaranteed": {
			spec: corev1.PodSpec{Containers: []corev1.Container{needs(full, full)}},
			want: limits{shares: 512, quota: new(int64(50000)), period: 100000, memory: new(int64(64 << 20)), hugePages: none},
		},
		"guaranteed without quotas": {
			spec: corev1.PodSpec{Containers: []corev1.Container{needs(full, full)}}, cfg: Config{NoCPUQuota: true, PodPidsLimit: 7},
			want: limits{shares: 512, quota: new(int64(-1)), period: 100000, memory: new(int64(64 << 20)), pids: new(int64(7)), hugePages: none},
		},
		"burstable without limits": {
			spec: corev1.PodSpec{Containers: []corev1.Container{needs(list("cpu", "250m"), nil)}},
			want: limits{shares: 256, hugePages: none},
		},
		"burstable, one container without limits": {
			spec: corev1.PodSpec{Containers: []corev1.Container{needs(nil, full), {}}},
			want: limits{shares: 2, hugePages: none},
		},
		"burstable, all with a memory limit": {
			spec: corev1.PodSpec{
				InitContainers: []corev1.Container{needs(nil, list("memory", "128Mi"))},
				Containers:     []corev1.Container{needs(list("cpu", "1"), list("memory", "64Mi")), needs(nil, full)},
			},
			want: limits{shares: 1024, memory: new(int64(128 << 20)), hugePages: none},
		},
		"pod-level limits": {
			spec: corev1.PodSpec{
				Resources:  &corev1.ResourceRequirements{Requests: list("cpu", "100m"), Limits: list("cpu", "1", "memory", "1Gi")},
				Containers: []corev1.Container{{}},
			},
			cfg:  Config{CPUPeriod: 10 * time.Millisecond},
			want: limits{shares: 102, quota: new(int64(10000)), period: 10000, memory: new(int64(1 << 30)), hugePages: none},
		},
		"huge pages": {
			spec: corev1.PodSpec{Containers: []corev1.Container{needs(list("cpu", "1", "hugepages-2Mi", "4Mi"), list("hugepages-2Mi", "4Mi"))}},
			want: limits{shares: 1024, hugePages: map[int64]int64{2 << 20: 4 << 20}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := limitsOf(&corev1.Pod{Spec: c.spec}, c.cfg)
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(limits{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}
