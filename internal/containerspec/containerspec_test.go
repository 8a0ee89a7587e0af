package containerspec

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

func node() Node {
	return Node{SELinux: true,
		Name: "n", LogRoot: "/var/log/pods", ClusterDNS: []string{"10.96.0.10"}, ClusterDomain: "cluster.local",
		HostDNS: &DNS{Servers: []string{"192.0.2.53"}, Searches: []string{"example.com"}, Options: []string{"edns0"}},
		HostIPs: []string{"192.0.2.1"}, MemoryCapacity: 16 << 30,
	}
}

func testPod() *corev1.Pod {
	grace := int64(30)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "web", Namespace: "shop", UID: "0b1c", Labels: map[string]string{"app": "web", LabelPodName: "forged"},
			Annotations: map[string]string{"kubernetes.io/config.source": "api"},
		},
		Spec: corev1.PodSpec{
			DNSPolicy: corev1.DNSClusterFirst, TerminationGracePeriodSeconds: &grace, SecurityContext: &corev1.PodSecurityContext{},
			EnableServiceLinks: new(true),
			Containers: []corev1.Container{{
				Name: "c", Image: "nginx", Command: []string{"run", "$(PORT)"}, Args: []string{"$(MISSING)", "$$(PORT)"},
				Env:                    []corev1.EnvVar{{Name: "PORT", Value: "80"}, {Name: "URL", Value: "http://x:$(PORT)"}, {Name: "EMPTY"}},
				Ports:                  []corev1.ContainerPort{{Name: "http", ContainerPort: 80, HostPort: 8080, Protocol: corev1.ProtocolTCP}},
				TerminationMessagePath: "/dev/termination-log", TerminationMessagePolicy: corev1.TerminationMessageReadFile,
				Resources: corev1.ResourceRequirements{
					Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m"), corev1.ResourceMemory: resource.MustParse("1Gi")},
					Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("2Gi")},
				},
			}},
		},
	}
}

func request(p *corev1.Pod) pod.ContainerRequest {
	return pod.ContainerRequest{
		Sandbox: pod.SandboxRequest{Pod: p, Grant: pod.Grant{CgroupParent: "/kubepods/burstable/pod0b1c"}}, SandboxID: "s",
		Container: &p.Spec.Containers[0], Attempt: 3, CrashCount: 2, Image: pod.Image{Ref: "sha256:1", UserSpecified: "nginx"},
	}
}

// ownNamespaces are those of a pod that shares none but the users.
func ownNamespaces() *runtimeapi.NamespaceOption {
	return &runtimeapi.NamespaceOption{
		Pid: runtimeapi.NamespaceMode_CONTAINER, UsernsOptions: &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_NODE},
	}
}

func TestSandbox(t *testing.T) {
	got, err := Sandbox(pod.SandboxRequest{Pod: testPod(), Attempt: 2, Grant: pod.Grant{CgroupParent: "/kubepods/burstable/pod0b1c"}}, node())
	if err != nil {
		t.Fatal(err)
	}
	want := &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: "web", Namespace: "shop", Uid: "0b1c", Attempt: 2},
		Hostname: "web", LogDirectory: "/var/log/pods/shop_web_0b1c",
		DnsConfig: &runtimeapi.DNSConfig{
			Servers:  []string{"10.96.0.10"},
			Searches: []string{"shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.com"}, Options: []string{"ndots:5"},
		},
		PortMappings: []*runtimeapi.PortMapping{{ContainerPort: 80, HostPort: 8080}},
		Labels: map[string]string{
			"app": "web", "io.kubernetes.pod.name": "web", "io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.uid": "0b1c",
		},
		Annotations: map[string]string{"kubernetes.io/config.source": "api"},
		Linux: &runtimeapi.LinuxPodSandboxConfig{
			CgroupParent: "/kubepods/burstable/pod0b1c", Overhead: &runtimeapi.LinuxContainerResources{},
			SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
				NamespaceOptions: ownNamespaces(),
				Seccomp:          &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault},
			},
			Resources: &runtimeapi.LinuxContainerResources{CpuPeriod: 100000, CpuQuota: 50000, CpuShares: 256, MemoryLimitInBytes: 2 << 30},
		},
	}
	if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
		t.Error(d)
	}
}

