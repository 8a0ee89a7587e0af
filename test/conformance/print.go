package conformance

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Print writes the table of verdicts and a summary, and tells whether all is
// well.
func Print(w io.Writer, agent string, verdicts []Verdict) bool {
	var s strings.Builder
	counts := map[Outcome]int{}
	var bad []Verdict
	for _, v := range verdicts {
		word := strings.ToUpper(string(v.Outcome))
		if v.Outcome == "" {
			word = "----"
		} else {
			counts[v.Outcome]++
		}
		fmt.Fprintf(&s, "%-4s %6s  %s\n", word, seconds(v.Duration), v.Name)
		if v.Why != "" {
			fmt.Fprintf(&s, "%14s%s\n", "", v.Why)
		}
		if v.Note != "" {
			fmt.Fprintf(&s, "%14s%s%s\n", "", map[bool]string{true: "WRONG: "}[v.Bad], v.Note)
		}
		if v.Bad {
			bad = append(bad, v)
		}
	}
	fmt.Fprintf(&s, "\n%s: %d passed, %d failed, %d skipped", agent, counts[Pass], counts[Fail], counts[Skip])
	if len(bad) == 0 {
		s.WriteString("; as it should be\n")
	} else {
		fmt.Fprintf(&s, "; wrong: %d\n", len(bad))
		for _, v := range bad {
			fmt.Fprintf(&s, "  %s\n    %s\n", v.Name, v.Note)
		}
	}
	_, _ = io.WriteString(w, s.String())
	return len(bad) == 0
}

func seconds(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return fmt.Sprintf("%.1fs", d.Seconds())
}
