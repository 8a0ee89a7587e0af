//go:build e2e

package lifecycle

import (
	"flag"
	"os"
	"testing"
	"time"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

const (
	image     = bedtest.Image
	namespace = bedtest.Namespace
	agnhost   = "registry.k8s.io/e2e-test-images/agnhost:2.66.1"
	obeys     = bedtest.Obeys
	ignores   = bedtest.Ignores

	// patience bounds what takes as long as the machine is slow.
	patience = 60 * time.Second
)

// shared is the bed that all tests use, each with pods of its own.
var shared = bedtest.Shared{Options: bed.Options{Agnhost: true}}

var must = bedtest.Must

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("32") // the tests wait more than they compute
	}
	os.Exit(shared.Run(m))
}
