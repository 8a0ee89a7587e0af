package plan_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"nodeagent.dev/nodeagent/internal/lifecycle/plan"
	"nodeagent.dev/nodeagent/internal/pod"
)

var update = flag.Bool("update", false, "rewrite what the scenarios expect with what happens")

// TestScenarios runs every document in testdata: prose, a pod, and a script
// whose commands are followed by what the planner did. Read them as the
// description of the machine; -update rewrites the answers for review.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios found in testdata (%v)", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { runScenario(t, file) })
	}
}

func runScenario(t *testing.T, file string) {
	ar, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var p corev1.Pod
	if err := yaml.UnmarshalStrict(ar.Files[0].Data, &p); err != nil {
		t.Fatalf("%s: pod: %v", file, err)
	}
	w := newWorld(&p)
	var out strings.Builder
	for line := range strings.Lines(string(ar.Files[1].Data)) {
		line = strings.TrimRight(line, "\n")
		if line == "" || strings.HasPrefix(line, "  ") {
			continue
		}
		out.WriteString(line + "\n")
		if strings.HasPrefix(line, "#") {
			continue
		}
		command(t, w, &out, strings.Fields(line))
	}
	for _, bad := range w.wrong {
		t.Errorf("invariant broken: %s", bad)
	}
	got := out.String()
	if *update {
		ar.Files[1].Data = []byte(got)
		if err := os.WriteFile(file, txtar.Format(ar), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want := string(ar.Files[1].Data); got != want {
		t.Errorf("%s differs (run with -update and review the diff):\n--- got\n%s\n--- want\n%s", file, got, want)
	}
}

// command performs one line of a script.
func command(t *testing.T, w *world, out *strings.Builder, args []string) {
	t.Helper()
	trace := func(p plan.Plan) {
		for _, c := range p.Cancel {
			fmt.Fprintf(out, "  cancel %s\n", c)
		}
		for _, r := range p.Reasons {
			fmt.Fprintf(out, "  %s\n", r)
		}
	}
	switch args[0] {
	case "go": // decide and act until nothing is left to do
		w.settle(trace)
	case "hold": // the next operation on the target does not end by itself
		w.hold[pod.Target(args[1])] = true
	case "finish":
		w.end(pod.Target(args[1]), nil)
	case "fail":
		w.end(pod.Target(args[1]), fmt.Errorf("%s", strings.Join(args[2:], " ")))
	case "lose": // the effect is done, the reply lost
		w.lose(pod.Target(args[1]))
	case "fail-dirty": // the sandbox failed and left a dead one behind
		w.failDirty()
	case "exit": // exit NAME CODE
		code, _ := strconv.Atoi(args[2])
		w.exit(w.in.Observed.Latest(args[1]).ID, int32(code))
	case "tick":
		d, err := time.ParseDuration(args[1])
		if err != nil {
			t.Fatal(err)
		}
		w.in.Now = w.in.Now.Add(d)
	case "stop": // stop GRACE
		d, err := time.ParseDuration(args[1])
		if err != nil {
			t.Fatal(err)
		}
		w.stop(d)
	case "kill-agent":
		w.forget()
	case "lose-sandbox":
		w.sandbox(w.in.Observed.Sandboxes[0].ID, func(s *pod.Sandbox) { s.Ready = false })
	case "network":
		w.in.Node.NetworkProblem = strings.Join(args[1:], " ")
	case "status":
		status(w, out)
	case "waits":
		for _, wait := range w.decide().Waits {
			fmt.Fprintf(out, "  %s%s\n", wait.What, until(wait.Next))
		}
	default:
		t.Fatalf("unknown command %q", args[0])
	}
	if args[0] == "go" && w.last.Done {
		out.WriteString("  done\n")
	}
}

func until(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " (next at +" + t.Sub(epoch).String() + ")"
}

func status(w *world, out *strings.Builder) {
	w.decide()
	s := &w.in.Prior
	fmt.Fprintf(out, "  phase %s", s.Phase)
	for _, c := range s.Conditions {
		if c.Type == corev1.PodReady {
			fmt.Fprintf(out, ", ready %s", c.Status)
		}
	}
	if s.PodIP != "" {
		fmt.Fprintf(out, ", ip %s", s.PodIP)
	}
	out.WriteString("\n")
	for i := range s.ContainerStatuses {
		c := &s.ContainerStatuses[i]
		fmt.Fprintf(out, "  %s: %s, restarts %d", c.Name, stateText(c.State), c.RestartCount)
		if c.LastTerminationState.Terminated != nil {
			fmt.Fprintf(out, ", last %s", stateText(c.LastTerminationState))
		}
		out.WriteString("\n")
	}
}

func stateText(s corev1.ContainerState) string {
	switch {
	case s.Running != nil:
		return "running"
	case s.Terminated != nil:
		return fmt.Sprintf("terminated %s %d", s.Terminated.Reason, s.Terminated.ExitCode)
	case s.Waiting != nil && s.Waiting.Message != "":
		return "waiting " + s.Waiting.Reason + " (" + s.Waiting.Message + ")"
	case s.Waiting != nil:
		return "waiting " + s.Waiting.Reason
	}
	return "nothing"
}
