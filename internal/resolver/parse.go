package resolver

import (
	"errors"
	"slices"
	"strings"

	"nodeagent.dev/nodeagent/internal/containerspec"
)

// maxFile is how many bytes are too many for a resolver file (kubelet: dns.go).
const maxFile = 10 << 20

var (
	errTooLong  = errors.New("the read limit is reached")
	errNoServer = errors.New("nameserver list is empty ")
)

// Parse reads a resolver file. Lines of nameservers and of options add up, of two
// options with one name the last one wins, and the last search line does. As with the
// kubelet, only lines that begin with '#' are comments, domain lines do not count, and
// neither does a search of the root; what is not understood is passed over.
//
// A nameserver line without an address is an error, and so are 10 MiB; the words are
// the kubelet's.
func Parse(data []byte) (containerspec.DNS, error) {
	if len(data) >= maxFile {
		return containerspec.DNS{}, errTooLong
	}
	var dns containerspec.DNS
	for line := range strings.Lines(string(data)) {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		switch rest := words[1:]; words[0] {
		case "nameserver":
			if len(rest) == 0 {
				return containerspec.DNS{}, errNoServer
			}
			dns.Servers = append(dns.Servers, rest[0])
		case "search":
			dns.Searches = searches(rest)
		case "options":
			for _, o := range rest {
				dns.Options = setOption(dns.Options, o)
			}
		}
	}
	return dns, nil
}

// searches leaves out the root, and the dot at the end of others, so that a domain
// counts once however it is written.
func searches(words []string) []string {
	var out []string
	for _, s := range words {
		if s != "." {
			out = append(out, strings.TrimSuffix(s, "."))
		}
	}
	return out
}

// setOption adds an option, in place of one of the same name ("ndots:2"). The
// kubelet's order is random; ours is that of first mention.
func setOption(options []string, option string) []string {
	name, _, _ := strings.Cut(option, ":")
	i := slices.IndexFunc(options, func(o string) bool { n, _, _ := strings.Cut(o, ":"); return n == name })
	if i < 0 {
		return append(options, option)
	}
	options[i] = option
	return options
}
