package cri_test

import (
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/cri"
	"nodeagent.dev/nodeagent/internal/cri/critest"
	"nodeagent.dev/nodeagent/test/fakecri"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const image = "registry.test/busybox:1"

func behave(_, container string, _ int) fakecri.Behaviour {
	switch container {
	case critest.Short:
		return fakecri.Behaviour{RunFor: time.Millisecond, ExitCode: critest.ShortCode}
	case critest.Stubborn:
		return fakecri.Behaviour{IgnoreTerm: true}
	case critest.Broken:
		return fakecri.Behaviour{StartError: "exec: no such program"}
	}
	return fakecri.Behaviour{}
}

// TestConformance runs the suite over a unix socket, as a real runtime is used.
func TestConformance(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	s, err := fakecri.NewUnix(fakecri.Config{
		Behave: behave, Pullable: []fakecri.Image{{Name: image, Size: 1}}, CgroupDriver: "systemd",
	}, socket)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	node := containerspec.Node{LogRoot: t.TempDir()}
	c, err := cri.New(cri.Config{
		RuntimeEndpoint: "unix://" + socket, Node: func() containerspec.Node { return node },
	}, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	critest.Run(t, c, image)
	// The suite asks on purpose for a start in a dead sandbox.
	for _, v := range s.Violations() {
		t.Log(v)
	}
}
