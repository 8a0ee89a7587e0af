package conformance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/build"
)

// Suite is one run of upstream's tests.
type Suite struct {
	// Agent is bed.Nodeagent or bed.Kubelet.
	Agent string
	// Focus and Skip are regular expressions over the names of tests, as
	// ginkgo has them; one of each is enough.
	Focus, Skip []string
	// Apart are expressions for tests that run afterwards, many at a time: those
	// that are known to fail, most of them by waiting minutes in vain.
	Apart []string
	// Procs is how many tests run at a time, ApartProcs how many of Apart.
	Procs, ApartProcs int
	// Out is the folder for reports and logs; those of an earlier run are
	// removed from it.
	Out string
	// Progress takes lines for people.
	Progress io.Writer
}

// kubeletPort is the kubelet's usual port. Every bed has an address of its own,
// and some tests know no other port.
const kubeletPort = 10250

// Literal turns parts of names into regular expressions.
func Literal(texts []string) []string {
	list := make([]string, 0, len(texts))
	for _, t := range texts {
		list = append(list, regexp.QuoteMeta(t))
	}
	return list
}

// Run starts a bed, runs the tests on it and ends it, also when ctx ends. The
// error says that there are no results; tests that failed are results.
func (s Suite) Run(ctx context.Context) (results []Result, err error) {
	builder, err := build.New(s.Progress)
	if err != nil {
		return nil, err
	}
	programs, err := builder.Ensure(ctx, build.Conformance()...)
	if err != nil {
		return nil, fmt.Errorf("build upstream's tests: %w", err)
	}
	if err := s.clearOut(); err != nil {
		return nil, err
	}
	b, err := bed.New(ctx, s.options())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	defer s.keepLogs(b)
	if err := serveImages(ctx, builder, b); err != nil {
		return nil, err
	}
	runs := []invocation{{name: "e2e", focus: s.Focus, skip: slices.Concat(s.Skip, s.Apart), procs: s.Procs}}
	if len(s.Apart) > 0 {
		runs = append(runs, invocation{name: "later", focus: s.Apart, skip: s.Skip, procs: s.ApartProcs})
	}
	for _, run := range runs {
		some, err := s.ginkgo(ctx, b, programs, run)
		if err != nil {
			return nil, err
		}
		results = append(results, some...)
	}
	slices.SortFunc(results, func(a, b Result) int { return strings.Compare(a.Name, b.Name) })
	return results, nil
}

// invocation is one call of ginkgo; its name is that of its files.
type invocation struct {
	name        string
	focus, skip []string
	procs       int
}

func (s Suite) options() bed.Options {
	return bed.Options{
		Agent: s.Agent, Agnhost: true, Output: s.Progress,
		KubeletConfig: func(config map[string]any) { config["port"] = kubeletPort },
	}
}

func (s Suite) clearOut() error {
	if err := os.MkdirAll(s.Out, 0o755); err != nil {
		return fmt.Errorf("create the folder for reports: %w", err)
	}
	old, err := filepath.Glob(filepath.Join(s.Out, "*.*"))
	if err != nil {
		return fmt.Errorf("look for old reports: %w", err)
	}
	for _, file := range old {
		switch filepath.Ext(file) {
		case ".json", ".xml", ".log":
			if err := os.Remove(file); err != nil {
				return fmt.Errorf("remove an old report: %w", err)
			}
		}
	}
	return nil
}

// keepLogs saves what the bed takes with it.
func (s Suite) keepLogs(b *bed.Bed) {
	for _, name := range []string{"agent", "containerd", "kube-apiserver"} {
		path := filepath.Join(s.Out, name+".log")
		if err := os.WriteFile(path, []byte(b.Component(name).Log()), 0o644); err != nil {
			fmt.Fprintln(s.Progress, "keep a log:", err)
		}
	}
}

// arguments are those of ginkgo.
func (s Suite) arguments(b *bed.Bed, e2e string, run invocation) []string {
	args := []string{
		"--procs=" + strconv.Itoa(run.procs), "--no-color", "-v", "--silence-skips", "--timeout=3h",
		"--output-dir=" + s.Out, "--json-report=" + run.name + ".json",
	}
	for _, f := range run.focus {
		args = append(args, "--focus="+f)
	}
	for _, f := range run.skip {
		args = append(args, "--skip="+f)
	}
	return append(args, e2e, "--",
		"--kubeconfig="+b.Kubeconfig, "--provider=skeleton", "--num-nodes=1", "--allowed-not-ready-nodes=0",
		"--kubectl-path="+filepath.Join(b.BinDir, "kubectl"), "--kubelet-root-dir="+b.RootDir,
		"--container-runtime-endpoint=unix://"+b.CRISocket,
		"--report-dir="+s.Out, "--report-prefix="+run.name+"_", "--e2e-output-dir="+s.Out, "--disable-log-dump")
}
