package rotate

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// steps are all the steps of rotations and compressions, in order.
func steps(t *testing.T) (all []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		all = nil
		r, _, end := m.rotator(t, m.config(100), func(step string) { all = append(all, step) })
		defer end()
		r.Follow("uid-1", []string{"app"})
		for range 3 {
			m.write(t, 150)
			time.Sleep(10 * time.Second)
		}
	})
	return all
}

// The agent is killed at each step; the next one finds every line, and puts in
// order what was left behind.
func TestKilledAtEveryStep(t *testing.T) {
	all := steps(t)
	for _, want := range []string{"rotate: cleaned", "rotate: renamed", "rotate: reopened", "compress: begin", "compress: created",
		"compress: written", "compress: renamed", "compress: removed"} {
		if !slices.Contains(all, want) {
			t.Fatalf("there is no step %q in %q", want, all)
		}
	}
	for i, step := range all {
		t.Run(fmt.Sprintf("%d %s", i, step), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { killedAt(t, i) })
		})
	}
}

func killedAt(t *testing.T, step int) {
	t.Helper()
	m := newMachine(t)
	count, dead, over := 0, make(chan struct{}), make(chan struct{})
	r, _, end := m.rotator(t, m.config(100), func(string) {
		if count++; count == step+1 {
			m.mu.Lock()
			m.watched = map[string][]func(){}
			m.mu.Unlock()
			m.dead()
			close(dead)
		}
		if count > step {
			<-over // nothing that this agent does happens any more
			runtime.Goexit()
		}
	})
	defer func() { close(over); end() }()
	r.Follow("uid-1", []string{"app"})
	killed := func() bool {
		select {
		case <-dead:
			return true
		default:
			return false
		}
	}
	for range 3 {
		if !killed() {
			m.write(t, 150)
			time.Sleep(10 * time.Second)
		}
	}
	if !killed() {
		t.Fatal("the agent was not killed")
	}
	m.write(t, 20)
	m.complete(t)
	next, _, endNext := m.rotator(t, m.config(100), nil)
	defer endNext()
	next.Follow("uid-1", []string{"app"})
	time.Sleep(10 * time.Second)
	if _, err := os.Stat(m.path); err != nil {
		t.Errorf("there is no log: %v", err)
	}
	for range 2 {
		m.write(t, 150)
		time.Sleep(10 * time.Second)
	}
	m.complete(t)
	names := m.names(t)
	if got := shapes(names); strings.Contains(got, "tmp") || strings.Count(got, "p") != 1 || !strings.HasSuffix(got, "p") {
		t.Errorf("the files are %v", names)
	}
}
