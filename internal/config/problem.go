package config

import (
	"fmt"
	"strings"
)

// commandLine is the Source of problems in the arguments.
const commandLine = "command line"

// Problem is one thing wrong with the configuration: what, where and what to do.
type Problem struct {
	Source string // file path or "command line"; empty for the merged result
	Field  string // path in KubeletConfiguration, for example authentication.webhook.cacheTTL
	Flag   string // flag name without dashes, empty where none exists
	Value  string // the refused value, empty when there is none
	Reason string // what is wrong, with what is allowed
	Fix    string // what to do
}

// String gives the problem as one line.
func (p Problem) String() string {
	var b strings.Builder
	if p.Source != "" {
		b.WriteString(p.Source + ": ")
	}
	switch {
	case p.Field != "" && p.Flag != "":
		b.WriteString(p.Field + " (--" + p.Flag + ")")
	case p.Flag != "":
		b.WriteString("--" + p.Flag)
	default:
		b.WriteString(p.Field)
	}
	if p.Value != "" {
		fmt.Fprintf(&b, " = %s", p.Value)
	}
	if p.Field != "" || p.Flag != "" {
		b.WriteString(": ")
	}
	b.WriteString(p.Reason)
	if p.Fix != "" {
		b.WriteString("; " + p.Fix)
	}
	return b.String()
}

// Problems is the error of Parse for a configuration that can not be used. It holds all that
// was found, not only the first.
type Problems []Problem

// Error lists one problem per line.
func (ps Problems) Error() string {
	if len(ps) == 1 {
		return "invalid configuration: " + ps[0].String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "invalid configuration, %d problems:", len(ps))
	for _, p := range ps {
		b.WriteString("\n  - " + p.String())
	}
	return b.String()
}

// asError keeps an empty list from becoming a non-nil error.
func (ps Problems) asError() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// nearest returns the candidate closest to name, or "" when none is close.
func nearest(name string, candidates []string) string {
	best, bestDistance := "", max(2, len(name)/4)+1
	for _, c := range candidates {
		d := distance(strings.ToLower(name), strings.ToLower(c))
		if d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance counts the insertions, deletions and replacements between a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			diagonal, row[j] = row[j], min(row[j]+1, row[j-1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
