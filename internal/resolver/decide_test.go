package resolver

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/pod"
)

// aPod is one of several kinds of pods; its own settings repeat and add to others.
func aPod(namespace string, kind uint8, host containerspec.DNS) *corev1.Pod {
	policies := []corev1.DNSPolicy{corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone, corev1.DNSClusterFirstWithHostNet}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: namespace, UID: "u-1"}}
	p.Spec.DNSPolicy = policies[kind%4]
	p.Spec.HostNetwork = kind&16 != 0
	if kind&4 != 0 {
		p.Spec.DNSConfig = &corev1.PodDNSConfig{
			Nameservers: append([]string{"10.0.0.1", "192.0.2.1", "192.0.2.2"}, host.Servers...),
			Searches:    append([]string{"own.example", "svc." + namespace}, host.Searches...),
		}
	}
	return p
}

// compare says whether the messages about a pod's DNS are true of what the runtime is
// asked for.
func compare(t *testing.T, p *corev1.Pod, node *containerspec.Node) {
	t.Helper()
	sandbox, err := containerspec.Sandbox(pod.SandboxRequest{Pod: p}, *node)
	if err != nil {
		t.Fatal(err)
	}
	wanted := containerspec.WantedDNS(p, node)
	given := map[string]string{
		"nameserver": strings.Join(sandbox.DnsConfig.Servers, " "),
		"search":     strings.Join(sandbox.DnsConfig.Searches, " "),
	}
	said := map[string]bool{}
	for _, m := range Messages(p, node) {
		for what, line := range given {
			if applied, is := strings.CutPrefix(m.Text[max(strings.Index(m.Text, "the applied "), 0):], "the applied "+what+" line is: "); is {
				said[what] = true
				if applied != line {
					t.Errorf("%s: said %q, given %q", what, applied, line)
				}
			}
		}
	}
	for what, all := range map[string][]string{"nameserver": wanted.Servers, "search": wanted.Searches} {
		if left := strings.Join(all, " ") != given[what]; left != said[what] {
			t.Errorf("%s: given %q of %q, and said %v", what, given[what], all, said[what])
		}
	}
}

func texts(messages []Message) []string {
	var out []string
	for _, m := range messages {
		out = append(out, m.Reason+": "+m.Text)
	}
	return out
}

func list(n int, s string) []string { return slices.Repeat([]string{s}, n) }

func numbered(n int) []string {
	var out []string
	for i := range n {
		out = append(out, "s"+string(rune('a'+i/26))+string(rune('a'+i%26)))
	}
	return out
}

func TestMessages(t *testing.T) {
	long := strings.Repeat("x", 254)
	name := strings.Repeat("y", 253)
	const servers = "DNSConfigForming: Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: "
	const line = "DNSConfigForming: Search Line limits were exceeded, some search paths have been omitted, the applied search line is: "
	const missing = `MissingClusterDNS: pod: "web_ns(u-1)". kubelet does not have ClusterDNS IP configured and cannot create Pod using "ClusterFirst" policy. Falling back to "Default" policy.`
	for name, c := range map[string]struct {
		kind uint8
		node containerspec.Node
		own  *corev1.PodDNSConfig
		want []string
	}{
		"fits":                {0, containerspec.Node{ClusterDNS: list(3, "10.0.0.1"), ClusterDomain: "c", HostDNS: &containerspec.DNS{Searches: numbered(29)}}, nil, nil},
		"servers":             {0, containerspec.Node{ClusterDNS: []string{"a", "b", "c", "d"}}, nil, []string{servers + "a b c"}},
		"servers of the node": {1, containerspec.Node{HostDNS: &containerspec.DNS{Servers: []string{"a", "b", "a", "d"}}}, nil, []string{servers + "a b a"}},
		"servers of the pod":  {2, containerspec.Node{HostDNS: &containerspec.DNS{Servers: []string{"a"}}}, &corev1.PodDNSConfig{Nameservers: []string{"1", "2", "1", "3", "4"}}, []string{servers + "1 2 3"}},
		"count": {0, containerspec.Node{ClusterDNS: []string{"a"}, ClusterDomain: "c", HostDNS: &containerspec.DNS{Searches: numbered(30)}}, nil,
			[]string{line + "ns.svc.c svc.c c " + strings.Join(numbered(29), " ")}},
		"long name": {1, containerspec.Node{HostDNS: &containerspec.DNS{Searches: []string{"a", long, "b"}}}, nil, []string{line + "a b"}},
		"long line": {1, containerspec.Node{HostDNS: &containerspec.DNS{Searches: list(9, name)}}, nil, []string{line + strings.Join(list(8, name), " ")}},
		"no cluster DNS": {0, containerspec.Node{HostDNS: &containerspec.DNS{Servers: []string{"a", "b", "c", "d"}, Searches: []string{long}}}, nil,
			[]string{missing, servers + "a b c", line}},
		"no cluster DNS, and not wanted": {1, containerspec.Node{HostDNS: &containerspec.DNS{}}, nil, nil},
		"no resolver": {1, containerspec.Node{}, &corev1.PodDNSConfig{Nameservers: []string{"1", "2", "3"}, Searches: numbered(32)},
			[]string{servers + "127.0.0.1 1 2", line + ". " + strings.Join(numbered(31), " ")}},
		"unknown policy": {3, containerspec.Node{HostDNS: &containerspec.DNS{}}, nil, []string{missing}},
		"host network":   {16, containerspec.Node{HostDNS: &containerspec.DNS{}}, nil, nil},
	} {
		p := aPod("ns", c.kind, containerspec.DNS{})
		p.Spec.DNSConfig = c.own
		if got := texts(Messages(p, &c.node)); !slices.Equal(got, c.want) {
			t.Errorf("%s:\n%q, want\n%q", name, got, c.want)
		}
		compare(t, p, &c.node)
	}
}

func TestOverLimits(t *testing.T) {
	for _, c := range []struct {
		domain   string
		searches []string
		want     string
	}{
		{"", numbered(32), ""},
		{"c", numbered(29), ""},
		{"", numbered(33), "Resolv.conf file '/r' contains search line consisting of more than 32 domains!"},
		{"c", numbered(30), "Resolv.conf file '/r' contains search line consisting of more than 29 domains!"},
		{"", []string{"a", strings.Repeat("x", 254)}, `Resolv.conf file "/r" contains a search path which length is more than allowed 253 chars!`},
		{"", list(9, strings.Repeat("x", 253)), "Resolv.conf file '/r' contains search line which length is more than allowed 2048 chars!"},
	} {
		if got := overLimits("/r", c.domain, c.searches); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
