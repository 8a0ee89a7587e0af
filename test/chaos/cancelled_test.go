//go:build e2e

package chaos

import (
	"regexp"
	"strconv"
	"strings"

	"nodeagent.dev/nodeagent/test/bed"
)

// What containerd says about pods, containers and starts that came to nothing.
var (
	sandboxMade   = regexp.MustCompile(`RunPodSandbox for name:\\"([^"\\]+)\\".* returns sandbox id \\"([0-9a-f]{64})\\"`)
	containerMade = regexp.MustCompile(`CreateContainer within sandbox \\"([0-9a-f]{64})\\".* returns container id \\"([0-9a-f]{64})\\"`)
	startFailed   = regexp.MustCompile(`StartContainer for \\"([0-9a-f]{64})\\" failed`)
)

// cancelledStarts counts, by pod, the starts of containers that the runtime broke
// off because the agent that had asked for them was gone. Their processes may have
// run for a moment or not at all, and the runtime calls them ended with 128,
// StartError.
func cancelledStarts(b *bed.Bed) map[string]int {
	podOf, sandboxOf, count := map[string]string{}, map[string]string{}, map[string]int{}
	for line := range strings.Lines(b.Component("containerd").Log()) {
		if m := sandboxMade.FindStringSubmatch(line); m != nil {
			podOf[m[2]] = m[1]
		} else if m := containerMade.FindStringSubmatch(line); m != nil {
			sandboxOf[m[2]] = m[1]
		} else if m := startFailed.FindStringSubmatch(line); m != nil && strings.Contains(line, "context canceled") {
			count[podOf[sandboxOf[m[1]]]]++
		}
	}
	return count
}

// countedStarts is a finding about the number of processes that were started.
var countedStarts = regexp.MustCompile(`: container \S+ was started (\d+) times, want (\d+);`)

// explained sets apart what the runtime alone has to answer for: processes that it
// had begun to start when it broke the start off. Their number may be off by as
// many as it broke off in that pod, and everything else has to be right all the
// same.
func explained(problems []string, cancelled map[string]int) (runtimes, others []string) {
	for _, problem := range problems {
		name, _, _ := strings.Cut(strings.TrimPrefix(problem, "pod "), " ")
		m := countedStarts.FindStringSubmatch(problem)
		if m == nil || !within(m[1], m[2], cancelled[strings.TrimSuffix(name, ":")]) {
			others = append(others, problem)
		} else {
			runtimes = append(runtimes, problem)
		}
	}
	return runtimes, others
}

// within reports whether two numbers in digits differ by no more than n.
func within(a, b string, n int) bool {
	x, err := strconv.Atoi(a)
	y, err2 := strconv.Atoi(b)
	return err == nil && err2 == nil && max(x-y, y-x) <= n
}
