package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// system are the folders whose mounts are the runtime's own.
var system = regexp.MustCompile(`^/(proc|sys)(/|$)|^/$|^/dev(/(pts|mqueue|console)|$)`)

// peers are the numbers of groups among which mounts are passed on.
var peers = regexp.MustCompile(`:\d+$`)

// mountFacts tells the mount points of a table as /proc/self/mountinfo has it,
// see proc_pid_mountinfo(5). Those that hide others come with "#2" and so on.
func mountFacts(table string) ([]fact, error) {
	var all []fact
	seen := map[string]int{}
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		dash := slices.Index(f, "-")
		if dash < 6 || len(f) < dash+4 {
			return nil, fmt.Errorf("the mount table has a line %q", line)
		}
		point := unescape(f[4])
		if system.MatchString(point) {
			continue
		}
		key := "mount[" + point + "]"
		if seen[point]++; seen[point] > 1 {
			key += fmt.Sprintf("#%d", seen[point])
		}
		groups := "private"
		if dash > 6 {
			names := make([]string, 0, dash-6)
			for _, group := range f[6:dash] {
				names = append(names, peers.ReplaceAllString(group, ""))
			}
			groups = strings.Join(names, " ")
		}
		all = append(all,
			fact{key + ".root", unescape(f[3])}, fact{key + ".options", f[5]}, fact{key + ".propagation", groups},
			fact{key + ".type", f[dash+1]}, fact{key + ".source", unescape(f[dash+2])}, fact{key + ".super", f[dash+3]})
	}
	return all, nil
}

// unescape undoes what the kernel does to spaces.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
