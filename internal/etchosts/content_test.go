package etchosts

import (
	"cmp"
	"slices"
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

// entry is a line of a hosts file as a resolver reads it.
type entry struct{ ip, names string }

// entries reads a hosts file as hosts(5) says: comments end a line, words are set
// apart by blanks, a line without a name says nothing. It ends lines and words
// wherever any reader might.
func entries(content string) []entry {
	var all []entry
	for _, line := range strings.FieldsFunc(content, func(r rune) bool { return strings.ContainsRune("\n\r\v\f\x00\u0085\u2028\u2029", r) }) {
		line, _, _ = strings.Cut(line, "#")
		if words := strings.Fields(line); len(words) > 1 {
			all = append(all, entry{words[0], strings.Join(words[1:], " ")})
		}
	}
	return all
}

// FuzzHosts: whatever is put in, the file begins as ours does, and says of each
// address and alias what was put into it, and nothing else.
func FuzzHosts(f *testing.F) {
	f.Add("10.0.0.7", "fd00::7", "web", "sub.shop.svc.cluster.local", "192.0.2.10", "db", "127.0.0.1 localhost\n")
	f.Add("fd00::7", "", "web", "", "2001:db8::1", "a\n192.0.2.66\tbank", "127.0.0.1 localhost")
	f.Add("10.0.0.7", "10.0.0.7", "web#", "d\r", "\n", "", "")
	f.Add("10.0.0.7\v", "x", "\u2029", "\x85", "a b", "\xff", "# nothing\r\n")
	f.Add("# Kubernetes-managed hosts file.", "\\n", "%s", ".", "::", "a\x00b", "\x00\xff")
	f.Fuzz(func(t *testing.T, ip, ip2, name, domain, aliasIP, aliasName, node string) {
		names := name
		if domain != "" {
			names = name + "." + domain + " " + name
		}
		given := append(alias(aliasIP, aliasName, "second"), alias("192.0.2.99", "last")...)
		added := []entry{{aliasIP, aliasName + " second"}, {"192.0.2.99", "last"}}
		got, err := podContent([]string{ip, ip2}, name, domain, given)
		check(t, got, err, managed, append(append(entries(managed), entry{ip, names}, entry{ip2, names}), added...))
		got, err = nodeContent(node, given)
		check(t, got, err, headerNode+node+aliasHeader, append(entries(node), added...))
	})
}

// check says whether a file begins as it has to and has the entries, if it was made
// at all.
func check(t *testing.T, got string, err error, head string, want []entry) {
	t.Helper()
	if err != nil {
		if got != "" {
			t.Errorf("%q with %v", got, err)
		}
		return
	}
	if !strings.HasPrefix(got, head) || !strings.HasSuffix(got, "\n") {
		t.Errorf("%q does not begin with %q, or is not all", got, head)
	}
	if has := entries(got); !slices.Equal(has, want) {
		t.Errorf("%q has entries\n%q, want\n%q", got, has, want)
	}
}
