//go:build e2e

package bench

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
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
	calmIn  = flag.Duration("calm-in", 45*time.Minute, "how long TestBench waits, in all, for the host of a virtual machine to leave it the processors, while agents are compared")
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
	r := begin(t)
	repeats, patience := 0, *calmIn
	for i := range *rounds {
		for _, agent := range append([]string{bed.NoAgent}, agents()...) {
			of := r.of(agent)
			if len(*of) > i {
				continue // an earlier run measured it
			}
			if got := r.calmRound(t, fmt.Sprintf("%d/%s", i+1, agent), agent, &repeats, &patience); got != nil {
				*of = append(*of, got)
			}
			r.judge()
			keep(t, "bench", r, r.String())
		}
		t.Logf("after %d of %d rounds: %s", i+1, *rounds, r)
	}
	for _, e := range r.Rows {
		if e.Missed != "" && judged(bed.Nodeagent) && *only == "" {
			t.Errorf("%s: %s (%s of the kubelet's %s)", e.Name, e.Missed, e.Agent, e.Kubelet)
		}
	}
}

// begin is the report before the first bed: while agents are compared it has what an
// earlier run of the same left in the folder.
func begin(t *testing.T) *report {
	t.Helper()
	r := &report{Machine: machine(t), Date: time.Now().UTC().Format(time.DateOnly), Rounds: *rounds, Runs: 1}
	if !*compare || *outDir == "" {
		return r
	}
	r.Subject = subject(t, r.Machine)
	raw, err := os.ReadFile(filepath.Join(*outDir, "bench.json"))
	if errors.Is(err, os.ErrNotExist) {
		return r
	}
	must(t, "looking for what an earlier run measured", err)
	earlier := &report{}
	if err := json.Unmarshal(raw, earlier); err != nil {
		t.Fatalf("read what an earlier run measured: %v; remove it, or name another folder", err)
	}
	r.goOn(earlier)
	t.Logf("calm rounds of an earlier run that this one goes on with: %d without an agent, %d of the kubelet, %d of nodeagent",
		len(r.Floor), len(r.Kubelet), len(r.Agent))
	return r
}

// subject is the machine, which part is measured, and the sums of the programs that
// measure and are measured.
func subject(t *testing.T, on string) string {
	t.Helper()
	self, err := os.Executable()
	must(t, "looking for this program", err)
	programs := []string{self}
	for _, agent := range agents() {
		program, err := bed.AgentProgram(t.Context(), agent, os.Stderr)
		must(t, "building an agent", err)
		programs = append(programs, program)
	}
	hardware, _, _ := strings.Cut(on, loadBefore)
	text := fmt.Sprintf("%s, crowd %d, parts %q, programs", hardware, *crowded, *only)
	for _, program := range programs {
		raw, err := os.ReadFile(program)
		must(t, "reading a program", err)
		text += fmt.Sprintf(" %x", sha256.Sum256(raw))
	}
	return text
}

// of are the rounds of an agent, and of the beds without one.
func (r *report) of(agent string) *series {
	switch agent {
	case bed.NoAgent:
		return &r.Floor
	case bed.Kubelet:
		return &r.Kubelet
	default:
		return &r.Agent
	}
}

// calmRound measures an agent. When agents are compared and the host kept too much
// meanwhile, that says nothing of the agent: it is measured again, in all at most as
// often as there are rounds. It is not begun while the host keeps too much, as long as
// there is patience. The round is nil if that was left out, or failed.
func (r *report) calmRound(t *testing.T, name, agent string, repeats *int, patience *time.Duration) (got round) {
	t.Helper()
	for {
		got = nil
		if *compare {
			awaitCalm(t, patience)
		}
		before := hostTimeNow(t)
		if !t.Run(name, func(t *testing.T) { got = benchRound(t, agent) }) || got == nil {
			return nil
		}
		got[hostKept] = []float64{hostTimeNow(t).since(before).part()}
		if !*compare || got.calm() || *repeats >= r.Rounds {
			return got
		}
		*repeats++
		r.Repeated++
		t.Logf("%s: the host kept %.0f %% of the processors' time: once more", name, 100*got[hostKept][0])
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

// loadBefore stands in what machine says before that which differs from run to run.
const loadBefore = ", load average before it "

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
	return fmt.Sprintf("%d x %s, Linux %s%s%s", bytes.Count(cpus, []byte("processor\t:")), model,
		version, loadBefore, bytes.Join(load[:min(3, len(load))], []byte(" ")))
}

// keep writes a report down as NAME.json and NAME.md whenever there is more: a run takes
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
