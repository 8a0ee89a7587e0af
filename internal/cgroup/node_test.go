package cgroup

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestMemoryHigh(t *testing.T) {
	for _, c := range []struct {
		request, limit int64
		factor         float64
		want           string
	}{
		{100 << 20, 200 << 20, 0.9, "199229440"},
		{0, 100, 1, ""},                 // less than a page
		{0, 10000, 1, "8192"},           // whole pages
		{4096, 4097, 1, ""},             // not above the request
		{100, 100, 0.9, ""},             // no way between them
		{100, 0, 0.9, ""},               // no limit
		{200 << 20, 100 << 20, 0.9, ""}, // the wrong way round
	} {
		if got := memoryHigh(c.request, c.limit, c.factor, 4096); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

func TestShareOf(t *testing.T) {
	asks := map[types.UID]ask{
		"g": {corev1.PodQOSGuaranteed, 4000, 100}, "b1": {corev1.PodQOSBurstable, 500, 10}, "b2": {corev1.PodQOSBurstable, 1500, 1}, "e": {corev1.PodQOSBestEffort, 7, 7},
	}
	for _, c := range []struct {
		class  corev1.PodQOSClass
		tiered bool
		want   share
		limits Limits
	}{
		{corev1.PodQOSGuaranteed, false, share{}, Limits{}},
		{corev1.PodQOSBurstable, false, share{shares: 2048}, Limits{CPUShares: 2048}},
		{corev1.PodQOSBestEffort, true, share{shares: 2}, Limits{CPUShares: 2}},
		{
			corev1.PodQOSGuaranteed, true, share{protect: true, min: 111, low: 11},
			Limits{Unified: map[string]string{"memory.min": "111", "memory.low": "11"}},
		},
		{
			corev1.PodQOSBurstable, true, share{shares: 2048, protect: true, low: 11},
			Limits{CPUShares: 2048, Unified: map[string]string{"memory.low": "11"}},
		},
	} {
		got := shareOf(c.class, asks, c.tiered)
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", c.class, got, c.want)
		}
		if diff := cmp.Diff(c.limits, got.limits(c.class)); diff != "" {
			t.Errorf("%s: %s", c.class, diff)
		}
	}
}

func TestNodeLimits(t *testing.T) {
	l := NodeLimits{
		Capacity:       list("cpu", "4", "memory", "8Gi", "pid", "32768", "hugepages-2Mi", "64Mi", "ephemeral-storage", "1Gi"),
		Enforce:        []string{"pods", "kube-reserved", "system-reserved-compressible"},
		SystemReserved: list("cpu", "500m", "memory", "1Gi", "pid", "100"), KubeReserved: list("cpu", "1500m", "memory", "512Mi"),
		SystemReservedCgroup: "/system.slice", KubeReservedCgroup: "/kube.slice", CPUs: "0-3",
	}
	want := Limits{
		CPUShares: 2048, Memory: new(int64(8<<30 - 1<<30 - 512<<20)), PIDs: new(int64(32668)), CPUs: "0-3",
	}
	if diff := cmp.Diff(want, l.podsLimits()); diff != "" {
		t.Error(diff)
	}
	all := l.reservedCgroups()
	if len(all) != 2 {
		t.Fatalf("reserved %+v", all)
	}
	kube := Limits{CPUShares: 1536, Memory: new(int64(512 << 20)), HugePages: map[int64]int64{}}
	if diff := cmp.Diff(kube, all[0].limits(false)); diff != "" {
		t.Error(diff)
	}
	kube.Unified = map[string]string{"memory.min": "536870912"}
	if diff := cmp.Diff(kube, all[0].limits(true)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Limits{CPUShares: 512}, all[1].limits(true)); diff != "" {
		t.Error(diff)
	}
	texts := []string{all[0].done(), all[0].failed(errors.New("no")), all[1].done(), all[1].failed(errors.New("no"))}
	if diff := cmp.Diff([]string{
		"Updated limits on kube reserved cgroup /kube.slice", `Failed to enforce Kube Reserved Cgroup Limits on "/kube.slice": no`,
		"Updated limits on system reserved cgroup /system.slice", `Failed to enforce System Reserved Compressible Cgroup Limits on "/system.slice": no`,
	}, texts); diff != "" {
		t.Error(diff)
	}

	l.Enforce = []string{"none"}
	if got := l.podsLimits(); *got.Memory != 8<<30 || got.CPUShares != 4096 || len(l.reservedCgroups()) != 0 {
		t.Errorf("not enforced: %+v, %v", got, l.reservedCgroups())
	}
	l.SystemReserved = list("memory", "1Ti")
	if memory := l.Allocatable()[corev1.ResourceMemory]; !memory.IsZero() {
		t.Errorf("more is reserved than there is: %s is left", memory.String())
	}
}

func TestParseReserved(t *testing.T) {
	for _, c := range []struct{ text, fs, slice string }{
		{"/system.slice", "/system.slice", "/system.slice"},
		{"/kubelet.slice/kubelet-daemons.slice", "/kubelet.slice/kubelet-daemons.slice", "/kubelet.slice/kubelet-daemons.slice"},
		{"/runtime", "/runtime", "/runtime.slice"},
		{"daemons/kube/", "/daemons/kube", "/kube.slice"},
	} {
		if got := parseReserved(c.text, Cgroupfs).path(Cgroupfs); got != c.fs {
			t.Errorf("%s: %s, want %s", c.text, got, c.fs)
		}
		if got := parseReserved(c.text, Systemd).path(Systemd); got != c.slice {
			t.Errorf("%s: %s, want %s", c.text, got, c.slice)
		}
	}
	for _, text := range []string{"", "/"} {
		for _, driver := range []Driver{Cgroupfs, Systemd} {
			if got := parseReserved(text, driver); len(got) != 0 {
				t.Errorf("%q: %v", text, got)
			}
		}
	}
}
