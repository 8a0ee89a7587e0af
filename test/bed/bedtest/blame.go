package bedtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"nodeagent.dev/nodeagent/test/bed"
)

// runtimeID is the form of the IDs of sandboxes and containers.
var runtimeID = regexp.MustCompile(`[0-9a-f]{64}`)

// Blame divides what [Leaks] has found. A call that dies with the agent may leave the
// runtime with a task that it has forgotten or refuses to remove; no agent can
// undo that through CRI. The runtime is asked to remove all that it still lists:
// what goes then, and what was never its own, the agent has left.
func Blame(ctx context.Context, b *bed.Bed, before map[string]bool, left []string) (agents, runtimes []string, err error) {
	if len(left) == 0 {
		return nil, nil, nil
	}
	for _, item := range left {
		what, id, _ := strings.Cut(item, " ")
		var refused error
		switch what {
		case "sandbox":
			_, refused = b.Crictl(ctx, "rmp", "-f", id)
		case "container":
			_, refused = b.Crictl(ctx, "rm", "-f", id)
		}
		if refused != nil && !strings.Contains(refused.Error(), "NotFound") {
			runtimes = append(runtimes, fmt.Sprintf("refused: %v", refused))
		}
	}
	still, err := Leaks(ctx, b, before, 5*time.Second)
	if err != nil {
		return nil, nil, err
	}
	remains := map[string]bool{}
	for _, item := range still {
		remains[item] = true
	}
	for _, item := range left {
		if remains[item] && runtimesOwn(b, item) {
			runtimes = append(runtimes, item)
		} else {
			agents = append(agents, item)
		}
	}
	return agents, runtimes, nil
}

// runtimesOwn says whether something that cannot be removed through CRI is in the
// runtime's hands: its tasks, their processes, and the cgroups they are in.
func runtimesOwn(b *bed.Bed, item string) bool {
	what, path, _ := strings.Cut(item, " ")
	switch what {
	case "cgroup":
		return occupied(path)
	case "path":
		return !strings.HasPrefix(path, b.RootDir+"/") && !strings.HasPrefix(path, b.PodLogsDir+"/")
	case "mount":
		return runtimeID.MatchString(path) || strings.HasPrefix(path, filepath.Join(b.Dir, "state")+"/")
	case "file": // links to logs, results of network plugins
		return !strings.HasPrefix(path, "/var/log/")
	default:
		return true
	}
}

// occupied reports whether processes are in a cgroup or below it.
func occupied(dir string) bool {
	for _, pattern := range []string{"cgroup.procs", "*/cgroup.procs"} {
		files, _ := filepath.Glob(filepath.Join(dir, pattern)) // the pattern is sound
		for _, file := range files {
			if text, err := os.ReadFile(file); err == nil && len(text) > 0 {
				return true
			}
		}
	}
	return false
}
