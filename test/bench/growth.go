package bench

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/stat"
)

// What is measured with each number of pods.
const (
	scaleMissed     = "agent started to all that it missed in the API"
	scaleAsked      = "agent started to every probe asked"
	scaleIdle       = "idle processor time"
	scaleRSS        = "RSS"
	scaleAnon       = "private memory"
	scaleGoroutines = "goroutines"
	scaleRequests   = "API requests while idle"
	scaleCalls      = "calls to the runtime while idle"
	scaleExit       = "container ended to seen in the API"
)

// Growth is judged between these numbers of pods: below, what an agent takes with
// no pod at all is most of it.
const growthFrom, growthTo = 100, 1000

// scaled is a row of the table: a figure at one rank of its samples.
type scaled struct {
	Name    string `json:"name"`
	Unit    string `json:"unit"`
	Percent int    `json:"percent"`
	// Target is the most by which nodeagent may grow from growthFrom to growthTo
	// pods, as a share of what the kubelet does; 0: not judged.
	Target float64 `json:"target,omitempty"`
}

func scaledFigures() []scaled {
	const target = 0.15
	return []scaled{
		{scaleMissed, "ms", 50, 0},
		{scaleAsked, "ms", 50, 0},
		{scaleIdle, "millicores", 50, target},
		{scaleRSS, "MiB", 50, 0},
		{scaleAnon, "MiB", 50, 0},
		{scaleGoroutines, "goroutines", 50, 0},
		{scaleRequests, "per second", 50, 0},
		{scaleCalls, "per second", 50, 0},
		{scaleExit, "ms", 50, target},
		{scaleExit, "ms", 99, 0},
	}
}

// step is what was measured of one agent with one number of pods.
type step struct {
	Figures round `json:"figures"`
	// Calls and Requests tell what the calls to the runtime and the requests to the
	// API server were, per second while idle.
	Calls    map[string]float64 `json:"callsPerSecond"`
	Requests map[string]float64 `json:"requestsPerSecond"`
}

// climb is what was measured of one agent on one bed, by the number of pods.
type climb map[int]*step

// scaleReport is what a run came to.
type scaleReport struct {
	Machine string   `json:"machine"`
	Date    string   `json:"date"`
	Sizes   []int    `json:"sizes"`
	Rows    []growth `json:"rows"`
	Kubelet []climb  `json:"kubelet"`
	Agent   []climb  `json:"nodeagent"`
}

// growth is how a figure grows.
type growth struct {
	scaled
	Kubelet curve    `json:"kubelet"`
	Agent   curve    `json:"nodeagent"`
	Ratio   []number `json:"ratio"` // by size
	// Gained is nodeagent's growth from growthFrom to growthTo pods as a share of
	// the kubelet's.
	Gained number `json:"gainedRatio"`
	Missed string `json:"missed,omitempty"`
}

// curve is a figure by size, the median over the rounds with the smallest and the
// largest, and what fits.
type curve struct {
	At    []number `json:"at"`
	Least []number `json:"least"`
	Most  []number `json:"most"`
	// Base and PerPod are the line of least squares, RSquared how much of the
	// differences it explains.
	Base     number `json:"base"`
	PerPod   number `json:"perPod"`
	RSquared number `json:"rSquared"`
	// Exponent is the slope of the line through the logarithms: 1 when the figure
	// doubles with the pods, 0 when it does not grow.
	Exponent number `json:"exponent"`
	// Gained is by how much the line through the sizes from growthFrom on rises from
	// there to growthTo pods.
	Gained number `json:"gained"`
}

// judge fits, compares, and says which targets were missed.
func (r *scaleReport) judge() {
	r.Rows = nil
	for _, f := range scaledFigures() {
		g := growth{scaled: f, Kubelet: curveOf(r.Kubelet, f, r.Sizes), Agent: curveOf(r.Agent, f, r.Sizes)}
		for i := range r.Sizes {
			g.Ratio = append(g.Ratio, g.Agent.At[i]/g.Kubelet.At[i])
		}
		g.Gained = g.Agent.Gained / g.Kubelet.Gained
		g.Missed = g.missed()
		r.Rows = append(r.Rows, g)
	}
}

