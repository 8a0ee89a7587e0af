package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"nodeagent.dev/nodeagent/internal/agent/inspect"
)

// look is how often the agent is asked: its socket has no events.
const look = 50 * time.Millisecond

var errNotReady = errors.New("not all pods became ready")

// watch shows how pods come up: a line for each change.
type watch struct {
	socket string
	wanted []string
	out    io.Writer
}

// run returns the wanted pods when all of them are ready, and what is known of
// them when the context ends before.
func (w *watch) run(ctx context.Context) ([]inspect.Pod, error) {
	start := time.Now()
	shown := map[string]string{}
	var pods []inspect.Pod
	var problem error
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		all, err := inspect.Pods(ctx, w.socket)
		if err == nil {
			pods = w.of(all)
			w.show(pods, shown, time.Since(start))
			if w.ready(pods) {
				return pods, nil
			}
		} else if ctx.Err() == nil {
			problem = err
		}
		select {
		case <-ctx.Done():
			return pods, errors.Join(errNotReady, problem)
		case <-tick.C:
		}
	}
}

// of picks the wanted pods.
func (w *watch) of(all []inspect.Pod) []inspect.Pod {
	return slices.DeleteFunc(all, func(p inspect.Pod) bool { return !slices.Contains(w.wanted, p.Name) })
}

func (w *watch) ready(pods []inspect.Pod) bool {
	return len(w.missing(pods)) == 0 && !slices.ContainsFunc(pods, func(p inspect.Pod) bool { return !p.Ready })
}

// missing are the wanted pods that the agent does not know.
func (w *watch) missing(pods []inspect.Pod) []string {
	return slices.DeleteFunc(slices.Clone(w.wanted), func(name string) bool {
		return slices.ContainsFunc(pods, func(p inspect.Pod) bool { return p.Name == name })
	})
}

// show prints a line for each pod that changed since it was shown.
func (w *watch) show(pods []inspect.Pod, shown map[string]string, since time.Duration) {
	for i := range pods {
		p := &pods[i]
		if line := describe(p); shown[p.UID] != line {
			shown[p.UID] = line
			fmt.Fprintf(w.out, "  %6.2f s  %-18s %s\n", since.Seconds(), p.Name, line)
		}
	}
}

// describe says in a line where a pod is and what it waits for.
func describe(p *inspect.Pod) string {
	state := p.Phase
	if state == "" {
		state = "Unknown"
	}
	running, ready := 0, 0
	var trouble []string
	for _, c := range p.Containers {
		if c.State == "running" {
			running++
		}
		if c.Ready {
			ready++
		}
		if c.State == "waiting" && c.Message != "" {
			trouble = append(trouble, c.Name+": "+c.Reason+": "+c.Message)
		}
	}
	if p.Ready {
		return fmt.Sprintf("%s, ready: %d of %d containers", state, ready, len(p.Containers))
	}
	var waits []string
	for _, wait := range p.Waits {
		waits = append(waits, wait.What)
	}
	line := fmt.Sprintf("%s, %d of %d containers run", state, running, len(p.Containers))
	if len(waits) > 0 {
		line += "; waits for " + strings.Join(waits, ", ")
	}
	if len(trouble) > 0 {
		line += "; " + strings.Join(trouble, "; ")
	}
	return line
}
