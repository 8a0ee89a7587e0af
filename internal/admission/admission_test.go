package admission

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func rules(t testing.TB, change ...func(*Config)) *Rules {
	t.Helper()
	cfg := Config{KernelVersion: "6.8.0-45-generic", AppArmor: true, Version: "v1.37.1", Features: DefaultFeatures()}
	for _, f := range change {
		f(&cfg)
	}
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// aNode has room for ten pods, four CPUs and 8 GiB.
func aNode(change ...func(*Node)) Node {
	n := Node{
		Object: &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "here", Labels: map[string]string{corev1.LabelOSStable: "linux", "disk": "ssd"}},
			Status:     corev1.NodeStatus{Allocatable: res("pods", "10", "cpu", "4", "memory", "8Gi", "ephemeral-storage", "10Gi", "example.com/gpu", "2")},
		},
		SupplementalGroupsPolicy: true,
	}
	for _, f := range change {
		f(&n)
	}
	return n
}

// aPod has one container with these requests ("cpu", "1", ...).
func aPod(name string, requests ...string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", UID: types.UID(name)},
		Spec: corev1.PodSpec{
			NodeName:   "here",
			Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: res(requests...)}}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
}

// with changes a pod.
func with(p *corev1.Pod, change func(*corev1.Pod)) *corev1.Pod {
	change(p)
	return p
}

