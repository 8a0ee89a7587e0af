// Command benchdocs puts what "make bench" measured into a page, so that no number in
// it was typed.
//
// Owns: the text between the page's two markers.
// Consumes: bench.json (package bench).
// Publishes: the page.
//
//	benchdocs bench.json PAGE
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"nodeagent.dev/nodeagent/test/bench"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "benchdocs:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: benchdocs bench.json PAGE")
	}
	raw, err := os.ReadFile(args[0])
	if err != nil {
		return fmt.Errorf("read the figures (make bench OUT=DIR writes them): %w", err)
	}
	text, err := bench.Document(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	page, err := os.ReadFile(args[1])
	if err != nil {
		return fmt.Errorf("read the page: %w", err)
	}
	filled, err := fill(string(page), text+"\n"+pictures)
	if err != nil {
		return fmt.Errorf("%s: %w", args[1], err)
	}
	return os.WriteFile(args[1], []byte(filled), 0o644)
}

// The lines between which a page is written anew.
const (
	begin = "<!-- bench: what follows is written by make bench-docs -->"
	end   = "<!-- bench: end -->"
)

// pictures shows those that make bench-docs draws beside the page.
const pictures = `<picture>
<source media="(prefers-color-scheme: dark)" srcset="pictures/latency-dark.svg">
<img src="pictures/latency.svg" alt="How the samples of each figure are distributed: the kubelet, nodeagent, the runtime alone">
</picture>

<picture>
<source media="(prefers-color-scheme: dark)" srcset="pictures/timeline-dark.svg">
<img src="pictures/timeline.svg" alt="How many of many pods are ready, and gone, after a time: the kubelet, nodeagent, the runtime alone">
</picture>
`

// fill replaces what is between the markers.
func fill(page, text string) (string, error) {
	before, rest, ok := strings.Cut(page, begin+"\n")
	_, after, closed := strings.Cut(rest, end+"\n")
	if !ok || !closed || strings.Contains(after, begin) {
		return "", fmt.Errorf("it needs the lines %q and %q once, in this order", begin, end)
	}
	return before + begin + "\n\n" + text + "\n" + end + "\n" + after, nil
}
