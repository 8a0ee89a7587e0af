package cgroup

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestNames(t *testing.T) {
	const uid = "0f8fad5b-d9cb-469f-a165-70867728950e"
	for _, c := range []struct {
		root           string
		class          corev1.PodQOSClass
		fs, slice      string
		parent, inUnit string
	}{
		{
			"/", corev1.PodQOSGuaranteed, "/kubepods/pod" + uid,
			"/kubepods.slice/kubepods-pod0f8fad5b_d9cb_469f_a165_70867728950e.slice",
			"kubepods.slice", "kubepods-pod0f8fad5b_d9cb_469f_a165_70867728950e.slice",
		},
		{
			"", corev1.PodQOSBurstable, "/kubepods/burstable/pod" + uid,
			"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0f8fad5b_d9cb_469f_a165_70867728950e.slice",
			"kubepods-burstable.slice", "kubepods-burstable-pod0f8fad5b_d9cb_469f_a165_70867728950e.slice",
		},
		{
			"/kubelet", corev1.PodQOSBestEffort, "/kubelet/kubepods/besteffort/pod" + uid,
			"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod0f8fad5b_d9cb_469f_a165_70867728950e.slice",
			"kubelet-kubepods-besteffort.slice", "kubelet-kubepods-besteffort-pod0f8fad5b_d9cb_469f_a165_70867728950e.slice",
		},
		{
			"/a.slice/a-b_c.slice", corev1.PodQOSGuaranteed, "/a/b-c/kubepods/pod" + uid,
			"/a.slice/a-b_c.slice/a-b_c-kubepods.slice/a-b_c-kubepods-pod0f8fad5b_d9cb_469f_a165_70867728950e.slice",
			"a-b_c-kubepods.slice", "a-b_c-kubepods-pod0f8fad5b_d9cb_469f_a165_70867728950e.slice",
		},
	} {
		class := parseRoot(c.root).child(podsName).class(c.class)
		n := class.child(podPrefix + uid)
		if got := n.path(Cgroupfs); got != c.fs {
			t.Errorf("cgroupfs: %s, want %s", got, c.fs)
		}
		if got := n.path(Systemd); got != c.slice {
			t.Errorf("systemd: %s, want %s", got, c.slice)
		}
		if parent, unit := n.unit(); parent != c.parent || unit != c.inUnit {
			t.Errorf("unit: %s in %s, want %s in %s", unit, parent, c.inUnit, c.parent)
		}
		if got, ok := class.podIn(Cgroupfs, "pod"+uid); !ok || got != uid {
			t.Errorf("cgroupfs: pod %s, %v", got, ok)
		}
		if got, ok := class.podIn(Systemd, c.inUnit); !ok || got != uid {
			t.Errorf("systemd: pod %s, %v", got, ok)
		}
	}
	if parent, unit := parseRoot("/").child("kubepods").unit(); parent != "-.slice" || unit != "kubepods.slice" {
		t.Errorf("top unit: %s in %s", unit, parent)
	}
	if got := parseRoot("/").path(Systemd); got != "/" {
		t.Errorf("the top is %s", got)
	}
}

func TestWhatIsNoPod(t *testing.T) {
	n := parseRoot("/").child(podsName)
	for _, dir := range []string{"burstable", "pod", "podx/y", "pod..", "tasks", "kubepods-podabc.slice", "pod_a"} {
		if uid, ok := n.podIn(Cgroupfs, dir); ok {
			t.Errorf("cgroupfs: %s is pod %s", dir, uid)
		}
	}
	for _, dir := range []string{"kubepods-burstable.slice", "podabc", "kubepods-podabc", "kubepods-burstable-podabc.slice"} {
		if uid, ok := n.podIn(Systemd, dir); ok {
			t.Errorf("systemd: %s is pod %s", dir, uid)
		}
	}
	for _, bad := range []types.UID{"", "..", "a/b", "a b", "a_b"} {
		if validUID(bad) == nil {
			t.Errorf("UID %q was accepted", bad)
		}
	}
	if !slices.Equal(classes(), []corev1.PodQOSClass{corev1.PodQOSGuaranteed, corev1.PodQOSBurstable, corev1.PodQOSBestEffort}) {
		t.Error("a class is missing")
	}
}
