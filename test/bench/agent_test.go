//go:build e2e

package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"nodeagent.dev/nodeagent/test/bed"
)

// ticks is the kernel's USER_HZ: /proc counts processor time in hundredths.
const ticks = 100

// taken is what the agent and the runtime have taken of the machine so far.
type taken struct {
	rss, goroutines int // KiB, number
	// agent and runtime are the processor time of the agent and of containerd, all
	// is that of the machine.
	agent, runtime, all time.Duration
}

func (x taken) String() string { return fmt.Sprintf("%d MiB, %d", x.rss>>10, x.goroutines) }

// measure asks the kernel and the agent itself.
func measure(ctx context.Context, b *bed.Bed) (taken, error) {
	var x taken
	var err error
	pid, err := b.Component("agent").PID(ctx)
	if err != nil {
		return x, fmt.Errorf("find the agent's process: %w", err)
	}
	if x.agent, err = processorTime(pid); err != nil {
		return x, err
	}
	if x.rss, err = memory(pid, "VmRSS"); err != nil {
		return x, err
	}
	if x.runtime, err = runtimeTime(ctx, b); err != nil {
		return x, err
	}
	if x.all, err = machineTime(); err != nil {
		return x, err
	}
	x.goroutines, err = goroutines(ctx, b)
	return x, err
}

// runtimeTime is what containerd has used.
func runtimeTime(ctx context.Context, b *bed.Bed) (time.Duration, error) {
	pid, err := b.Component("containerd").PID(ctx)
	if err != nil {
		return 0, fmt.Errorf("find containerd's process: %w", err)
	}
	return processorTime(pid)
}

// millicores is the part of a processor that was used, in thousandths.
func millicores(used, in time.Duration) float64 {
	const milli = 1000
	return milli * used.Seconds() / in.Seconds()
}

// processorTime is what all threads of a process have used.
func processorTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read what a process used: %w", err)
	}
	_, after, _ := strings.Cut(string(text), ") ") // the name may have anything in it
	fields := strings.Fields(after)
	const user, system = 14 - 3, 15 - 3 // as in proc(5), without pid and name
	if len(fields) <= system {
		return 0, fmt.Errorf("read what process %d used: it has only %d fields", pid, len(fields))
	}
	return sumTicks(fields[user], fields[system])
}

func sumTicks(fields ...string) (time.Duration, error) {
	sum := time.Duration(0)
	for _, field := range fields {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read a processor time: %w", err)
		}
		sum += time.Duration(n) * time.Second / ticks
	}
	return sum, nil
}

// machineTime is the time in which the processors were not idle.
func machineTime() (time.Duration, error) {
	f, err := processors()
	if err != nil {
		return 0, err
	}
	return sumTicks(f[1], f[2], f[3], f[6], f[7]) // user, nice, system, irq, softirq
}

// steal is the last that counts of the fields in proc(5): the two after it are parts
// of the first two.
const steal = 8

// processors is what the kernel says of all processors, by the numbers in proc(5).
func processors() ([]string, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return nil, fmt.Errorf("read what the machine used: %w", err)
	}
	fields := strings.Fields(strings.SplitN(string(text), "\n", 2)[0])
	if len(fields) <= steal {
		return nil, fmt.Errorf("read what the machine used: %q", fields)
	}
	return fields[:steal+1], nil
}

// memory reads a line of a process's status, such as VmRSS, in KiB.
func memory(pid int, line string) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("read the agent's memory: %w", err)
	}
	for l := range strings.Lines(string(text)) {
		if fields := strings.Fields(l); len(fields) > 1 && fields[0] == line+":" {
			return strconv.Atoi(fields[1]) //nolint:wrapcheck // the kernel writes a number
		}
	}
	return 0, fmt.Errorf("read the agent's memory: no %s of process %d", line, pid)
}

// goroutines asks the agent's debug page.
func goroutines(ctx context.Context, b *bed.Bed) (int, error) {
	client, err := b.AgentClient()
	if err != nil {
		return 0, err
	}
	client.Timeout = patience
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.AgentURL()+"/debug/pprof/goroutine?debug=1", nil)
	if err != nil {
		return 0, fmt.Errorf("make a request: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("count the agent's goroutines: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, fmt.Errorf("count the agent's goroutines: %w", err)
	}
	n := 0
	if _, err := fmt.Sscanf(string(text), "goroutine profile: total %d", &n); err != nil {
		return 0, fmt.Errorf("count the agent's goroutines in %.80q: %w", text, err)
	}
	return n, nil
}
