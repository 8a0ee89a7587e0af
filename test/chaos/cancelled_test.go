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
	removeFailed  = regexp.MustCompile(`RemoveContainer for \\"([0-9a-f]{64})\\" failed`)
)

// cancelledStarts counts, by pod, the starts of containers that the runtime broke
// off because the agent that had asked for them was gone. Their processes may have
// run for a moment or not at all, and the runtime calls them ended with 128,
// StartError. refused counts the removals of such containers that the runtime
// refused; the next instance then needs another number.
func cancelledStarts(b *bed.Bed) (count, refused map[string]int) {
	podOf, sandboxOf := map[string]string{}, map[string]string{}
	count, refused = map[string]int{}, map[string]int{}
	for line := range strings.Lines(b.Component("containerd").Log()) {
		if m := sandboxMade.FindStringSubmatch(line); m != nil {
			podOf[m[2]] = m[1]
		} else if m := containerMade.FindStringSubmatch(line); m != nil {
			sandboxOf[m[2]] = m[1]
		} else if m := startFailed.FindStringSubmatch(line); m != nil && strings.Contains(line, "context canceled") {
			count[podOf[sandboxOf[m[1]]]]++
		} else if m := removeFailed.FindStringSubmatch(line); m != nil {
			refused[podOf[sandboxOf[m[1]]]]++
		}
	}
	return count, refused
}

// The findings about the number of processes that were started.
var (
	startsWanted  = regexp.MustCompile(`^pod ([^ :]+): container \S+ was started (\d+) times, want (\d+);`)
	startsCounted = regexp.MustCompile(`^pod ([^ :]+): container \S+ was started (\d+) times, but the API says (\d+) restarts`)
)

// explained sets apart what the runtime alone has to answer for. A process had run
// for a moment when it broke the start off, so that there were more starts than
// anybody was told of, at most as many as it broke off; what such a process did may
// change how its pod ends. Or it refused to remove what it had broken off. Or a
// crash loop was deleted when a start that is counted had just been broken off.
func explained(problems []string, cancelled, refused map[string]int) (runtimes, others []string) {
	ran := map[string]bool{}
	for name, n := range refused {
		ran[name] = n > 0
	}
	for _, problem := range problems {
		if m := startsWanted.FindStringSubmatch(problem); m != nil && (surplus(m[2], m[3], 0, cancelled[m[1]]) ||
			strings.HasPrefix(m[1], "crash-") && surplus(m[3], m[2], 0, cancelled[m[1]])) {
			ran[m[1]] = true
		} else if m := startsCounted.FindStringSubmatch(problem); m != nil && surplus(m[2], m[3], 1, cancelled[m[1]]) {
			ran[m[1]] = true
		}
	}
	for _, problem := range problems {
		name, _, _ := strings.Cut(strings.TrimPrefix(problem, "pod "), " ")
		if ran[strings.TrimSuffix(name, ":")] {
			runtimes = append(runtimes, problem)
		} else {
			others = append(others, problem)
		}
	}
	return runtimes, others
}

// surplus reports whether there were more starts than more+first, by no more than
// most.
func surplus(starts, more string, first, most int) bool {
	x, err := strconv.Atoi(starts)
	y, err2 := strconv.Atoi(more)
	return err == nil && err2 == nil && x > y+first && x-y-first <= most
}