func TestContainer(t *testing.T) {
	p := testPod()
	got, err := Container(request(p), node())
	if err != nil {
		t.Fatal(err)
	}
	want := &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: "c", Attempt: 3},
		Image:    &runtimeapi.ImageSpec{Image: "sha256:1", UserSpecifiedImage: "nginx"},
		Command:  []string{"run", "80"}, Args: []string{"$(MISSING)", "$(PORT)"},
		Envs:   []*runtimeapi.KeyValue{{Key: "PORT", Value: []byte("80")}, {Key: "URL", Value: []byte("http://x:80")}, {Key: "EMPTY", Value: []byte{}}},
		Labels: map[string]string{"io.kubernetes.pod.name": "web", "io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.uid": "0b1c", "io.kubernetes.container.name": "c"},
		Annotations: map[string]string{
			"io.kubernetes.container.hash":                     Hash(&p.Spec.Containers[0]),
			"io.kubernetes.container.restartCount":             "3",
			"io.kubernetes.container.terminationMessagePath":   "/dev/termination-log",
			"io.kubernetes.container.terminationMessagePolicy": "File",
			"io.kubernetes.container.ports":                    `[{"name":"http","hostPort":8080,"containerPort":80,"protocol":"TCP"}]`,
			"io.kubernetes.pod.terminationGracePeriod":         "30",
			"nodeagent.dev/crash-count":                        "2",
		},
		LogPath: "c/3.log",
		Linux: &runtimeapi.LinuxContainerConfig{
			Resources: &runtimeapi.LinuxContainerResources{
				CpuPeriod: 100000, CpuQuota: 50000, CpuShares: 256, MemoryLimitInBytes: 2 << 30, OomScoreAdj: 1000 - 1000/16,
				Unified: map[string]string{"memory.min": "0", "memory.low": "0"},
			},
			SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
				NamespaceOptions: ownNamespaces(),
				MaskedPaths:      maskedPaths(), ReadonlyPaths: readonlyPaths(),
				Seccomp: &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined},
			},
		},
	}
	if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
		t.Error(d)
	}
	if n := CrashCountOf(got.Annotations); n != 2 {
		t.Errorf("crash count %d", n)
	}
}

// The constant is the one that the kubelet's own test holds since 1.31
// (container_hash_test.go).
func TestHash(t *testing.T) {
	c := &corev1.Container{Name: "test_container", Image: "foo/image:v1", Command: []string{"ignored"}}
	if got := Hash(c); got != "8e45cbd0" {
		t.Errorf("hash %s", got)
	}
	c.Image = "foo/image:v2"
	if got := Hash(c); got == "8e45cbd0" {
		t.Error("the image does not count")
	}
}

func TestCounts(t *testing.T) {
	for _, c := range []struct {
		annotation string
		want       int
	}{{"0", 0}, {"7", 7}, {"-1", -1}, {"", -1}, {"x", -1}, {"99999999999999", -1}} {
		if got := CrashCountOf(map[string]string{AnnotationCrashCount: c.annotation}); got != c.want {
			t.Errorf("%q: %d, want %d", c.annotation, got, c.want)
		}
	}
	if got := CrashCountOf(nil); got != -1 {
		t.Errorf("none: %d", got)
	}
}

func TestHostname(t *testing.T) {
	yes := true
	for _, c := range []struct {
		name string
		edit func(*corev1.Pod)
		want string
		fail string
	}{
		{"long", func(p *corev1.Pod) { p.Name = strings.Repeat("a", 62) + "-." + "b" }, strings.Repeat("a", 62), ""},
		{"hostname", func(p *corev1.Pod) { p.Spec.Hostname = "h" }, "h", ""},
		{"bad hostname", func(p *corev1.Pod) { p.Spec.Hostname = "H_" }, "", "not a valid DNS label"},
		{"subdomain", func(p *corev1.Pod) { p.Spec.Subdomain = "sub" }, "web", ""},
		{"fqdn", func(p *corev1.Pod) { p.Spec.Subdomain, p.Spec.SetHostnameAsFQDN = "sub", &yes }, "web.sub.shop.svc.cluster.local", ""},
		{"long fqdn", func(p *corev1.Pod) { p.Spec.Subdomain, p.Spec.SetHostnameAsFQDN = strings.Repeat("s", 60), &yes }, "", "too long"},
		{"host network", func(p *corev1.Pod) { p.Spec.HostNetwork = true }, "", ""},
		{"override", func(p *corev1.Pod) { o := "a.b"; p.Spec.HostnameOverride = &o }, "a.b", ""},
	} {
		p := testPod()
		c.edit(p)
		got, err := Sandbox(pod.SandboxRequest{Pod: p}, node())
		if c.fail != "" {
			wantFailure(t, c.name, err, "CreatePodSandboxError", c.fail)
		} else if err != nil || got.Hostname != c.want {
			t.Errorf("%s: %q, %v, want %q", c.name, got.GetHostname(), err, c.want)
		}
	}
}

func wantFailure(t *testing.T, name string, err error, reason, text string) {
	t.Helper()
	var f *pod.Failure
	if !errors.As(err, &f) || f.Reason != reason || !strings.Contains(f.Error(), text) {
		t.Errorf("%s: %v, want %s with %q", name, err, reason, text)
	}
}

// A pod would keep wrong settings for all its life.
func TestNoSandboxWithoutTheNodesResolver(t *testing.T) {
	for _, policy := range []corev1.DNSPolicy{corev1.DNSDefault, corev1.DNSClusterFirst, corev1.DNSNone} {
		p, n := testPod(), node()
		p.Spec.DNSPolicy, n.HostDNS = policy, &DNS{Err: errors.New("open /run/r.conf: no such file or directory")}
		_, err := Sandbox(pod.SandboxRequest{Pod: p}, n)
		wantFailure(t, string(policy), err, "CreatePodSandboxError", "open /run/r.conf: no such file or directory")
	}
}

