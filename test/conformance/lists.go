package conformance

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// reasonMark stands between the name of a test and what is said about it.
const reasonMark = " => "

// Entry is a line of later.txt: tests that are allowed to fail.
type Entry struct {
	// Text is a part of the names of the tests.
	Text string
	// Reason is which later work the tests wait for.
	Reason string
}

// Known is what the baseline says about a test.
type Known struct {
	Outcome Outcome
	// Reason is why the test does not pass, in people's words.
	Reason string
}

// Baseline is what the upstream kubelet does.
type Baseline struct {
	// Machine describes where, one fact per line.
	Machine []string
	// Tests are by their names.
	Tests map[string]Known
}

// ReadFocus reads parts of names of tests, one per line.
func ReadFocus(path string) ([]string, error) {
	lines, _, err := readLines(path)
	if err == nil && len(lines) == 0 {
		err = fmt.Errorf("%s names no test", path)
	}
	return lines, err
}

// ReadLater reads the list of tests that are allowed to fail.
func ReadLater(path string) ([]Entry, error) {
	lines, _, err := readLines(path)
	if err != nil {
		return nil, err
	}
	var list []Entry
	for _, line := range lines {
		text, reason, found := strings.Cut(line, reasonMark)
		if !found || strings.TrimSpace(reason) == "" {
			return nil, fmt.Errorf("%s: %q: write NAME%sREASON", path, line, reasonMark)
		}
		list = append(list, Entry{Text: strings.TrimSpace(text), Reason: strings.TrimSpace(reason)})
	}
	return list, nil
}

// ReadBaseline reads what Baseline.Write has written; no file is an empty one.
func ReadBaseline(path string) (*Baseline, error) {
	lines, comments, err := readLines(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	b := &Baseline{Tests: map[string]Known{}}
	for _, c := range comments {
		if fact, found := strings.CutPrefix(c, factMark); found {
			b.Machine = append(b.Machine, fact)
		}
	}
	for _, line := range lines {
		outcome, rest, _ := strings.Cut(line, " ")
		name, reason, _ := strings.Cut(rest, reasonMark)
		if !slices.Contains([]Outcome{Pass, Fail, Skip}, Outcome(outcome)) || name == "" {
			return nil, fmt.Errorf("%s: %q: write pass, fail or skip, and the name of a test", path, line)
		}
		b.Tests[name] = Known{Outcome: Outcome(outcome), Reason: reason}
	}
	return b, nil
}

// Update replaces everything by new results. What people said about a test
// that still does not pass is kept.
func (b *Baseline) Update(machine []string, results []Result) {
	before := b.Tests
	b.Machine, b.Tests = machine, map[string]Known{}
	for _, r := range results {
		k := Known{Outcome: r.Outcome}
		switch old := before[r.Name]; {
		case r.Outcome == Pass:
		case old.Outcome == r.Outcome && old.Reason != "":
			k.Reason = old.Reason
		case r.Outcome == Skip:
			k.Reason = r.Why
		default:
			k.Reason = unexplained + r.Why
		}
		b.Tests[r.Name] = k
	}
}

// unexplained begins the reason of a failure that nobody has looked at.
const unexplained = "TODO, say what the bed or the machine lacks: "

// Unexplained lists the tests that fail for a reason nobody has written down.
func (b *Baseline) Unexplained() []string {
	var names []string
	for name, k := range b.Tests {
		if k.Outcome == Fail && (k.Reason == "" || strings.HasPrefix(k.Reason, unexplained)) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Count is how many tests of the baseline the entries name.
func (b *Baseline) Count(list []Entry) int {
	n := 0
	for name := range b.Tests {
		if slices.ContainsFunc(list, func(e Entry) bool { return strings.Contains(name, e.Text) }) {
			n++
		}
	}
	return n
}

const (
	factMark       = "#   "
	baselineHeader = `# What the upstream kubelet does with the tests of focus.txt on a bed:
# pass, fail or skip, the name of the test, and why it does not pass.
# Made by "make conformance LIST=... AGENT=kubelet UPDATE=1"; only reasons are edited.
# It ran with
`
)

// Write writes the file that ReadBaseline reads.
func (b *Baseline) Write(path string) error {
	var s strings.Builder
	s.WriteString(baselineHeader)
	for _, fact := range b.Machine {
		s.WriteString(factMark + fact + "\n")
	}
	names := make([]string, 0, len(b.Tests))
	for name := range b.Tests {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		k := b.Tests[name]
		fmt.Fprintf(&s, "%s %s", k.Outcome, name)
		if k.Reason != "" {
			s.WriteString(reasonMark + k.Reason)
		}
		s.WriteString("\n")
	}
	if err := os.WriteFile(path, []byte(s.String()), 0o644); err != nil {
		return fmt.Errorf("write the baseline: %w", err)
	}
	return nil
}

// readLines splits a file into lines and comments, without empty ones.
func readLines(path string) (lines, comments []string, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read a list of tests: %w", err)
	}
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
		case strings.HasPrefix(line, "#"):
			comments = append(comments, line)
		default:
			lines = append(lines, line)
		}
	}
	return lines, comments, nil
}
