//go:build e2e

package statsdiff

import (
	"cmp"
	"os"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// Environment variables, see the package.
const (
	dirEnv   = "NODEAGENT_STATSDIFF_DIR"
	reuseEnv = "NODEAGENT_STATSDIFF_REUSE"
	agentEnv = "NODEAGENT_STATSDIFF_AGENT"
)

var must = bedtest.Must

// agents are who is compared, by the names under which their facts are kept.
type agents struct{ other, name string }

func compared() agents {
	other := cmp.Or(os.Getenv(agentEnv), bed.Nodeagent)
	if other == bed.Kubelet {
		return agents{other, "kubelet-again"}
	}
	return agents{other, other}
}

// options are those of the beds of both agents. The kubelet knows containers only
// where it finds their runtime at its usual place, and looks at volumes once a
// minute unless told otherwise.
func options(agent string) bed.Options {
	return bed.Options{Agent: agent, Agnhost: true, UsualSocket: true, KubeletConfig: func(config map[string]any) {
		config["volumeStatsAggPeriod"] = "5s"
		config["registryPullQPS"], config["serializeImagePulls"] = 0, false
	}}
}
