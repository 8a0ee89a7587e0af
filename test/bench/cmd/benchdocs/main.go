// Command benchdocs puts what "make bench" and "make bench-scale" measured into a page,
// so that no number in it was typed.
//
// Owns: the text between the page's markers.
// Consumes: bench.json and bench-scale.json (package bench), those that are there.
// Publishes: the page.
//
//	benchdocs DIR PAGE
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"nodeagent.dev/nodeagent/test/bench"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "benchdocs:", err)
		os.Exit(1)
	}
}

// section is a part of the page that is written anew.
type section struct {
	name     string // of its markers, and of the report
	document func(report []byte) (string, error)
	below    string // what follows the report
}

func sections() []section {
	return []section{{"bench", bench.Document, "\n" + pictures}, {"bench-scale", bench.DocumentScale, ""}}
}

func run(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: benchdocs DIR PAGE")
	}
	raw, err := os.ReadFile(args[1])
	if err != nil {
		return fmt.Errorf("read the page: %w", err)
	}
	page, filled := string(raw), 0
	for _, s := range sections() {
		path := filepath.Join(args[0], s.name+".json")
		report, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read the figures: %w", err)
		}
		text, err := s.document(report)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if page, err = s.fill(page, text+s.below); err != nil {
			return fmt.Errorf("%s: %w", args[1], err)
		}
		filled++
	}
	if filled == 0 {
		return fmt.Errorf("%s has neither bench.json nor bench-scale.json: make bench OUT=DIR and make bench-scale OUT=DIR write them", args[0])
	}
	return os.WriteFile(args[1], []byte(page), 0o644)
}

// pictures shows those that make bench-docs draws beside the page.
const pictures = `<picture>
<source media="(prefers-color-scheme: dark)" srcset="pictures/latency-dark.svg">
<img src="pictures/latency.svg" alt="How the samples of each figure are distributed: the kubelet, nodeagent, without an agent">
</picture>

<picture>
<source media="(prefers-color-scheme: dark)" srcset="pictures/timeline-dark.svg">
<img src="pictures/timeline.svg" alt="How many of many pods are ready, and gone, after a time: the kubelet, nodeagent, without an agent">
</picture>
`

func (s section) begin() string {
	return "<!-- " + s.name + ": what follows is written by make bench-docs -->"
}
func (s section) end() string { return "<!-- " + s.name + ": end -->" }

// fill replaces what is between the section's markers.
func (s section) fill(page, text string) (string, error) {
	before, rest, ok := strings.Cut(page, s.begin()+"\n")
	_, after, closed := strings.Cut(rest, s.end()+"\n")
	if !ok || !closed || strings.Contains(after, s.begin()) {
		return "", fmt.Errorf("it needs the lines %q and %q once, in this order", s.begin(), s.end())
	}
	return before + s.begin() + "\n\n" + text + "\n" + s.end() + "\n" + after, nil
}