func TestDNS(t *testing.T) {
	two := "2"
	for _, c := range []struct {
		name string
		edit func(*corev1.Pod, *Node)
		want *runtimeapi.DNSConfig
	}{
		{"default", func(p *corev1.Pod, _ *Node) { p.Spec.DNSPolicy = corev1.DNSDefault }, &runtimeapi.DNSConfig{
			Servers: []string{"192.0.2.53"}, Searches: []string{"example.com"}, Options: []string{"edns0"},
		}},
		{"cluster first on the host network", func(p *corev1.Pod, _ *Node) { p.Spec.HostNetwork = true }, &runtimeapi.DNSConfig{
			Servers: []string{"192.0.2.53"}, Searches: []string{"example.com"}, Options: []string{"edns0"},
		}},
		{"with host net", func(p *corev1.Pod, n *Node) {
			p.Spec.HostNetwork, p.Spec.DNSPolicy, n.HostDNS = true, corev1.DNSClusterFirstWithHostNet, nil
		}, &runtimeapi.DNSConfig{
			Servers: []string{"10.96.0.10"}, Searches: []string{"shop.svc.cluster.local", "svc.cluster.local", "cluster.local"}, Options: []string{"ndots:5"},
		}},
		{"no cluster DNS", func(_ *corev1.Pod, n *Node) { n.ClusterDNS = nil }, &runtimeapi.DNSConfig{
			Servers: []string{"192.0.2.53"}, Searches: []string{"example.com"}, Options: []string{"edns0"},
		}},
		{"no resolv.conf", func(p *corev1.Pod, n *Node) { p.Spec.DNSPolicy, n.HostDNS = corev1.DNSDefault, nil }, &runtimeapi.DNSConfig{
			Servers: []string{"127.0.0.1"}, Searches: []string{"."},
		}},
		{"none", func(p *corev1.Pod, _ *Node) {
			p.Spec.DNSPolicy = corev1.DNSNone
			p.Spec.DNSConfig = &corev1.PodDNSConfig{
				Nameservers: []string{"1.1.1.1", "1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4"}, Searches: []string{"a", strings.Repeat("x", 254)},
				Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: &two}, {Name: "rotate"}},
			}
		}, &runtimeapi.DNSConfig{Servers: []string{"1.1.1.1", "2.2.2.2", "3.3.3.3"}, Searches: []string{"a"}, Options: []string{"ndots:2", "rotate"}}},
		{"merged", func(p *corev1.Pod, _ *Node) {
			p.Spec.DNSConfig = &corev1.PodDNSConfig{Searches: []string{"cluster.local", "b"}, Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: &two}}}
		}, &runtimeapi.DNSConfig{
			Servers:  []string{"10.96.0.10"},
			Searches: []string{"shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.com", "b"}, Options: []string{"ndots:2"},
		}},
	} {
		p, n := testPod(), node()
		c.edit(p, &n)
		if d := cmp.Diff(c.want, dnsConfig(p, &n), protocmp.Transform()); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

func TestUsersOfItsOwn(t *testing.T) {
	p := testPod()
	p.Spec.HostUsers = new(bool)
	_, err := Sandbox(pod.SandboxRequest{Pod: p}, node())
	wantFailure(t, "no IDs", err, "CreatePodSandboxError", "not what it was granted")
	grant := pod.Grant{UserIDs: &pod.IDRange{First: 131072, Length: 65536}}
	_, err = Sandbox(pod.SandboxRequest{Pod: testPod(), Grant: grant}, node())
	wantFailure(t, "IDs not asked for", err, "CreatePodSandboxError", "not what it was granted")
	sandbox, err := Sandbox(pod.SandboxRequest{Pod: p, Grant: grant}, node())
	if err != nil {
		t.Fatal(err)
	}
	ids := []*runtimeapi.IDMapping{{HostId: 131072, Length: 65536}}
	want := &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_POD, Uids: ids, Gids: ids}
	if d := cmp.Diff(want, sandbox.Linux.SecurityContext.NamespaceOptions.UsernsOptions, protocmp.Transform()); d != "" {
		t.Error(d)
	}
	c, err := Container(pod.ContainerRequest{
		Sandbox: pod.SandboxRequest{Pod: p, Grant: grant}, Container: &p.Spec.Containers[0], HostsFile: "/h",
		Volumes: pod.Volumes{"data": {HostPath: "/v"}},
	}, node())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, c.Linux.SecurityContext.NamespaceOptions.UsernsOptions, protocmp.Transform()); d != "" {
		t.Error(d)
	}
	if len(c.Mounts) == 0 {
		t.Error("no mounts")
	}
	for _, m := range c.Mounts {
		if d := cmp.Diff(ids, m.UidMappings, protocmp.Transform()) + cmp.Diff(ids, m.GidMappings, protocmp.Transform()); d != "" {
			t.Errorf("%s: %s", m.ContainerPath, d)
		}
	}
}
