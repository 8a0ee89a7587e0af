package bench

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// spread is what is told of many durations.
type spread struct {
	n                     int
	min, median, p99, max time.Duration
}

// spreadOf sorts by size and takes the nearest rank: of up to 100 durations p99
// is the longest. Of none it is zero.
func spreadOf(all []time.Duration) spread {
	if len(all) == 0 {
		return spread{}
	}
	sorted := slices.Sorted(slices.Values(all))
	rank := func(percent int) time.Duration { return sorted[(len(sorted)*percent+99)/100-1] }
	return spread{len(sorted), sorted[0], rank(50), rank(99), sorted[len(sorted)-1]}
}

func (s spread) String() string {
	if s.n == 0 {
		return "not measured"
	}
	return fmt.Sprintf("%s / %s / %s / %s", millis(s.min), millis(s.median), millis(s.p99), millis(s.max))
}

func millis(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()*1000) }

// ratio says how many times as long the first took, at the median and at p99.
func ratio(first, second spread) string {
	if first.n == 0 || second.n == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f / %.1f", first.median.Seconds()/second.median.Seconds(), first.p99.Seconds()/second.p99.Seconds())
}

// table lines up columns; the first row is the head.
func table(rows [][]string) string {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], len(cell))
		}
	}
	var text strings.Builder
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			fmt.Fprintf(&line, "%-*s  ", widths[i], cell)
		}
		text.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return text.String()
}
