//go:build e2e

package e2e

import (
	"os"
	"testing"

	"go.uber.org/zap/zaptest"

	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/cri"
	"nodeagent.dev/nodeagent/internal/cri/critest"
	"nodeagent.dev/nodeagent/test/bed"
)

// TestRuntimeConformance: the suite that the fake runtime passes, on containerd.
func TestRuntimeConformance(t *testing.T) {
	b := bed.Start(t, bed.Options{Agent: bed.NoAgent, Standalone: true})
	_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
	node := containerspec.Node{CgroupV1: err != nil, LogRoot: b.PodLogsDir}
	c, err := cri.New(cri.Config{RuntimeEndpoint: "unix://" + b.CRISocket, Node: func() containerspec.Node { return node }}, zaptest.NewLogger(t))
	must(t, "connecting to the runtime", err)
	defer func() { must(t, "closing the connection", c.Close()) }()
	critest.Run(t, c, image)
}
