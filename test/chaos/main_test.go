//go:build e2e

package chaos

import (
	"flag"
	"time"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

var (
	kills = flag.Int("kills", 5, "how often TestKills kills the agent")
	seed  = flag.Int64("seed", 0, "decides the moments of the kills; 0 takes another one each time")
	cycle = flag.Duration("cycle", 6*time.Second, "the least time from one pod of a kind to the next")
)

const (
	namespace = bedtest.Namespace
	// patience bounds what takes as long as the machine is slow and the agent away.
	patience = 2 * time.Minute
)

var must = bedtest.Must