func res(pairs ...string) corev1.ResourceList {
	list := corev1.ResourceList{}
	for i := 0; i+1 < len(pairs); i += 2 {
		list[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return list
}

func important(p *corev1.Pod, priority int32) *corev1.Pod {
	p.Spec.Priority = &priority
	return p
}

// wantReject compares what users read; an empty reason wants the pod admitted.
func wantReject(t *testing.T, d Decision, reason, message string) {
	t.Helper()
	if reason == "" {
		if d.Reject != nil {
			t.Fatalf("refused with %s: %s", d.Reject.Reason, d.Reject.Message)
		}
		return
	}
	if d.Reject == nil {
		t.Fatalf("admitted, want %s", reason)
	}
	if d.Reject.Reason != reason || d.Reject.Message != "Pod was rejected: "+message || d.Reject.Event() != message {
		t.Fatalf("refused with\n%s: %s\nwant\n%s: Pod was rejected: %s", d.Reject.Reason, d.Reject.Message, reason, message)
	}
	if len(d.Preempt) > 0 {
		t.Fatalf("refused, and %d pods are to be preempted for it", len(d.Preempt))
	}
}

func TestNewNamesWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		name, want string
		cfg        Config
	}{
		{"no version", "has to look like v1.37.1", Config{}},
		{"no sysctl", `"kernel.msg**" is neither`, Config{Version: "v1.37.1", AllowedUnsafeSysctls: []string{"kernel.msg**"}}},
		{"empty", `"" is neither`, Config{Version: "v1.37.1", AllowedUnsafeSysctls: []string{""}}},
		{"too long", "at most 253 characters", Config{Version: "v1.37.1", AllowedUnsafeSysctls: []string{"net." + strings.Repeat("a", 250)}}},
		{"star inside", `"net.*.x" is neither`, Config{Version: "v1.37.1", AllowedUnsafeSysctls: []string{"net.*.x"}}},
		{"not namespaced", `the sysctls "vm.swappiness" are not known to be namespaced`, Config{Version: "v1.37.1", AllowedUnsafeSysctls: []string{"vm.swappiness"}}},
		{"too much", `the sysctls "kernel." are not known to be namespaced`, Config{Version: "v1.37.1", AllowedUnsafeSysctls: []string{"kernel.*"}}},
		{"everything", `the sysctls "" are not known to be namespaced`, Config{Version: "v1.37.1", AllowedUnsafeSysctls: []string{"*"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := New(c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
	patterns := []string{"kernel.msg*", "kernel.shm*", "net.core.somaxconn", "net/ipv4/conf/eth0.1/rp_filter", "fs.mqueue.*", "user.max_user_namespaces", "kernel.domainname", "net.*"}
	if _, err := New(Config{Version: "1.37", AllowedUnsafeSysctls: patterns}); err != nil {
		t.Fatal(err)
	}
}

func TestTheFirstRuleThatSpeaksAgainstAPodNamesTheReason(t *testing.T) {
	r := rules(t, func(c *Config) { c.AppArmor = false })
	p := aPod("p", "cpu", "100")
	p.Spec.SecurityContext = &corev1.PodSecurityContext{
		Sysctls:         []corev1.Sysctl{{Name: "vm.swappiness", Value: "1"}},
		AppArmorProfile: &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault},
	}
	p.Labels = map[string]string{corev1.LabelOSStable: "windows"}
	p.Spec.OS = &corev1.PodOS{Name: corev1.Windows}
	p.Spec.NodeSelector = map[string]string{"disk": "tape"}
	p.Spec.Containers[0].RestartPolicyRules = []corev1.ContainerRestartRule{{Action: corev1.ContainerRestartRuleActionRestartAllContainers}}
	for _, step := range []struct {
		reason string
		repair func()
	}{
		{"SysctlForbidden", func() { p.Spec.SecurityContext.Sysctls = nil }},
		{"PodOSSelectorNodeLabelDoesNotMatch", func() { p.Labels = nil }},
		{"PodOSNotSupported", func() { p.Spec.OS = nil }},
		{"OutOfcpu", func() { p.Spec.Containers[0].Resources.Requests = nil }},
		{"NodeAffinity", func() { p.Spec.NodeSelector = nil }},
		{"AppArmor", func() { p.Spec.SecurityContext = nil }},
		{"PodFeatureUnsupported", func() { p.Spec.Containers[0].RestartPolicyRules = nil }},
	} {
		d := r.Admit(p, false, nil, aNode())
		if d.Reject == nil || d.Reject.Reason != step.reason {
			t.Fatalf("got %+v, want %s", d.Reject, step.reason)
		}
		step.repair()
	}
	wantReject(t, r.Admit(p, false, nil, aNode()), "", "")
}

func TestSysctls(t *testing.T) {
	yes, no := true, false
	r := rules(t, func(c *Config) {
		c.AllowedUnsafeSysctls = []string{"kernel.msg*", "net.core.somaxconn", "user.*", "kernel.domainname", "net/ipv4/conf/eth0.1/rp_filter"}
	})
	for _, c := range []struct {
		name, sysctl string
		spec         corev1.PodSpec
		message      string
	}{
		{name: "safe", sysctl: "net.ipv4.tcp_syncookies"},
		{name: "safe with slashes", sysctl: "net/ipv4/tcp_rmem"},
		{name: "allowed by name", sysctl: "net.core.somaxconn"},
		{name: "allowed by prefix", sysctl: "kernel.msgmax"},
		{name: "allowed, an interface with a dot", sysctl: "net.ipv4.conf.eth0/1.rp_filter"},
		{name: "unsafe", sysctl: "kernel.shmmax", message: `forbidden sysctl: "kernel.shmmax" not allowlisted`},
		{name: "unsafe with slashes", sysctl: "vm/swappiness", message: `forbidden sysctl: "vm.swappiness" not allowlisted`},
		{name: "longer than a name", sysctl: "net.core.somaxconn2", message: `forbidden sysctl: "net.core.somaxconn2" not allowlisted`},
		{name: "empty", sysctl: "", message: `forbidden sysctl: "" not allowlisted`},
		{name: "host network", sysctl: "net.ipv4.tcp_syncookies", spec: corev1.PodSpec{HostNetwork: true},
			message: `forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host Net enabled`},
		{name: "host network does not matter", sysctl: "kernel.msgmax", spec: corev1.PodSpec{HostNetwork: true}},
		{name: "host IPC", sysctl: "kernel.shm_rmid_forced", spec: corev1.PodSpec{HostIPC: true},
			message: `forbidden sysctl: "kernel.shm_rmid_forced" not allowed with host IPC enabled`},
		{name: "host IPC, by prefix", sysctl: "kernel.msgmax", spec: corev1.PodSpec{HostIPC: true},
			message: `forbidden sysctl: "kernel.msgmax" not allowed with host IPC enabled`},
		{name: "host users is the default", sysctl: "user.max_inotify_watches",
			message: `forbidden sysctl: "user.max_inotify_watches" not allowed with host User enabled`},
		{name: "host users", sysctl: "user.max_inotify_watches", spec: corev1.PodSpec{HostUsers: &yes},
			message: `forbidden sysctl: "user.max_inotify_watches" not allowed with host User enabled`},
		{name: "users of its own", sysctl: "user.max_inotify_watches", spec: corev1.PodSpec{HostUsers: &no}},
		{name: "nobody asks for the UTS namespace", sysctl: "kernel.domainname", spec: corev1.PodSpec{HostNetwork: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &corev1.Pod{Spec: c.spec}
			p.Spec.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: "net.ipv4.ping_group_range"}, {Name: c.sysctl}}}
			if c.spec.HostNetwork {
				p.Spec.SecurityContext.Sysctls = p.Spec.SecurityContext.Sysctls[1:]
			}
			reason := ""
			if c.message != "" {
				reason = "SysctlForbidden"
			}
			wantReject(t, r.Admit(p, false, nil, aNode()), reason, c.message)
		})
	}
}

func TestSafeSysctlsDependOnTheKernel(t *testing.T) {
	for _, c := range []struct {
		kernel, sysctl string
		safe           bool
	}{
		{"3.10.0-1160.el7.x86_64", "net.ipv4.ip_local_port_range", true},
		{"3.10.0-1160.el7.x86_64", "net.ipv4.ip_local_reserved_ports", false},
		{"3.16", "net.ipv4.ip_local_reserved_ports", true},
		{"4.5.0", "net.ipv4.tcp_keepalive_probes", true},
		{"4.5.0", "net.ipv4.tcp_fin_timeout", false},
		{"4.6.0", "net.ipv4.tcp_notsent_lowat", true},
		{"4.14.336", "net.ipv4.tcp_wmem", false},
		{"4.15.0\n", "net.ipv4.tcp_slow_start_after_idle", true},
		{"?", "net.ipv4.ip_unprivileged_port_start", true},
		{"?", "net.ipv4.tcp_rmem", false},
	} {
		r := rules(t, func(cfg *Config) { cfg.KernelVersion = c.kernel })
		p := aPod("p")
		p.Spec.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: c.sysctl}}}
		if d := r.Admit(p, false, nil, aNode()); (d.Reject == nil) != c.safe {
			t.Errorf("%s on %q: %+v", c.sysctl, c.kernel, d.Reject)
		}
	}
}

