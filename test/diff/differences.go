package diff

import (
	"bufio"
	_ "embed"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

//go:embed differences.txt
var differences string

// Accepted is a line of differences.txt: a difference that has a reason.
type Accepted struct {
	// Pattern matches POD/FIELD; "*" stands for any text. With "=VALUE" behind it
	// only a field is meant that has this value under the kubelet.
	Pattern string
	Kind    Kind
	Reason  string
	// Sometimes is written as "?" before the pattern: not every run shows it.
	Sometimes bool
	// Line is where in the file it stands.
	Line int

	match *regexp.Regexp
}

// ParseAccepted reads lines of the form
//
//	[?]POD/FIELD[=VALUE] | kind | reason
//
// Empty lines and lines that begin with # mean nothing.
func ParseAccepted(r io.Reader) ([]Accepted, error) {
	var all []Accepted
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		a, err := parseLine(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if slices.ContainsFunc(all, func(o Accepted) bool { return o.Pattern == a.Pattern && o.Kind == a.Kind }) {
			return nil, fmt.Errorf("line %d: %s is listed twice", n, a.Pattern)
		}
		a.Line = n
		all = append(all, a)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the accepted differences: %w", err)
	}
	return all, nil
}

func parseLine(text string) (Accepted, error) {
	parts := strings.SplitN(text, " | ", 3)
	if len(parts) != 3 {
		return Accepted{}, fmt.Errorf("%q: want POD/FIELD | kind | reason", text)
	}
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	a := Accepted{Kind: Kind(parts[1]), Reason: parts[2]}
	a.Pattern, a.Sometimes = strings.CutPrefix(parts[0], "?")
	switch {
	case !strings.Contains(a.Pattern, "/"):
		return a, fmt.Errorf("pattern %q: want POD/FIELD", a.Pattern)
	case !slices.Contains([]Kind{KubeletOnly, NodeagentOnly, ValuesDiffer}, a.Kind):
		return a, fmt.Errorf("kind %q: want %q, %q or %q", a.Kind, KubeletOnly, NodeagentOnly, ValuesDiffer)
	case len(strings.Fields(a.Reason)) < 3:
		return a, fmt.Errorf("pattern %q: the reason %q explains nothing", a.Pattern, a.Reason)
	}
	name, value, hasValue := strings.Cut(a.Pattern, "=")
	if !hasValue {
		value = "*"
	}
	a.match = regexp.MustCompile("^" + wild(name) + "=" + wild(value) + "$")
	return a, nil
}

func wild(pattern string) string {
	return strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `[\s\S]*`)
}

// Matches reports whether the difference is the accepted one.
func (a *Accepted) Matches(d Difference) bool {
	return a.Kind == d.Kind && a.match.MatchString(d.Pod+"/"+d.Field+"="+d.Kubelet)
}

// Judge sorts the differences: unknown has no line in the list, stale are the
// lines that no difference needs any more.
func Judge(found []Difference, list []Accepted) (unknown []Difference, stale []Accepted) {
	used := make([]bool, len(list))
	for _, d := range found {
		known := false
		for i := range list {
			if list[i].Matches(d) {
				known, used[i] = true, true
			}
		}
		if !known {
			unknown = append(unknown, d)
		}
	}
	for i := range list {
		if !used[i] && !list[i].Sometimes {
			stale = append(stale, list[i])
		}
	}
	return unknown, stale
}
