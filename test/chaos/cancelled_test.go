//go:build e2e

package chaos

import (
	"regexp"
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

// explained parts the problems of pods that had such a start from the others.
func explained(problems []string, cancelled map[string]int) (with, without []string) {
	for _, problem := range problems {
		name, _, _ := strings.Cut(strings.TrimPrefix(problem, "pod "), " ")
		if cancelled[strings.TrimSuffix(name, ":")] > 0 {
			with = append(with, problem)
		} else {
			without = append(without, problem)
		}
	}
	return with, without
}
