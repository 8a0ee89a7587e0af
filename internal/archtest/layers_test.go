package archtest

// layer is a row of the architecture: its packages may import those of lower
// rows and their own subtree. Siblings do not know each other.
type layer struct {
	name     string
	packages []string
}

// layers lists every package subtree of internal/, lowest first. A new package
// has to be put here, which is the moment to ask where it belongs.
func layers() []layer {
	return []layer{
		{"vocabulary", []string{"pod"}},
		{"decisions", []string{"lifecycle/plan", "podstatus", "containerspec", "admission"}},
		{"adapters and coordinators", []string{
			"allocation", "certificate", "cgroup", "cri", "etchosts", "events", "eviction", "image", "lifecycle", "metrics", "mirror",
			"node", "objects", "pleg", "plugin", "podcert", "podlogs", "podresources", "podsapi", "probe", "resize", "resolver",
			"server", "source", "stats", "status", "termination", "token",
			"userns", "volume",
		}},
		{"wiring", []string{"agent"}},
	}
}

// helpers stand beside the layers: they import nothing of ours, and only the
// named subtrees may import them.
func helpers() map[string][]string {
	return map[string][]string{
		// Nobody but the wiring sees the whole configuration: a package takes a
		// small Config of its own.
		"config":     {"agent", "cmd"},
		"checkpoint": {"allocation", "node", "agent"},
		// Sockets of the node are all served in the same way.
		"localsocket": {"podresources", "podsapi"},
		// Whoever keeps files of pods walks to them in the same way.
		"safedir": {"etchosts", "podlogs", "stats", "termination", "userns"},
	}
}

// commands is what cmd/ may import of ours.
func commands() []string { return []string{"agent", "config"} }

// pure are the subtrees that decide. They do not wait, read a clock, log or touch
// the machine. Elsewhere, files named decide.go keep to the same rule.
func pure() []string {
	return []string{"pod", "lifecycle/plan", "podstatus", "containerspec", "admission"}
}

// impure is what pure code must not import, with everything below it.
func impure() []string {
	return []string{
		"context", "io/ioutil", "log", "net", "os", "runtime", "sync", "syscall",
		"go.uber.org/zap", "golang.org/x/sync", "golang.org/x/sys", "google.golang.org/grpc",
		"k8s.io/client-go", "k8s.io/klog", "k8s.io/mount-utils",
	}
}

// harmless are parts of impure subtrees that only compute.
func harmless() []string { return []string{"net/netip", "net/url"} }

// owners are imports that only these subtrees may have.
func owners() map[string][]string {
	return map[string][]string{
		"k8s.io/cri-api":    {"cri", "containerspec"},
		"k8s.io/cri-client": {},
		"k8s.io/client-go":  {"agent", "certificate", "events", "node", "objects", "server/access", "server/serving", "source/apiserver", "status"},
		"k8s.io/kubernetes": {},
		"log/slog":          {},
	}
}

const (
	maxFileLines    = 400
	maxStructFields = 16
)

// tables are files that are long because they list things.
func tables() []string { return []string{"internal/config/"} }

// outgrown are structs that are over the limit: they may shrink, not grow.
func outgrown() map[string]int {
	return map[string]int{
		"containerspec.Node": 20, // what the node's configuration says about containers
		"lifecycle.state":    17, // what a worker knows of its pod
		"pod.Container":      17, // what the runtime says of an instance
	}
}

// wide are the packages whose structs mirror a wire format or a file.
func wide() []string { return []string{"config"} }
