//go:build e2e

package registry

import (
	"fmt"
	"strings"
	"testing"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// TestOneAtATime: with serializeImagePulls, the default, an image waits for
// another's, and pods whose image is there wait for none. It has a bed of its own.
func TestOneAtATime(t *testing.T) {
	t.Parallel()
	b := bed.Start(t, bed.Options{})
	bedtest.ShowLog(t, b)
	f := newFaulty(t, b)
	first, second := f.push("first:1"), f.push("second:1")
	f.set(faults{hold: make(chan struct{})})
	one := tell(t, b, puller("one", first, ifNotPresent))
	f.await("a layer", 1, request.blob)
	two := tell(t, b, puller("two", second, ifNotPresent))
	two.event(normal, "Pulling", container, fmt.Sprintf("Pulling image %q", second))
	tell(t, b, bedtest.NewPod("present", 0, bedtest.Obeys)).ready()
	if list := f.asked(func(r request) bool { return strings.Contains(r.path, "/second/") }); len(list) > 0 {
		t.Errorf("the registry was asked for the second image %d times before it gave the first", len(list))
	}
	f.set(faults{})
	one.recovers(first)
	two.recovers(second)
	two.never("ErrImagePull")
}
