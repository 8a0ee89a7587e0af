package conformance

import (
	"fmt"
	"slices"
	"strings"
)

// Verdict is what is to be said about a test, or about an entry of a list.
type Verdict struct {
	Result
	// Bad says that it fails the run.
	Bad bool
	// Note says why it is bad, or why it is not although the test failed.
	Note string
}

// Case is what Judge compares.
type Case struct {
	// Results are those of the run.
	Results []Result
	// Baseline is the upstream kubelet's.
	Baseline *Baseline
	// Later are the exceptions; the kubelet has none.
	Later []Entry
	// Focus are the texts that had to select something; nil when the tests
	// were chosen by a pattern. With it, every test of the baseline and every
	// exception has to be there.
	Focus []string
}

// Judge compares results with what the kubelet does. The verdicts on tests come
// first, in the order of the results.
func Judge(c Case) []Verdict {
	list := make([]Verdict, 0, len(c.Results))
	for _, r := range c.Results {
		list = append(list, c.judge(r))
	}
	if c.Focus == nil {
		return list
	}
	missing := func(text, note string) {
		if !slices.ContainsFunc(c.Results, func(r Result) bool { return strings.Contains(r.Name, text) }) {
			list = append(list, Verdict{Result: Result{Name: text}, Bad: true, Note: note})
		}
	}
	for _, text := range c.Focus {
		missing(text, "focus.txt names it, and there is no such test")
	}
	for _, e := range c.Later {
		missing(e.Text, "later.txt names it, and no such test was run")
	}
	names := make([]string, 0, len(c.Baseline.Tests))
	for name := range c.Baseline.Tests {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		missing(name, "the baseline has it, and it was not run")
	}
	return list
}

func (c Case) judge(r Result) Verdict {
	v := Verdict{Result: r}
	known, inBaseline := c.Baseline.Tests[r.Name]
	later, excepted := c.later(r.Name)
	switch {
	case r.Outcome == Pass && excepted:
		v.Bad, v.Note = true, fmt.Sprintf("it passes now: remove it from later.txt (%q)", later.Text)
	case r.Outcome == Pass && inBaseline && known.Outcome == Fail:
		v.Note = "the kubelet fails here: " + known.Reason
	case r.Outcome == Pass:
	case excepted:
		v.Note = "later: " + later.Reason
	case !inBaseline && r.Outcome == Skip:
	case !inBaseline:
		v.Bad, v.Note = true, "the baseline does not know it: see what the kubelet does with AGENT=kubelet and the same FOCUS"
	case known.Outcome == Pass:
		v.Bad, v.Note = true, "the kubelet passes"
	case known.Outcome == Skip && r.Outcome == Fail:
		v.Bad, v.Note = true, "the kubelet skips it: "+known.Reason
	default:
		v.Note = "the kubelet does not pass here either: " + known.Reason
	}
	return v
}

// later finds the exception that names the test.
func (c Case) later(name string) (Entry, bool) {
	for _, e := range c.Later {
		if strings.Contains(name, e.Text) {
			return e, true
		}
	}
	return Entry{}, false
}