func TestAppArmor(t *testing.T) {
	localhost := func(name string) *corev1.AppArmorProfile {
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: &name}
	}
	confined := &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
	unconfined := &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
	const off = "Cannot enforce AppArmor: AppArmor is not enabled on the host"
	noName := `Cannot enforce AppArmor: invalid empty AppArmor profile name: "&AppArmorProfile{Type:Localhost,LocalhostProfile:* ,}"`
	nilName := `Cannot enforce AppArmor: invalid empty AppArmor profile name: "&AppArmorProfile{Type:Localhost,LocalhostProfile:nil,}"`
	for _, c := range []struct {
		name           string
		pod, container *corev1.AppArmorProfile
		annotation     string
		phase          corev1.PodPhase
		host           bool
		message        string
	}{
		{name: "none wanted", phase: corev1.PodPending},
		{name: "unconfined", pod: unconfined, container: unconfined, annotation: "unconfined", phase: corev1.PodPending},
		{name: "pod", pod: confined, phase: corev1.PodPending, message: off},
		{name: "container", pod: unconfined, container: confined, phase: corev1.PodPending, message: off},
		{name: "annotation", annotation: "runtime/default", phase: corev1.PodPending, message: off},
		{name: "no phase yet", pod: confined, message: off},
		{name: "has run here", pod: confined, phase: corev1.PodRunning},
		{name: "host has it", pod: confined, container: localhost("x"), annotation: "localhost/y", phase: corev1.PodPending, host: true},
		{name: "empty name", container: localhost(" "), phase: corev1.PodPending, host: true, message: noName},
		{name: "no name", pod: &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost}, phase: corev1.PodPending, host: true, message: nilName},
		{name: "the container's own comes first", pod: localhost(" "), container: confined, phase: corev1.PodPending, host: true},
		{name: "then the annotation", pod: localhost(" "), annotation: "unconfined", phase: corev1.PodPending, host: true},
		{name: "an annotation without a name", annotation: "localhost/ ", phase: corev1.PodPending, host: true, message: noName},
		{name: "a broken annotation", pod: localhost("x"), annotation: "what", phase: corev1.PodPending, host: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := rules(t, func(cfg *Config) { cfg.AppArmor = c.host })
			p := aPod("p")
			p.Status.Phase = c.phase
			p.Spec.SecurityContext = &corev1.PodSecurityContext{AppArmorProfile: c.pod}
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{AppArmorProfile: c.container}
			if c.annotation != "" {
				p.Annotations = map[string]string{"container.apparmor.security.beta.kubernetes.io/c": c.annotation}
			}
			reason := ""
			if c.message != "" {
				reason = "AppArmor"
			}
			wantReject(t, r.Admit(p, false, nil, aNode()), reason, c.message)
		})
	}
}

