package main

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/plot/plotter"
)

// The names under which bench.json has when each of many pods was ready and gone,
// in milliseconds since the first of them was asked for.
const (
	lineReady = "many pods at once, each Ready"
	lineGone  = "many pods at once, each gone"
)

// measured is what is read of bench.json.
type measured struct {
	Machine string
	Date    string
	Rows    []struct{ Name, Unit string }
	Kubelet series `json:"kubelet"`
	Agent   series `json:"nodeagent"`
	Floor   series `json:"floor"`
}

// series are the rounds of one agent: samples by figure.
type series []map[string][]float64

// side is one of what is compared.
type side struct {
	name   string
	rounds series
}

func (m *measured) sides() []side {
	return []side{{"upstream kubelet", m.Kubelet}, {"nodeagent", m.Agent}, {"without an agent", m.Floor}}
}

func (m *measured) title(what string) string {
	text := map[string]string{"latency": "How long things take: share of the samples that took at most so long", "timeline": "Many pods at once"}[what]
	if m.Date != "" {
		text += ", " + m.Date
	}
	return fmt.Sprintf("%s, rounds of each: %d", text, len(m.Agent))
}

// panel is one diagram.
type panel struct {
	title, x, y string
	log         bool
	// least is where the x axis begins, most where the y axis ends.
	least, most float64
	lines       []line
}

// line is a curve of one of the sides.
type line struct {
	side  int
	faint bool // one of several rounds, behind their median
	at    plotter.XYs
}

// pooled are the samples of a figure in all rounds, sorted.
func (s series) pooled(name string) []float64 {
	var all []float64
	for _, r := range s {
		all = append(all, r[name]...)
	}
	slices.Sort(all)
	return all
}

// manifold says whether any round has more than one sample of a figure: else there
// is no distribution to show.
func (m *measured) manifold(name string) bool {
	for _, s := range m.sides() {
		for _, r := range s.rounds {
			if len(r[name]) > 1 {
				return true
			}
		}
	}
	return false
}

// factor is how much the largest sample of a diagram has to be of the smallest for a
// logarithmic axis.
const factor = 30

// latencies are the distributions of the figures in milliseconds.
func latencies(m *measured) []panel {
	var all []panel
	for _, row := range m.Rows {
		if row.Unit != "ms" || !m.manifold(row.Name) {
			continue
		}
		p := panel{title: row.Name, x: "milliseconds", y: "% of samples", most: 100}
		least, most := math.Inf(1), 0.0
		for i, s := range m.sides() {
			if samples := s.rounds.pooled(row.Name); len(samples) > 0 {
				p.lines = append(p.lines, line{side: i, at: shares(samples)})
				least, most = min(least, samples[0]), max(most, samples[len(samples)-1])
			}
		}
		if least > 0 && most > factor*least {
			p.log, p.x, p.least = true, "milliseconds, logarithmic", least
		}
		all = append(all, p)
	}
	return all
}

// shares is the curve of how many of the sorted samples are at most so large, in
// percent.
func shares(sorted []float64) plotter.XYs {
	const all = 100
	return steps(sorted, all/float64(len(sorted)))
}

// steps is a curve that begins at the first of the sorted values and rises by height
// at each.
func steps(sorted []float64, height float64) plotter.XYs {
	var at plotter.XYs
	for i, x := range sorted {
		at = append(at, plotter.XY{X: x, Y: float64(i) * height}, plotter.XY{X: x, Y: float64(i+1) * height})
	}
	return at
}

// timelines are how many pods have come so far after a time.
func timelines(m *measured) []panel {
	var all []panel
	for _, c := range []struct{ name, what string }{{lineReady, "Ready"}, {lineGone, "gone"}} {
		p := panel{}
		var medians []line
		for i, s := range m.sides() {
			var rounds [][]float64
			for _, r := range s.rounds {
				if len(r[c.name]) > 0 {
					sorted := slices.Sorted(slices.Values(r[c.name]))
					rounds = append(rounds, sorted)
					p.most = max(p.most, float64(len(sorted)))
					p.lines = append(p.lines, line{i, true, since(sorted)})
				}
			}
			if len(rounds) > 0 {
				medians = append(medians, line{side: i, at: since(typical(rounds))})
			}
		}
		if len(medians) == 0 {
			continue
		}
		p.title = fmt.Sprintf("%.0f pods at once: %s after", p.most, c.what)
		p.x, p.y, p.lines = "seconds", "pods "+c.what, append(p.lines, medians...)
		all = append(all, p)
	}
	return all
}

// since is the curve of how many of the sorted milliseconds have passed, by seconds.
func since(sorted []float64) plotter.XYs {
	at := append(plotter.XYs{{}}, steps(sorted, 1)...)
	for i := range at {
		at[i].X /= 1000
	}
	return at
}

// typical is, of several rounds, the median time of the first, of the second and so
// on; it ends with the shortest round.
func typical(rounds [][]float64) []float64 {
	var all []float64
	for i := 0; ; i++ {
		var one []float64
		for _, r := range rounds {
			if i == len(r) {
				return all
			}
			one = append(one, r[i])
		}
		slices.Sort(one)
		all = append(all, one[(len(one)-1)/2])
	}
}
