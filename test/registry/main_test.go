//go:build e2e

package registry

import (
	"flag"
	"os"
	"testing"
	"time"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

const (
	namespace = bedtest.Namespace

	// patience bounds what takes as long as the machine is slow, and some back-offs.
	patience = 2 * time.Minute
)

// shared is the bed that all tests use, each with a registry of its own: no pull
// waits for another test's.
var shared = bedtest.Shared{Options: bed.Options{KubeletConfig: func(c map[string]any) {
	c["serializeImagePulls"] = false
	c["registryPullQPS"] = 0
}}}

var must = bedtest.Must

// upstream reports whether the agent is the kubelet.
func upstream() bool { return os.Getenv(bed.AgentEnv) == bed.Kubelet }

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("32") // the tests wait more than they compute
	}
	os.Exit(shared.Run(m))
}
