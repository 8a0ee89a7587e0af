package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/build"
	"nodeagent.dev/nodeagent/test/conformance"
)

// maxApart is how many tests may wait at a time; each is a process of 100 MB.
const maxApart = 32

var errWrong = errors.New("not all is as it should be, see above")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "conformance:", err)
		}
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

// options are what the command line says.
type options struct {
	suite       conformance.Suite
	focus, skip string
	update      bool
	list        string // the name of a folder of test/conformance/lists
	lists       string // that folder
	ownOut      bool   // nothing but reports of ours is in the output folder
}

func parse(args []string) (options, error) {
	var o options
	set := flag.NewFlagSet("conformance", flag.ContinueOnError)
	set.StringVar(&o.suite.Agent, "agent", bed.Nodeagent, "nodeagent, or kubelet to see what the upstream one does")
	set.StringVar(&o.list, "list", "api", "the list of tests: api (the node's own API), monitoring (figures, proofs of identity), node (all of [sig-node]), resize (in place, of pods and containers) or storage (volumes)")
	set.StringVar(&o.focus, "focus", "", "run the tests whose names match this regular expression, not those of focus.txt")
	set.StringVar(&o.skip, "skip", "", "leave out the tests whose names match this regular expression")
	set.BoolVar(&o.update, "update", false, "with the kubelet and focus.txt: write kubelet-baseline.txt anew")
	set.IntVar(&o.suite.Procs, "procs", 4, "how many tests run at a time")
	set.StringVar(&o.suite.Out, "out", "", "folder for reports and logs (default out/conformance/AGENT)")
	if err := set.Parse(args); err != nil {
		return o, fmt.Errorf("read the flags: %w", err)
	}
	whole := o.focus == "" && o.skip == ""
	switch {
	case set.NArg() > 0:
		return o, fmt.Errorf("do not know what to do with %q", set.Args())
	case o.suite.Agent != bed.Nodeagent && o.suite.Agent != bed.Kubelet:
		return o, fmt.Errorf("agent %q: known are %s and %s", o.suite.Agent, bed.Nodeagent, bed.Kubelet)
	case o.update && (!whole || o.suite.Agent != bed.Kubelet):
		return o, errors.New("the baseline is what the kubelet does with all of focus.txt: no other agent, no FOCUS, no SKIP")
	}
	checkout, err := build.Checkout()
	if err != nil {
		return o, err
	}
	o.lists = filepath.Join(checkout, "test", "conformance", "lists", filepath.Base(o.list))
	if o.suite.Out == "" {
		o.suite.Out, o.ownOut = filepath.Join(checkout, "out", "conformance", o.suite.Agent), true
	}
	if o.suite.Out, err = filepath.Abs(o.suite.Out); err != nil {
		return o, fmt.Errorf("make the path of the output folder absolute: %w", err)
	}
	o.suite.Progress = os.Stderr
	return o, nil
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	list := func(name string) string { return filepath.Join(o.lists, name) }
	baseline, err := conformance.ReadBaseline(list("kubelet-baseline.txt"))
	if err != nil {
		return err
	}
	c := conformance.Case{Baseline: baseline}
	if o.suite.Agent == bed.Nodeagent {
		if c.Later, err = conformance.ReadLater(list("later.txt")); err != nil {
			return err
		}
	}
	focus, err := conformance.ReadFocus(list("focus.txt"))
	if err != nil {
		return err
	}
	if o.suite.Focus = []string{o.focus}; o.focus == "" {
		o.suite.Focus = conformance.Literal(focus)
	}
	if o.skip != "" {
		o.suite.Skip = []string{o.skip}
	}
	if o.focus == "" && o.skip == "" {
		c.Focus = focus
	}
	if o.focus == "" && len(c.Later) > 0 {
		for _, e := range c.Later {
			o.suite.Apart = append(o.suite.Apart, conformance.Literal([]string{e.Text})...)
		}
		o.suite.ApartProcs = max(1, min(baseline.Count(c.Later), maxApart))
	}
	if o.ownOut {
		if err := os.RemoveAll(o.suite.Out); err != nil {
			return fmt.Errorf("remove the reports of the last run: %w", err)
		}
	}
	if c.Results, err = o.suite.Run(ctx); err != nil {
		return err
	}
	if len(c.Results) == 0 {
		return errors.New("no test was selected: FOCUS and SKIP are regular expressions over the names of tests")
	}
	if o.update {
		if err := update(baseline, c.Results, list("kubelet-baseline.txt")); err != nil {
			return err
		}
	}
	if !conformance.Print(os.Stdout, o.suite.Agent, conformance.Judge(c)) {
		return errWrong
	}
	return nil
}

// update writes the baseline; a failure of the kubelet has to be explained.
func update(b *conformance.Baseline, results []conformance.Result, path string) error {
	machine, err := conformance.Machine()
	if err != nil {
		return err
	}
	b.Update(machine, results)
	if err := b.Write(path); err != nil {
		return err
	}
	if names := b.Unexplained(); len(names) > 0 {
		return fmt.Errorf("say in %s why the kubelet fails these here: %q", path, names)
	}
	return nil
}
