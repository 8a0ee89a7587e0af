package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

func run(args []string, out, errs io.Writer) error {
	flags := flag.NewFlagSet("plot", flag.ContinueOnError)
	flags.SetOutput(errs)
	formats := flags.String("formats", "svg,png", "what to write, with commas between")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 2 {
		return errors.New("usage: plot [-formats svg,png] bench.json FOLDER")
	}
	m, err := readMeasured(flags.Arg(0))
	if err != nil {
		return err
	}
	folder := flags.Arg(1)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("make the folder of the pictures: %w", err)
	}
	drawn := 0
	for _, p := range []struct {
		name   string
		panels []panel
	}{{"latency", latencies(m)}, {"timeline", timelines(m)}} {
		if len(p.panels) == 0 {
			fmt.Fprintf(out, "no %s: %s has no samples of it\n", p.name, flags.Arg(0))
			continue
		}
		for _, t := range []theme{light(), dark()} {
			for format := range strings.SplitSeq(*formats, ",") {
				path := filepath.Join(folder, p.name+t.suffix+"."+format)
				if err := save(path, format, m.title(p.name), p.panels, t); err != nil {
					return fmt.Errorf("draw %s: %w", path, err)
				}
				fmt.Fprintln(out, path)
				drawn++
			}
		}
	}
	if drawn == 0 {
		return fmt.Errorf("%s has nothing to draw: measure with make bench OUT=DIR", flags.Arg(0))
	}
	return nil
}

func readMeasured(path string) (*measured, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the figures (make bench OUT=DIR writes them): %w", err)
	}
	m := &measured{}
	if err := json.Unmarshal(raw, m); err != nil {
		return nil, fmt.Errorf("read the figures from %s: %w", path, err)
	}
	return m, nil
}
