package etchosts

import (
	"cmp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

const managed = `# Kubernetes-managed hosts file.
127.0.0.1	localhost
::1	localhost ip6-localhost ip6-loopback
fe00::0	ip6-localnet
fe00::0	ip6-mcastprefix
fe00::1	ip6-allnodes
fe00::2	ip6-allrouters
`

func aliases() []corev1.HostAlias {
	return []corev1.HostAlias{
		{IP: "192.0.2.10", Hostnames: []string{"db", "db.example.com"}},
		{IP: "2001:db8::10", Hostnames: []string{"six"}},
		{IP: "010.0.0.1"}, // the API takes one without names, and leading zeros
	}
}

const aliasLines = `
# Entries added by HostAliases.
192.0.2.10	db	db.example.com
2001:db8::10	six
010.0.0.1	
`

func TestPodContent(t *testing.T) {
	for _, c := range []struct {
		name, domain string
		ips          []string
		aliases      []corev1.HostAlias
		want         string
	}{
		{"one address", "", []string{"10.0.0.7"}, nil, managed + "10.0.0.7\tweb\n"},
		{"no aliases", "", []string{"10.0.0.7"}, []corev1.HostAlias{}, managed + "10.0.0.7\tweb\n"},
		{"IPv6", "", []string{"fd00::7"}, nil, managed + "fd00::7\tweb\n"},
		{"dual stack with a domain", "sub.shop.svc.cluster.local", []string{"10.0.0.7", "fd00::7"}, nil,
			managed + "10.0.0.7\tweb.sub.shop.svc.cluster.local\tweb\nfd00::7\tweb.sub.shop.svc.cluster.local\tweb\n"},
		{"aliases", "d", []string{"10.0.0.7"}, aliases(), managed + "10.0.0.7\tweb.d\tweb\n" + aliasLines},
	} {
		if got, err := podContent(c.ips, "web", c.domain, c.aliases); got != c.want || err != nil {
			t.Errorf("%s: %v\n%s\nwant\n%s", c.name, err, got, c.want)
		}
	}
}

func TestNodeContent(t *testing.T) {
	const head = "# Kubernetes-managed hosts file (host network).\n"
	for _, c := range []struct {
		name, node string
		aliases    []corev1.HostAlias
		want       string
	}{
		{"as it is", "# mine\n127.0.0.1\tlocalhost\r\n", nil, head + "# mine\n127.0.0.1\tlocalhost\r\n"},
		{"empty", "", nil, head},
		{"aliases", "127.0.0.1 localhost\n", aliases(), head + "127.0.0.1 localhost\n" + aliasLines},
		{"open last line", "127.0.0.1 localhost", aliases(), head + "127.0.0.1 localhost" + aliasLines},
	} {
		if got, err := nodeContent(c.node, c.aliases); got != c.want || err != nil {
			t.Errorf("%s: %v\n%s\nwant\n%s", c.name, err, got, c.want)
		}
	}
}

func TestContentRefusesWhatIsNoWord(t *testing.T) {
	for _, bad := range []string{"", "a\n192.0.2.66\tbank", "a\rb", "a b", "a\tb", "a#", "a\x00", "a\x7f", "\u2028", "a\u0085b", "\xff"} {
		for where, try := range map[string]func() (string, error){
			"pod IP 1":                         func() (string, error) { return podContent([]string{"10.0.0.7", bad}, "web", "", nil) },
			"the host name":                    func() (string, error) { return podContent([]string{"10.0.0.7"}, bad, "", nil) },
			"spec.hostAliases[1].ip":           func() (string, error) { return nodeContent("", []corev1.HostAlias{{IP: "::1"}, {IP: bad}}) },
			"spec.hostAliases[0].hostnames[1]": func() (string, error) { return podContent(nil, "web", "", alias("::1", "a", bad)) },
			"the domain": func() (string, error) {
				return podContent([]string{"10.0.0.7"}, "web", cmp.Or(bad, " "), nil) // empty: there is none
			},
		} {
			got, err := try()
			if got != "" || err == nil || !strings.Contains(err.Error(), where) || strings.ContainsAny(err.Error(), "\n\r\x00") {
				t.Errorf("%s %q: %q, %v", where, bad, got, err)
			}
		}
	}
}

func alias(ip string, names ...string) []corev1.HostAlias {
	return []corev1.HostAlias{{IP: ip, Hostnames: names}}
}

// FuzzContent: whatever is put in, there are as many lines as there are addresses
// and aliases, and each has the words that were put into it and no others.
func FuzzContent(f *testing.F) {
	f.Add("10.0.0.7", "web", "sub.shop.svc.cluster.local", "192.0.2.10", "db")
	f.Add("fd00::7", "web", "", "2001:db8::1", "a\n192.0.2.66\tbank")
	f.Add("10.0.0.7", "web#", "d\r", "\n", "")
	f.Add("10.0.0.7\v", "\u2029", "\x85", "a b", "\xff")
	f.Fuzz(func(t *testing.T, ip, name, domain, aliasIP, aliasName string) {
		given := alias(aliasIP, aliasName, "second")
		own := name
		if domain != "" {
			own = name + "." + domain + " " + name
		}
		for head, generate := range map[string]func() (string, error){
			managed:    func() (string, error) { return podContent([]string{ip}, name, domain, given) },
			headerNode: func() (string, error) { return nodeContent("", given) },
		} {
			got, err := generate()
			if err != nil {
				if got != "" {
					t.Errorf("%q with %v", got, err)
				}
				continue
			}
			rest, ok := strings.CutPrefix(got, head)
			if !ok || !strings.HasSuffix(got, "\n") {
				t.Fatalf("not ours: %q", got)
			}
			want := []string{"", "# Entries added by HostAliases.", aliasIP + " " + aliasName + " second", ""}
			if head != headerNode {
				want = append([]string{ip + " " + own}, want...)
			}
			lines := strings.Split(rest, "\n")
			if head == headerNode && len(lines) == len(want) {
				lines[0] = strings.TrimSpace(lines[0])
			}
			for i := range lines {
				if len(lines) != len(want) || strings.Join(strings.Fields(lines[i]), " ") != want[i] {
					t.Fatalf("lines %q, want the words of %q", lines, want)
				}
			}
		}
	})
}
