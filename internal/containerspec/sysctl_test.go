package containerspec

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

func TestSysctlNames(t *testing.T) {
	for name, want := range map[string]string{
		"kernel.shm_rmid_forced":               "kernel.shm_rmid_forced",
		"net/ipv4/tcp_syncookies":              "net.ipv4.tcp_syncookies",
		"net/ipv4/conf/eno2.100/rp_filter":     "net.ipv4.conf.eno2/100.rp_filter",
		"net.ipv4.conf.eno2/100.rp_filter":     "net.ipv4.conf.eno2/100.rp_filter",
		"net.ipv4/mixed.but/first.dot/decides": "net.ipv4/mixed.but/first.dot/decides",
		"word":                                 "word",
		"":                                     "",
	} {
		p := testPod()
		p.Spec.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: name, Value: "1"}}}
		got, err := Sandbox(pod.SandboxRequest{Pod: p}, node())
		if err != nil {
			t.Fatal(err)
		}
		if all := got.GetLinux().GetSysctls(); len(all) != 1 || all[want] != "1" {
			t.Errorf("%q is passed on as %v, want %q", name, all, want)
		}
	}
}
