//go:build e2e

package bench

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"nodeagent.dev/nodeagent/test/bed"
)

var (
	rounds  = flag.Int("rounds", 1, "how often TestBench measures each agent")
	outDir  = flag.String("out", "", "folder that takes bench.json and bench.md of TestBench")
	crowded = flag.Int("crowd", 0, "pods of TestBench that start at once; 0 means 20, or 100 with -compare")
	only    = flag.String("only", "", "parts of TestBench, with commas between: one, exits, follow, crowd; empty means all")
)

// part is something that TestBench measures; it adds what it finds to the round.
type part struct {
	name    string
	measure func(*testing.T, *site)
}

// site is a bed that is measured, and what came of it so far.
type site struct {
	*bed.Bed
	board *board
	out   round
}

func (s *site) add(figure string, samples ...float64) {
	s.out[figure] = append(s.out[figure], samples...)
}

// TestBench measures everything in figures.go: the agents in turn, each on a new
// bed, and what is taken without an agent.
func TestBench(t *testing.T) {
	r := &report{Machine: machine(t), Date: time.Now().UTC().Format(time.DateOnly), Rounds: *rounds}
	var all hostTime
	for i := range *rounds {
		for _, agent := range append([]string{bed.NoAgent}, agents()...) {
			got, took := r.calmRound(t, fmt.Sprintf("%d/%s", i+1, agent), agent)
			all.add(took)
			switch {
			case got == nil: // left out with -run, or failed
			case agent == bed.NoAgent:
				r.Floor = append(r.Floor, got)
			case agent == bed.Kubelet:
				r.Kubelet = append(r.Kubelet, got)
			default:
				r.Agent = append(r.Agent, got)
			}
		}
		r.judge()
		r.Stolen = all.part()
		t.Logf("after %d of %d rounds: %s", i+1, *rounds, r)
		keep(t, "bench", r, r.String())
	}
	for _, e := range r.Rows {
		if e.Missed != "" && judged(bed.Nodeagent) && *only == "" {
			t.Errorf("%s: %s (%s of the kubelet's %s)", e.Name, e.Missed, e.Agent, e.Kubelet)
		}
	}
}

// calmRound measures an agent. When agents are compared and the host kept too much
// meanwhile, that says nothing of the agent: it is measured again, in all at most as
// often as there are rounds. The round is nil if that was left out, or failed.
func (r *report) calmRound(t *testing.T, name, agent string) (got round, took hostTime) {
	t.Helper()
	for {
		got = nil
		before := hostTimeNow(t)
		ok := t.Run(name, func(t *testing.T) { got = benchRound(t, agent) })
		took = hostTimeNow(t).since(before)
		if !ok || !*compare || took.part() <= disturbed || r.Repeated >= r.Rounds {
			return got, took
		}
		r.Repeated++
		t.Logf("%s: the host kept %.0f %% of the processors' time: once more", name, 100*took.part())
	}
}

func benchRound(t *testing.T, agent string) round {
	t.Helper()
	forget(t)
	s := &site{Bed: bed.Start(t, bed.Options{Agent: agent, AuditLog: true}), out: round{}}
	s.board = watchPods(t, s.Bed)
	if agent == bed.NoAgent {
		floor(t, s)
		return s.out
	}
	for _, p := range []part{{"one", lives}, {"exits", ends}, {"follow", follows}, {"crowd", crowd}} {
		if *only == "" || strings.Contains(","+*only+",", ","+p.name+",") {
			p.measure(t, s)
		}
	}
	return s.out
}

// forget lets the kernel let go of what earlier beds have left in its caches. A memory
// cgroup that was removed stays as long as a page or an entry of a cache is charged to
// it, and thousands of them slow down whatever makes, reads or removes cgroups.
func forget(t *testing.T) {
	t.Helper()
	syscall.Sync()
	must(t, "dropping the kernel's caches", os.WriteFile("/proc/sys/vm/drop_caches", []byte("3\n"), 0o200))
}

// ends measures exits of containers and answers of probes, and what of it is not the
// agent's.
func ends(t *testing.T, s *site) {
	t.Helper()
	const n = 20
	all := exits(t, s.Bed, s.board, n)
	for _, d := range all.shown {
		s.add(figExit, millisOf(d))
	}
	for _, d := range all.again {
		s.add(figAgain, millisOf(d))
	}
	for _, d := range all.told {
		s.add(floorTold, millisOf(d))
	}
	for _, d := range flips(t, s.Bed, s.board, n) {
		s.add(figFlip, millisOf(d))
	}
}

// machine says on what was measured.
func machine(t *testing.T) string {
	t.Helper()
	cpus, err := os.ReadFile("/proc/cpuinfo")
	must(t, "looking at the machine", err)
	busy, err := os.ReadFile("/proc/loadavg")
	must(t, "looking at the machine", err)
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	must(t, "looking at the machine", err)
	model := "unknown processor"
	for line := range strings.Lines(string(cpus)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			model = strings.TrimSpace(value)
		}
	}
	version, _, _ := bytes.Cut(bytes.TrimSpace(kernel), []byte("-"))
	load := bytes.Fields(busy) // after three averages come counts of processes
	return fmt.Sprintf("%d x %s, Linux %s, load average before it %s", bytes.Count(cpus, []byte("processor\t:")), model,
		version, bytes.Join(load[:min(3, len(load))], []byte(" ")))
}

// keep writes a report down as NAME.json and NAME.md, after each round: a run takes
// long.
func keep(t *testing.T, name string, report any, text string) {
	t.Helper()
	if *outDir == "" {
		return
	}
	must(t, "keeping the figures", os.MkdirAll(*outDir, 0o755))
	raw, err := json.MarshalIndent(report, "", "  ")
	must(t, "keeping the figures", err)
	must(t, "keeping the figures", os.WriteFile(filepath.Join(*outDir, name+".json"), append(raw, '\n'), 0o644))
	must(t, "keeping the figures", os.WriteFile(filepath.Join(*outDir, name+".md"), []byte(text), 0o644))
}
