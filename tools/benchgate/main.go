package main

import (
	"fmt"
	"io"
	"os"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// The exit codes.
const (
	same = iota
	grown
	failed
)

func run(args []string, out, errs io.Writer) int {
	if len(args) != 2 {
		fmt.Fprintln(errs, "usage: benchgate BASELINE MEASURED")
		return failed
	}
	var sets [2]*set
	for i, path := range args {
		var err error
		if sets[i], err = readFile(path); err != nil {
			fmt.Fprintln(errs, "benchgate:", err)
			return failed
		}
	}
	return report(out, sets[0], sets[1])
}

func readFile(path string) (*set, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read benchmarks (make benchmarks-baseline writes the baseline): %w", err)
	}
	defer f.Close()
	return read(f, path)
}

// report says what differs and returns the exit code.
func report(out io.Writer, base, now *set) int {
	if base.toolchain != now.toolchain {
		fmt.Fprintf(out, "note: the baseline is of %s, this is %s: another compiler may allocate differently\n", base.toolchain, now.toolchain)
	}
	findings := compare(base, now)
	code := same
	for _, f := range findings {
		fmt.Fprintln(out, f.text)
		if f.bad {
			code = grown
		}
	}
	if code == same {
		fmt.Fprintf(out, "%d benchmarks allocate no more than in the baseline\n", len(now.samples))
	} else {
		fmt.Fprintln(out, "If this is meant, say why in the commit, and write the baseline anew: make benchmarks-baseline")
	}
	return code
}
