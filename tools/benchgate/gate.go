package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"golang.org/x/perf/benchfmt"
	"golang.org/x/perf/benchmath"
)

// enough is how many runs of a benchmark the test needs: of fewer on both sides it
// can never be sure.
const enough = 4

// limits say, by unit, how much larger the median may be than it was; no other
// unit is judged.
func limits() map[string]float64 {
	return map[string]float64{"allocs/op": 1, "B/op": 1.1}
}

// set is what one file says.
type set struct {
	toolchain string
	// samples are by benchmark (package and name) and unit.
	samples map[string]map[string][]float64
}

// read takes a file in Go's benchmark format. The toolchain is a line of
// configuration that whoever measured has added.
func read(r io.Reader, name string) (*set, error) {
	s := &set{toolchain: "an unknown toolchain", samples: map[string]map[string][]float64{}}
	in := benchfmt.NewReader(r, name)
	for in.Scan() {
		switch rec := in.Result().(type) {
		case *benchfmt.Result:
			s.add(rec)
		case *benchfmt.SyntaxError:
			return nil, fmt.Errorf("read benchmarks: %w", rec)
		}
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("read benchmarks from %s: %w", name, err)
	}
	if len(s.samples) == 0 {
		return nil, fmt.Errorf("%s has no benchmark in it", name)
	}
	var errs []error
	for _, bench := range slices.Sorted(maps.Keys(s.samples)) {
		for unit := range limits() {
			if n := len(s.samples[bench][unit]); n < enough {
				errs = append(errs, fmt.Errorf("%s: %s has %d values of %s, at least %d are needed (-benchmem -count)", name, bench, n, unit, enough))
			}
		}
	}
	return s, errors.Join(errs...)
}

func (s *set) add(r *benchfmt.Result) {
	if toolchain := r.GetConfig("toolchain"); toolchain != "" {
		s.toolchain = toolchain
	}
	name := r.GetConfig("pkg") + " " + r.Name.String()
	if s.samples[name] == nil {
		s.samples[name] = map[string][]float64{}
	}
	for _, v := range r.Values {
		s.samples[name][v.Unit] = append(s.samples[name][v.Unit], v.Value)
	}
}

// finding is one thing to tell.
type finding struct {
	bad  bool
	text string
}

// compare returns what grew, what is in one set only, and, not bad, what shrank.
func compare(base, now *set) []finding {
	var all []finding
	names := slices.Collect(maps.Keys(base.samples))
	for name := range now.samples {
		if base.samples[name] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		switch {
		case now.samples[name] == nil:
			all = append(all, finding{true, "GONE  " + name + ": it is in the baseline, and was not run"})
		case base.samples[name] == nil:
			all = append(all, finding{true, "NEW   " + name + ": it is not in the baseline"})
		default:
			all = append(all, judge(name, base.samples[name], now.samples[name])...)
		}
	}
	return all
}

// judge compares the units of one benchmark.
func judge(name string, base, now map[string][]float64) []finding {
	var all []finding
	for _, unit := range slices.Sorted(maps.Keys(limits())) {
		change := differs(base[unit], now[unit], limits()[unit])
		if change == 0 {
			continue
		}
		word := map[bool]string{true: "GREW  ", false: "less  "}[change > 0]
		all = append(all, finding{change > 0, fmt.Sprintf("%s%s: %s -> %s %s", word, name, span(base[unit]), span(now[unit]), unit)})
	}
	return all
}

// differs returns 1 when a sample has grown beyond a multiple of what it was, -1 when
// it has shrunk as much, and 0 when it has not or nobody can tell. Where the baseline
// itself varies, it has to be left by as much again as it varies: with six runs the
// test alone is wrong once in forty times.
func differs(base, now []float64, limit float64) int {
	b := benchmath.NewSample(slices.Clone(base), &benchmath.DefaultThresholds)
	n := benchmath.NewSample(slices.Clone(now), &benchmath.DefaultThresholds)
	if c := benchmath.AssumeNothing.Compare(b, n); c.P >= c.Alpha {
		return 0
	}
	was, is := median(b), median(n)
	least, most := slices.Min(base), slices.Max(base)
	switch {
	case is > was*limit && is > most+(most-least):
		return 1
	case was > is*limit && is < least-(most-least):
		return -1
	}
	return 0
}

func median(s *benchmath.Sample) float64 {
	return benchmath.AssumeNothing.Summary(s, 0.95).Center
}

// span is a sample for people: its values from the smallest to the largest.
func span(all []float64) string {
	least, most := fmt.Sprintf("%.0f", slices.Min(all)), fmt.Sprintf("%.0f", slices.Max(all))
	return strings.Join(slices.Compact([]string{least, most}), " to ")
}