// missed says whether the target was; without growth of the kubelet there is
// nothing to have a share of.
func (g *growth) missed() string {
	switch {
	case g.Target == 0:
		return ""
	case math.IsNaN(float64(g.Gained)):
		return fmt.Sprintf("not measured at two sizes from %d pods on", growthFrom)
	case g.Kubelet.Gained <= 0:
		return "the kubelet does not grow"
	case float64(g.Gained) > g.Target:
		return fmt.Sprintf("growth over %.3g of the kubelet's", g.Target)
	}
	return ""
}

func curveOf(climbs []climb, f scaled, sizes []int) curve {
	var c curve
	for _, n := range sizes {
		var all series
		for _, one := range climbs {
			if s := one[n]; s != nil {
				all = append(all, s.Figures)
			}
		}
		at, least, most := all.of(f.Name, f.Percent)
		c.At, c.Least, c.Most = append(c.At, number(at)), append(c.Least, number(least)), append(c.Most, number(most))
	}
	whole := points(sizes, c.At, func(n, y float64) bool { return true })
	c.Base, c.PerPod, c.RSquared = whole.line()
	_, c.Exponent, _ = points(sizes, c.At, func(n, y float64) bool { return n > 0 && y > 0 }).logarithms().line()
	_, perPod, _ := points(sizes, c.At, func(n, y float64) bool { return n >= growthFrom }).line()
	c.Gained = perPod * (growthTo - growthFrom)
	return c
}

// cloud are points that something is fitted to.
type cloud struct{ x, y []float64 }

// points leaves out what was not measured.
func points(sizes []int, at []number, wanted func(n, y float64) bool) cloud {
	var c cloud
	for i, n := range sizes {
		if y := float64(at[i]); !math.IsNaN(y) && wanted(float64(n), y) {
			c.x, c.y = append(c.x, float64(n)), append(c.y, y)
		}
	}
	return c
}

// line is that of least squares; NaN of fewer than two points.
func (c cloud) line() (base, slope, explained number) {
	if len(c.x) < 2 {
		none := number(math.NaN())
		return none, none, none
	}
	a, b := stat.LinearRegression(c.x, c.y, nil, false)
	return number(a), number(b), number(stat.RSquared(c.x, c.y, nil, a, b))
}

func (c cloud) logarithms() cloud {
	logs := func(all []float64) []float64 {
		all = slices.Clone(all)
		for i := range all {
			all[i] = math.Log(all[i])
		}
		return all
	}
	return cloud{logs(c.x), logs(c.y)}
}

// String is the report for people, in Markdown.
func (r *scaleReport) String() string {
	return fmt.Sprintf("%s, on %s; rounds of each: %d\n\n%s", r.Date, r.Machine, len(r.Agent), r.table())
}

// table has of each figure a line for each agent and one for the ratios.
func (r *scaleReport) table() string {
	head := []string{"| figure", "| agent"}
	for _, n := range r.Sizes {
		head = append(head, fmt.Sprintf("| %d pods", n))
	}
	head = append(head, "| per 100 pods", "| exponent", fmt.Sprintf("| %d to %d", growthFrom, growthTo), "| target", "| missed |")
	rule := slices.Repeat([]string{"|---"}, len(head))
	rule[len(rule)-1] = "|---|"
	rows := [][]string{head, rule}
	for _, g := range r.Rows {
		target := "|"
		if g.Target > 0 {
			target = fmt.Sprintf("| %.3g", g.Target)
		}
		rows = append(rows,
			append(g.Kubelet.row(fmt.Sprintf("| %s, %s, p%d", g.Name, g.Unit, g.Percent), "| kubelet"), "|", "| |"),
			append(g.Agent.row("|", "| nodeagent"), "|", "| |"),
			append(cells([]string{"|", "| ratio"}, append(slices.Clone(g.Ratio), g.Agent.PerPod/g.Kubelet.PerPod, number(math.NaN()), g.Gained)),
				target, "| "+g.Missed+" |"))
	}
	return table(rows)
}

// row is everything that a curve has in the table.
func (c *curve) row(first ...string) []string {
	const hundred = 100
	return cells(first, append(slices.Clone(c.At), hundred*c.PerPod, c.Exponent, c.Gained))
}

func cells(row []string, all []number) []string {
	for _, n := range all {
		row = append(row, "| "+shown(n))
	}
	return row
}
