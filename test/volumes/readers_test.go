//go:build e2e || volumeload

package volumes

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"nodeagent.dev/nodeagent/test/volumes/reading"
)

// readersEach is how many readers there are in a container, and how many on the
// node.
const readersEach = 4

// readers updates a ConfigMap n times, whose two keys always change together, while
// readers in a container and on the node read them. Package reading says what they
// may rely on.
func (s *site) readers(n int) reading.Tally {
	s.t.Helper()
	s.objects(s.name, reading.Value(1))
	p := s.pod("readers", fmt.Sprintf("exec /witness pairs %d /v a b /x/tally", readersEach))
	grace := int64(30)
	p.Spec.TerminationGracePeriodSeconds = &grace
	mount(p, configMap("v", s.name), "/v")
	p = s.start(p)
	dir := filepath.Join(s.podDir(p), "volumes", "kubernetes.io~configmap", "v")

	ctx, stop := context.WithCancel(s.t.Context())
	defer stop()
	tallies := make([]reading.Tally, readersEach)
	var running sync.WaitGroup
	for i := range tallies {
		running.Go(func() { tallies[i] = reading.Pairs(ctx, dir, "a", "b") })
	}
	began := time.Now()
	for i := range n {
		s.patch("configmap", s.name, dataPatch("configmap", reading.Value(i+2)))
		s.reached(dir, i+2)
	}
	s.t.Logf("%d updates in %s", n, time.Since(began).Round(time.Millisecond))
	stop()
	running.Wait()
	s.end(p)
	s.exists("tally")
	var all reading.Tally
	text, err := os.ReadFile(filepath.Join(s.dir, "tally"))
	must(s.t, "reading what was seen in the container", err)
	must(s.t, "reading what was seen in the container", json.Unmarshal(text, &all))
	s.t.Logf("in the container: %+v", all)
	for _, t := range tallies {
		s.t.Logf("on the node: %+v", t)
		all = all.Add(t)
	}
	if all.Torn+all.Missing+all.Back > 0 {
		s.weak("%d torn, %d missing, %d out of order of %d reads; the first: %s", all.Torn, all.Missing, all.Back, all.Reads, all.First)
	}
	if all.States < n || all.Last != n+1 {
		s.t.Errorf("the readers saw %d states and last number %d of %d updates: they have not read all the time", all.States, all.Last, n)
	}
	return all
}

// reached waits until a volume shows a state.
func (s *site) reached(dir string, state int) {
	s.t.Helper()
	s.until(fmt.Sprintf("state %d in %s", state, dir), func() bool {
		text, _ := os.ReadFile(filepath.Join(dir, "a"))
		n, err := reading.State(string(text))
		return err == nil && n == state
	})
}
