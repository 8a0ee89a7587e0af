package cridiff

import (
	_ "embed"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"nodeagent.dev/nodeagent/test/diff"
)

//go:embed differences.txt
var differences string

// Verdict is the comparison of two agents.
type Verdict struct {
	// Found are all differences, Unknown those that differences.txt does not
	// explain, Stale its lines that explain none.
	Found   []diff.Difference
	Unknown []diff.Difference
	Stale   []diff.Accepted

	kubelet, nodeagent *Result
}

// Accepted reads differences.txt.
func Accepted() ([]diff.Accepted, error) {
	list, err := diff.ParseAccepted(strings.NewReader(differences))
	if err != nil {
		return nil, fmt.Errorf("differences.txt: %w", err)
	}
	return list, nil
}

// Judge compares what the agents asked for; list says what may differ.
func Judge(kubelet, nodeagent *Result, list []diff.Accepted) *Verdict {
	v := &Verdict{Found: byMessage(diff.Compare(kubelet.Pods, nodeagent.Pods), kubelet, nodeagent), kubelet: kubelet, nodeagent: nodeagent}
	v.Unknown, v.Stale = diff.Judge(v.Found, list)
	return v
}

// message is what the facts of one request have in common: "sandbox[0]".
var message = regexp.MustCompile(`^\w+\[[^\]]*\](#\d+)?`)

// byMessage makes one difference of all the fields of a request that only one
// of the agents sent.
func byMessage(all []diff.Difference, kubelet, nodeagent *Result) []diff.Difference {
	sent := func(facts diff.Facts) map[string]bool {
		out := map[string]bool{}
		for field := range facts {
			out[message.FindString(field)] = true
		}
		return out
	}
	var out []diff.Difference
	seen := map[string]bool{}
	for _, d := range all {
		request := message.FindString(d.Field)
		inK, inN := sent(kubelet.Pods[d.Pod])[request], sent(nodeagent.Pods[d.Pod])[request]
		if inK && inN {
			out = append(out, d)
			continue
		}
		if seen[d.Pod+" "+request] {
			continue
		}
		seen[d.Pod+" "+request] = true
		whole := diff.Difference{Pod: d.Pod, Field: request, Kind: diff.KubeletOnly, Kubelet: "sent"}
		if inN {
			whole = diff.Difference{Pod: d.Pod, Field: request, Kind: diff.NodeagentOnly, Nodeagent: "sent"}
		}
		out = append(out, whole)
	}
	return out
}

// What fields of the same kind do not have in common.
var (
	inBrackets = regexp.MustCompile(`\[[^\]]*\]`)
	variable   = regexp.MustCompile(`envs(\.|\[).*`)
)

// Summary tells how much was compared and what differs how often: all messages,
// fields and differences.
func (v *Verdict) Summary() string {
	var b strings.Builder
	fields, silent := 0, 0
	for _, facts := range v.kubelet.Pods {
		fields += len(facts)
		if len(facts) == 0 {
			silent++
		}
	}
	fmt.Fprintf(&b, "%d pods, for %d of which the kubelet asks nothing; %d fields of the kubelet's messages, %d differ, %d of them unexplained\n",
		len(v.kubelet.Pods), silent, fields, len(v.Found), len(v.Unknown))
	methods := maps.Clone(v.kubelet.Messages)
	maps.Copy(methods, v.nodeagent.Messages)
	for _, method := range slices.Sorted(maps.Keys(methods)) {
		fmt.Fprintf(&b, "  %-26s %4d by the kubelet, %4d by nodeagent\n", method, v.kubelet.Messages[method], v.nodeagent.Messages[method])
	}
	counts := map[string]int{}
	for _, d := range v.Found {
		counts[inBrackets.ReplaceAllString(variable.ReplaceAllString(d.Field, "envs.*"), "[]")]++
	}
	if len(counts) > 0 {
		b.WriteString("differences by field:\n")
	}
	for _, field := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(&b, "  %4d  %s\n", counts[field], field)
	}
	return b.String()
}

// Problems are what is unexplained by pod, and the lines of differences.txt
// that have to go.
func (v *Verdict) Problems() (pods map[string]string, stale []string) {
	pods = map[string]string{}
	for _, d := range v.Unknown {
		pods[d.Pod] += d.String() + "\n"
	}
	for _, a := range v.Stale {
		stale = append(stale, fmt.Sprintf("differences.txt:%d: %s (%s) no longer differs: remove the line", a.Line, a.Pattern, a.Kind))
	}
	return pods, stale
}
