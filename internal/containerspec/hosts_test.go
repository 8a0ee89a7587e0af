package containerspec

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

func TestHostsFile(t *testing.T) {
	hosts := &runtimeapi.Mount{HostPath: "/h/etc-hosts", ContainerPath: "/etc/hosts", SelinuxRelabel: true}
	message := &runtimeapi.Mount{HostPath: "/h/log", ContainerPath: "/dev/termination-log", SelinuxRelabel: true}
	volume := func(path string) *runtimeapi.Mount { return &runtimeapi.Mount{HostPath: "/h/v", ContainerPath: path} }
	for _, c := range []struct {
		name, file, mountPath string
		want                  []*runtimeapi.Mount
	}{
		{"between the others", "/h/etc-hosts", "/v", []*runtimeapi.Mount{volume("/v"), hosts, message}},
		{"of the container", "/h/etc-hosts", "/etc/hosts", []*runtimeapi.Mount{volume("/etc/hosts"), message}},
		{"spelled with a slash", "/h/etc-hosts", "/etc/hosts/", []*runtimeapi.Mount{volume("/etc/hosts/"), message}},
		{"spelled relative", "/h/etc-hosts", "etc/./hosts", []*runtimeapi.Mount{volume("/etc/hosts"), message}},
		{"above", "/h/etc-hosts", "/etc", []*runtimeapi.Mount{volume("/etc"), hosts, message}},
		{"below", "/h/etc-hosts", "/etc/hosts/a", []*runtimeapi.Mount{volume("/etc/hosts/a"), hosts, message}},
		{"beside", "/h/etc-hosts", "/etc/hosts.allow", []*runtimeapi.Mount{volume("/etc/hosts.allow"), hosts, message}},
		{"none", "", "/v", []*runtimeapi.Mount{volume("/v"), message}},
	} {
		for _, privileged := range []bool{false, true} {
			p := testPod()
			ctr := &p.Spec.Containers[0]
			ctr.SecurityContext = &corev1.SecurityContext{Privileged: &privileged}
			ctr.VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: c.mountPath}}
			req := request(p)
			req.HostsFile, req.TerminationLog, req.Volumes = c.file, "/h/log", pod.Volumes{"v": {HostPath: "/h/v"}}
			got, err := Container(req, node())
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got.Mounts, protocmp.Transform()); d != "" {
				t.Errorf("%s, privileged %v: %s", c.name, privileged, d)
			}
		}
	}
}

func TestHostnameAndDomain(t *testing.T) {
	yes := true
	override := func(name string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.Hostname, p.Spec.Subdomain, p.Spec.HostnameOverride = "h", "sub", &name }
	}
	const domain = "sub.shop.svc.cluster.local"
	for _, c := range []struct {
		name               string
		edit               func(*corev1.Pod)
		want, domain, fail string
	}{
		{"name", func(*corev1.Pod) {}, "web", "", ""},
		{"hostname", func(p *corev1.Pod) { p.Spec.Hostname = "h" }, "h", "", ""},
		{"subdomain", func(p *corev1.Pod) { p.Spec.Subdomain = "sub" }, "web", domain, ""},
		{"both", func(p *corev1.Pod) { p.Spec.Hostname, p.Spec.Subdomain = "h", "sub" }, "h", domain, ""},
		{"fqdn stays apart", func(p *corev1.Pod) { p.Spec.Subdomain, p.Spec.SetHostnameAsFQDN = "sub", &yes }, "web", domain, ""},
		{"long fqdn is none of the file's", func(p *corev1.Pod) { p.Spec.Subdomain, p.Spec.SetHostnameAsFQDN = strings.Repeat("s", 60), &yes },
			"web", strings.Repeat("s", 60) + ".shop.svc.cluster.local", ""},
		{"host network", func(p *corev1.Pod) { p.Spec.HostNetwork, p.Spec.Subdomain = true, "sub" }, "web", domain, ""},
		{"override", override("a.b"), "a.b", "", ""},
		{"long override", override(strings.Repeat("a", 62) + ".b"), strings.Repeat("a", 62), "", ""},
		{"long name", func(p *corev1.Pod) { p.Name = strings.Repeat("a", 65) }, strings.Repeat("a", 63), "", ""},
		{"nothing left of a name", func(p *corev1.Pod) { p.Name = strings.Repeat("-", 65) }, "", "", "was invalid"},
		{"bad override", override("Invalid-!"), "", "", `pod HostnameOverride "Invalid-!" is not a valid DNS subdomain`},
		{"bad hostname", func(p *corev1.Pod) { p.Spec.Hostname = "a\nb" }, "", "", `pod Hostname "a\nb" is not a valid DNS label`},
		{"long hostname", func(p *corev1.Pod) { p.Spec.Hostname = strings.Repeat("a", 64) }, "", "", "must be no more than 63 "},
		{"bad subdomain", func(p *corev1.Pod) { p.Spec.Subdomain = "a_b" }, "", "", `pod Subdomain "a_b" is not a valid DNS label`},
	} {
		p := testPod()
		c.edit(p)
		name, domain, err := HostnameAndDomain(p, "cluster.local")
		if c.fail != "" {
			wantFailure(t, c.name, err, "CreateContainerConfigError", c.fail)
		} else if err != nil || name != c.want || domain != c.domain {
			t.Errorf("%s: %q, %q, %v, want %q, %q", c.name, name, domain, err, c.want, c.domain)
		}
	}
	_, _, err := HostnameAndDomain(nil, "cluster.local")
	wantFailure(t, "nil", err, "CreateContainerConfigError", "no pod")
}
