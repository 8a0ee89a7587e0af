//go:build e2e

package statsdiff

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

const cgroupMount = "/sys/fs/cgroup"

// What the kernel counts of a group.
const (
	cpuNanos   = "cpu"        // since it is there
	usage      = "usage"      // bytes
	workingSet = "workingSet" // usage without files that can go
	rss        = "rss"        // bytes
)

// counters is what the kernel says of a group at a time.
type counters struct {
	at     time.Time
	values map[string]float64
}

// unified says whether the machine has cgroup v2 only.
func unified() bool {
	_, err := os.Stat(filepath.Join(cgroupMount, "cgroup.controllers"))
	return err == nil
}

// findGroup looks for the cgroup of a container or of a pod below the bed's.
func findGroup(b *bed.Bed, name string) (string, error) {
	top := filepath.Join(cgroupMount, b.CgroupRoot)
	if !unified() {
		top = filepath.Join(cgroupMount, "cpuacct", b.CgroupRoot)
	}
	for _, depth := range []string{"*", "*/*", "*/*/*", "*/*/*/*"} {
		found, err := filepath.Glob(filepath.Join(top, depth))
		if err != nil {
			return "", fmt.Errorf("look for cgroup %s: %w", name, err)
		}
		for _, dir := range found {
			if strings.Contains(filepath.Base(dir), name) {
				return b.CgroupRoot + strings.TrimPrefix(dir, top), nil
			}
		}
	}
	return "", fmt.Errorf("look for cgroup %s below %s: there is none", name, top)
}

// count asks the kernel about a group.
func count(group string) (counters, error) {
	c := counters{values: map[string]float64{}}
	file := func(controller, name string) string {
		if unified() {
			return filepath.Join(cgroupMount, group, name)
		}
		return filepath.Join(cgroupMount, controller, group, name)
	}
	before := time.Now()
	var err error
	if unified() {
		var stat map[string]float64
		if stat, err = table(file("", "cpu.stat")); err == nil {
			c.values[cpuNanos] = stat["usage_usec"] * 1000
		}
	} else {
		c.values[cpuNanos], err = number(file("cpuacct", "cpuacct.usage"))
	}
	c.at = before.Add(time.Since(before) / 2)
	if err != nil || group == "/" {
		return c, err
	}
	current, inactive, anonymous := "memory.usage_in_bytes", "total_inactive_file", "total_rss"
	if unified() {
		current, inactive, anonymous = "memory.current", "inactive_file", "anon"
	}
	if c.values[usage], err = number(file("memory", current)); err != nil {
		return c, err
	}
	stat, err := table(file("memory", "memory.stat"))
	c.values[workingSet], c.values[rss] = c.values[usage]-stat[inactive], stat[anonymous]
	return c, err
}

// grown returns when a group uses so much memory.
func grown(ctx context.Context, group string, most float64) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		c, err := count(group)
		if err != nil || c.values[usage] >= most {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s uses %g bytes only, not %g: %w", group, c.values[usage], most, ctx.Err())
		}
		bedtest.Pause(ctx, countEvery)
	}
}

func number(file string) (float64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, fmt.Errorf("ask the kernel: %w", err)
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	if err != nil {
		return 0, fmt.Errorf("ask the kernel: %s: %w", file, err)
	}
	return n, nil
}

// table reads a file that has a name and a number in each line.
func table(file string) (map[string]float64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("ask the kernel: %w", err)
	}
	all := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 2 {
			continue
		}
		if all[fields[0]], err = strconv.ParseFloat(fields[1], 64); err != nil {
			return nil, fmt.Errorf("ask the kernel: %s: %w", file, err)
		}
	}
	return all, nil
}

// history is what the kernel said, often enough to know what was in between.
type history struct{ all []counters }

// follow asks the kernel about groups every so often until the returned function
// is called, which returns what it said.
func follow(t *testing.T, groups map[string]string, every time.Duration) func() map[string]*history {
	t.Helper()
	all := map[string]*history{}
	for name := range groups {
		all[name] = &history{}
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			for name, group := range groups {
				c, err := count(group)
				if err != nil {
					t.Errorf("counting what %s uses: %v", name, err)
					return
				}
				all[name].all = append(all[name].all, c)
			}
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	}()
	return func() map[string]*history {
		close(stop)
		<-stopped
		return all
	}
}

// at is a value at a time.
func (h *history) at(name string, t time.Time) (float64, error) {
	i, exact := slices.BinarySearchFunc(h.all, t, func(c counters, t time.Time) int { return c.at.Compare(t) })
	switch {
	case exact:
		return h.all[i].values[name], nil
	case i == 0 || i == len(h.all):
		return 0, fmt.Errorf("nobody asked the kernel at %s, only from %s to %s", t, h.all[0].at, h.all[len(h.all)-1].at)
	}
	a, b := h.all[i-1], h.all[i]
	share := float64(t.Sub(a.at)) / float64(b.at.Sub(a.at))
	return a.values[name] + share*(b.values[name]-a.values[name]), nil
}

// when is the time at which a counter was so high.
func (h *history) when(name string, value float64) (time.Time, error) {
	i, _ := slices.BinarySearchFunc(h.all, value, func(c counters, v float64) int {
		if c.values[name] < v {
			return -1
		}
		return 1
	})
	if i == 0 || i == len(h.all) {
		return time.Time{}, fmt.Errorf("%s was never %g, only from %g to %g", name, value, h.all[0].values[name], h.all[len(h.all)-1].values[name])
	}
	a, b := h.all[i-1], h.all[i]
	share := (value - a.values[name]) / (b.values[name] - a.values[name])
	return a.at.Add(time.Duration(share * float64(b.at.Sub(a.at)))), nil
}
