package resolver

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode"

	"nodeagent.dev/nodeagent/internal/containerspec"
)

func equal(a, b containerspec.DNS) bool {
	return slices.Equal(a.Servers, b.Servers) && slices.Equal(a.Searches, b.Searches) && slices.Equal(a.Options, b.Options)
}

func words(s string) []string { return strings.Fields(s) }

func TestParse(t *testing.T) {
	for _, c := range []struct{ text, servers, searches, options string }{
		{"", "", "", ""},
		{"\n \t\n", "", "", ""},
		{"nameserver 10.0.0.1\nnameserver   10.0.0.2 # second\n", "10.0.0.1 10.0.0.2", "", ""},
		{"\tnameserver\t10.0.0.1\r\n nameserver fd00::1%eth0\r\n", "10.0.0.1 fd00::1%eth0", "", ""},
		{"nameserver 10.0.0.1", "10.0.0.1", "", ""},
		{"#nameserver 10.0.0.1\n # nameserver 10.0.0.1\n;nameserver 10.0.0.1\n; nameserver 10.0.0.1\n", "", "", ""},
		{"nameserver 10.0.0.1#53\n", "10.0.0.1#53", "", ""},
		{"nameservers 10.0.0.1\nNAMESERVER 10.0.0.1\n", "", "", ""},
		{"search foo\n", "", "foo", ""},
		{"search foo bar\nsearch\tbaz\tfoo foo\n", "", "baz foo foo", ""},
		{"search foo\nsearch\n", "", "", ""},
		{"search foo. bar.com. . .. # x\n", "", "foo bar.com . # x", ""},
		{"search foo\ndomain bar\n", "", "foo", ""},
		{"domain bar\n", "", "", ""},
		{"options ndots:5 attempts:2\noptions rotate ndots:2\n", "", "", "ndots:2 attempts:2 rotate"},
		{"options ndots:1 ndots:3 ndots\n", "", "", "ndots"},
		{"options\n", "", "", ""},
		{"sortlist 10.0.0.0/8\nlookup file bind\n", "", "", ""},
	} {
		want := containerspec.DNS{Servers: words(c.servers), Searches: words(c.searches), Options: words(c.options)}
		if got, err := Parse([]byte(c.text)); !equal(got, want) || err != nil {
			t.Errorf("%q: %q, %v", c.text, got, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"nameserver": "nameserver list is empty ",
		"nameserver 10.0.0.1\nnameserver \nnameserver\n": "nameserver list is empty ", // once
		strings.Repeat("\n", 10<<20):                     "the read limit is reached",
	} {
		if got, err := Parse([]byte(text)); err == nil || err.Error() != want || !equal(got, containerspec.DNS{}) {
			t.Errorf("%.30q: %q, %v", text, got, err)
		}
	}
	if _, err := Parse([]byte(strings.Repeat("\n", 10<<20-1))); err != nil {
		t.Error(err)
	}
}

// plain reads a file in the simplest way: each answer is looked for on its own.
func plain(text string) (dns containerspec.DNS, valid bool) {
	options := map[string]string{}
	var order []string
	for line := range strings.SplitSeq(text, "\n") {
		key, rest, _ := strings.Cut(strings.Join(strings.FieldsFunc(line, unicode.IsSpace), " "), " ")
		values := words(rest)
		if key == "nameserver" && len(values) == 0 {
			return containerspec.DNS{}, false
		}
		if key == "nameserver" {
			dns.Servers = append(dns.Servers, values[0])
		}
		if key == "search" {
			dns.Searches = slices.DeleteFunc(values, func(s string) bool { return s == "." })
			for i, s := range dns.Searches {
				dns.Searches[i] = strings.TrimSuffix(s, ".")
			}
		}
		for _, v := range values {
			if name, _, _ := strings.Cut(v, ":"); key == "options" {
				if _, again := options[name]; !again {
					order = append(order, name)
				}
				options[name] = v
			}
		}
	}
	for _, name := range order {
		dns.Options = append(dns.Options, options[name])
	}
	return dns, true
}

// FuzzResolvConf: every file is read as the simple way reads it, what is read has no
// blank or end of a line that would say more in a pod's file, and the messages about
// it are true of what the pod is given.
func FuzzResolvConf(f *testing.F) {
	long := strings.Repeat("a", 250)
	f.Add("nameserver 10.0.0.1\nsearch a b. .\noptions ndots:2 rotate\n", "10.96.0.10 fd00::a", "cluster.local", "ns", uint8(0))
	f.Add("nameserver\n", "", "", "", uint8(1))
	f.Add(strings.Repeat("nameserver 10.0.0.1\n", 4)+"search "+strings.Repeat("x ", 40), "", "cluster.local", "ns", uint8(2))
	f.Add("search "+strings.Repeat(long+" ", 10)+long+"longer", "10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4", "c", "ns", uint8(3))
	f.Add("search "+strings.Repeat(long+"\u0085", 9)+"\x00\xff\u2028 domain\v#\n;options x:y:z", "10.0.0.1", ".", "ns", uint8(4))
	f.Add("options :a :b c: c\r\nnameserver 1 2 3\f\rsearch ..", "", "", "", uint8(12))
	f.Fuzz(func(t *testing.T, text, cluster, domain, namespace string, kind uint8) {
		got, err := Parse([]byte(text))
		want, valid := plain(text)
		if valid != (err == nil) || !equal(got, want) {
			t.Fatalf("%q: %q, %v; want %q", text, got, err, want)
		}
		for _, word := range slices.Concat(got.Servers, got.Searches, got.Options) {
			if strings.ContainsFunc(word, unicode.IsSpace) || word == "" && !slices.Contains(got.Searches, "") {
				t.Errorf("%q: the word %q", text, word)
			}
		}
		names := map[string]bool{}
		for _, o := range got.Options {
			names[strings.Split(o, ":")[0]] = true
		}
		if len(names) != len(got.Options) {
			t.Errorf("%q: options %q for %q", text, got.Options, slices.Collect(maps.Keys(names)))
		}
		node := containerspec.Node{ClusterDNS: words(cluster), ClusterDomain: domain, HostIPs: []string{"10.0.0.7", "fd00::7"}}
		if err == nil && kind&8 == 0 {
			node.HostDNS = &got
		}
		compare(t, aPod(namespace, kind, got), &node)
	})
}
