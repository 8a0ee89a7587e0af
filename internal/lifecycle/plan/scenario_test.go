package plan_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
	w.in.Hashes = hashes(&p)
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
	case "probes": // which probes have to be run now
		for _, target := range plan.Probes(&w.in) {
			fmt.Fprintf(out, "  %s of %s\n", strings.ToLower(target.Kind.String()), target.Container.Name)
		}
	case "verdict": // verdict NAME startup|liveness|readiness ok|bad
		kinds := map[string]pod.ProbeKind{"startup": pod.ProbeStartup, "liveness": pod.ProbeLiveness, "readiness": pod.ProbeReadiness}
		verdicts := map[string]pod.Verdict{"ok": pod.VerdictSuccess, "bad": pod.VerdictFailure}
		w.verdict(args[1], kinds[args[2]], verdicts[args[3]])
	case "hook-fails": // the postStart hook of a container whose start is held
		w.hookFails(args[1])
	case "edit": // edit NAME IMAGE
		c, _ := pod.Find(w.in.Pod, args[1])
		c.Image = args[2]
		w.in.Hashes = hashes(w.in.Pod)
	case "resize": // resize NAME CPU, in thousandths: it is allocated
		milli, err := strconv.ParseInt(args[2], 10, 64)
		if err != nil {
			w.bad("%v", err)
		}
		w.resize(args[1], milli)
	case "debug": // debug NAME [TARGET]: an ephemeral container is added
		e := corev1.EphemeralContainer{}
		e.Name, e.Image = args[1], "img-"+args[1]
		e.TargetContainerName = strings.Join(args[2:], "")
		w.in.Pod.Spec.EphemeralContainers = append(w.in.Pod.Spec.EphemeralContainers, e)
		w.in.Hashes = hashes(w.in.Pod)
	case "exit": // exit NAME CODE
		code, _ := strconv.Atoi(args[2])
		latest := w.in.Observed.Latest(args[1])
		if latest == nil {
			t.Fatalf("%s has never run; so far:\n%s", args[1], out)
		}
		w.exit(latest.ID, int32(code))
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
	case "abort": // the agent is killed while it starts NAME, and the start fails with it
		w.abort(args[1])
	case "kill-agent":
		w.forget()
	case "forget": // the runtime no longer knows the dead instances of NAME
		w.in.Observed.Containers = slices.DeleteFunc(w.in.Observed.Containers, func(c pod.Container) bool { return c.Name == args[1] })
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
	} else if args[0] == "go" && w.last.Released {
		out.WriteString("  released\n")
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
	if s.Reason != "" {
		fmt.Fprintf(out, " (%s)", s.Reason)
	}
	for _, c := range s.Conditions {
		switch {
		case c.Type == corev1.PodReady:
			fmt.Fprintf(out, ", ready %s", c.Status)
		case c.Type == corev1.PodInitialized && c.Status != corev1.ConditionTrue, c.Type == corev1.AllContainersRestarting && c.Status == corev1.ConditionTrue:
			fmt.Fprintf(out, ", %s %s", c.Type, c.Status)
		}
	}
	if s.PodIP != "" {
		fmt.Fprintf(out, ", ip %s", s.PodIP)
	}
	out.WriteString("\n")
	for _, c := range slices.Concat(s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses) {
		fmt.Fprintf(out, "  %s: %s, restarts %d", c.Name, stateText(c.State), c.RestartCount)
		if c.LastTerminationState.Terminated != nil {
			fmt.Fprintf(out, ", last %s", stateText(c.LastTerminationState))
		}
		out.WriteString("\n")
	}
}

// hashes stands in for those of the runtime's annotations.
func hashes(p *corev1.Pod) map[string]string {
	m := map[string]string{}
	for _, c := range pod.Containers(p) {
		m[c.Name] = c.Image
	}
	return m
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