func TestPodFeatures(t *testing.T) {
	off := rules(t, func(c *Config) { c.Features.PodLevelResources = false })
	p := aPod("p")
	p.Spec.Resources = &corev1.ResourceRequirements{Requests: res("cpu", "1")}
	wantReject(t, rules(t).Admit(p, false, nil, aNode()), "", "")
	wantReject(t, off.Admit(p, false, nil, aNode()), "PodLevelResourcesNotSupported", "PodLevelResources feature gate is disabled")
}

func TestDeclaredFeatures(t *testing.T) {
	no := false
	p := with(aPod("p"), func(p *corev1.Pod) {
		p.Spec.HostNetwork, p.Spec.HostUsers = true, &no
		p.Spec.Containers[0].RestartPolicyRules = []corev1.ContainerRestartRule{{Action: corev1.ContainerRestartRuleActionRestartAllContainers}}
	})
	declares := func(names ...string) Node {
		return aNode(func(n *Node) { n.DeclaredFeatures = names })
	}
	r := rules(t)
	wantReject(t, r.Admit(p, false, nil, declares()), "PodFeatureUnsupported",
		"Pod requires node features that are not available: RestartAllContainersOnContainerExits, UserNamespacesHostNetworkSupport")
	wantReject(t, r.Admit(p, false, nil, declares("RestartAllContainersOnContainerExits", "Unheard")), "PodFeatureUnsupported",
		"Pod requires node features that are not available: UserNamespacesHostNetworkSupport")
	// In whatever order they are given.
	wantReject(t, r.Admit(p, false, nil, declares("UserNamespacesHostNetworkSupport", "RestartAllContainersOnContainerExits")), "", "")
	// The object may be from the agent before.
	stale := aNode(func(n *Node) { n.Object.Status.DeclaredFeatures = []string{"UserNamespacesHostNetworkSupport"} })
	p.Spec.Containers[0].RestartPolicyRules = nil
	wantReject(t, r.Admit(p, false, nil, stale), "PodFeatureUnsupported",
		"Pod requires node features that are not available: UserNamespacesHostNetworkSupport")
}

func tenants(r *Rules, pods []*corev1.Pod) []*Tenant {
	var all []*Tenant
	for _, p := range pods {
		all = append(all, r.Tenant(p))
	}
	return all
}
