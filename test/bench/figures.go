package bench

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
)

// The figures that are measured; their names are those of docs/performance.md.
const (
	figCreated   = "one pod, created to Ready"
	figDeleted   = "one pod, deleted to gone"
	figRequests  = "API requests for one pod's life"
	figExit      = "container ended to seen in the API"
	figAgain     = "container ended to running again"
	figFlip      = "readiness probe's answer to the API"
	figFollow    = "ConfigMap, Secret, label changed to file changed"
	figAllReady  = "100 pods at once, the last one Ready"
	figAllGone   = "100 pods at once, the last one gone"
	figIdle      = "idle with 100 pods, the agent"
	figIdleCRI   = "idle with 100 pods, containerd"
	figRSS       = "RSS with 100 pods"
	figAnon      = "private memory with 100 pods"
	figRestart   = "agent started to every probe asked, 100 pods"
	figRewritten = "status writes after that start"
)

// What nobody can be faster than, in milliseconds: the runtime's events are timed on the
// agents' beds, everything else without an agent. They are no figures.
const (
	floorUp     = "the runtime alone: pod asked for to running"
	floorDown   = "the runtime alone: pod stopped"
	floorTold   = "the runtime alone: container ended to its event"
	floorAgain  = "the runtime alone: container ended to another made and started"
	floorAPI    = "the API alone: patch sent to event seen"
	floorAnswer = "a probe's answer alone: given to read"
)

// Of the pods that start at once, when each was Ready and gone, in milliseconds since
// the first of them was asked for: what pictures are drawn from. They are no figures.
const (
	lineReady = "many pods at once, each Ready"
	lineGone  = "many pods at once, each gone"
)

// figure is something that is measured of both agents.
type figure struct {
	Name string `json:"name"`
	Unit string `json:"unit"`
	// Target is the most that nodeagent may take of what the kubelet does, at the
	// median and at p99; 0: not judged.
	Target float64 `json:"target,omitempty"`
	Tail   float64 `json:"tail,omitempty"`
	// OverFloor is the most above the floor, what is taken without an agent; 0: not
	// judged. It is judged instead of a ratio that not even the floor would reach;
	// where it is 0, the ratio of what the agents add to the floor is.
	OverFloor float64 `json:"overFloor,omitempty"`
	// Parts are what the floor consists of, where it is measured in parts.
	Parts []string `json:"parts,omitempty"`
	// Added says that the ratios are those of what the agents add to what the runtime
	// takes alone: that is most of the figure, and no agent's doing.
	Added bool `json:"added,omitempty"`
	// Most is an absolute limit, where a ratio says nothing.
	Most *float64 `json:"most,omitempty"`
}

// figures are all of them, in the order of the table.
func figures() []figure {
	none := 0.0
	return []figure{
		{Name: figCreated, Unit: "ms", Target: 0.45, OverFloor: 60},
		{Name: figDeleted, Unit: "ms", Target: 0.20, OverFloor: 100},
		{Name: figExit, Unit: "ms", Target: 0.06, Tail: 0.08, OverFloor: 15, Parts: []string{floorTold, floorAPI}},
		{Name: figAgain, Unit: "ms", Target: 0.20, OverFloor: 25, Parts: []string{floorAgain, floorAPI}},
		{Name: figFlip, Unit: "ms", Target: 0.20, OverFloor: 4, Parts: []string{floorAnswer, floorAPI}},
		{Name: figFollow, Unit: "ms", Tail: 0.004},
		{Name: figAllReady, Unit: "ms", Target: 0.50},
		{Name: figAllGone, Unit: "ms", Target: 0.65},
		{Name: figIdle, Unit: "millicores", Target: 0.20},
		{Name: figIdleCRI, Unit: "millicores", Target: 0.15, Added: true},
		{Name: figRSS, Unit: "MiB", Target: 0.42},
		{Name: figAnon, Unit: "MiB", Target: 0.30},
		{Name: figRequests, Unit: "requests", Target: 0.50},
		{Name: figRestart, Unit: "ms", Target: 0.20},
		{Name: figRewritten, Unit: "requests", Most: &none},
	}
}

// round is what was measured of one agent on one bed: samples by figure.
type round map[string][]float64

// series are the rounds of one agent.
type series []round

// of returns the median over the rounds of a rank in each, and the smallest and
// the largest of these; NaN when nothing was measured.
func (s series) of(name string, percent int) (median, least, most float64) {
	var all []float64
	for _, r := range s {
		if len(r[name]) > 0 {
			all = append(all, rank(r[name], percent))
		}
	}
	if len(all) == 0 {
		return math.NaN(), math.NaN(), math.NaN()
	}
	return rank(all, 50), slices.Min(all), slices.Max(all)
}

// rank is the nearest rank: of up to 100 samples the 99th percentile is the largest.
func rank(all []float64, percent int) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[(len(sorted)*percent+99)/100-1]
}

// report is what a run came to.
type report struct {
	Machine string `json:"machine"`
	Date    string `json:"date"` // when it began, as 2006-01-02
	// Subject is what was measured, by what, and which part of it: rounds of another
	// are not mixed with these.
	Subject string `json:"subject"`
	Rounds  int    `json:"rounds"`
	// Runs is how many runs it took, and Repeated how often the host of a virtual
	// machine kept so much of the processors' time for others while an agent was
	// measured that this was left out and done again.
	Runs     int     `json:"runs"`
	Repeated int     `json:"repeated"`
	Rows     []entry `json:"rows"`
	Kubelet  series  `json:"kubelet"`
	Agent    series  `json:"nodeagent"`
	Floor    series  `json:"floor"`
}

// entry is a line of the table. Absent numbers were not measured.
type entry struct {
	figure
	Kubelet value  `json:"kubelet"`
	Agent   value  `json:"nodeagent"`
	Floor   value  `json:"floor"`
	Ratio   number `json:"ratio"`
	Ratio99 number `json:"ratio99"`
	Missed  string `json:"missed,omitempty"`
}

type value struct {
	P50   number `json:"p50"`
	P99   number `json:"p99"`
	Least number `json:"least"` // of the rounds' medians
	Most  number `json:"most"`
}

// number is one that may not be there, which JSON has no word for.
type number float64

// MarshalJSON implements json.Marshaler.
func (n number) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(n)) || math.IsInf(float64(n), 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n)) //nolint:wrapcheck // a float
}

// judge compares the rounds and says which targets were missed.
func (r *report) judge() {
	r.Rows = nil
	for _, f := range figures() {
		e := entry{figure: f, Kubelet: valueOf(r.Kubelet, f.Name), Agent: valueOf(r.Agent, f.Name), Floor: r.floorOf(f)}
		alone := number(0)
		if f.Added {
			alone = e.Floor.P50
		}
		e.Ratio, e.Ratio99 = partOf(e.Agent.P50-alone, e.Kubelet.P50-alone), partOf(e.Agent.P99-alone, e.Kubelet.P99-alone)
		e.Missed = e.missed()
		r.Rows = append(r.Rows, e)
	}
}

// floorOf is what is taken without an agent.
func (r *report) floorOf(f figure) value {
	if len(f.Parts) == 0 {
		return valueOf(r.Floor, f.Name)
	}
	var sum value
	for _, name := range f.Parts {
		part := valueOf(slices.Concat(r.Floor, r.Kubelet, r.Agent), name)
		sum.P50, sum.P99 = sum.P50+part.P50, sum.P99+part.P99
		sum.Least, sum.Most = sum.Least+part.Least, sum.Most+part.Most
	}
	return sum
}

// partOf is not below zero: what is taken away from both differs from run to run.
func partOf(agent, kubelet number) number { return max(agent, 0) / max(kubelet, 0) }

func valueOf(s series, name string) value {
	p50, least, most := s.of(name, 50)
	p99, _, _ := s.of(name, 99)
	return value{number(p50), number(p99), number(least), number(most)}
}

// missed says what of the targets was not reached; what was not measured was not.
func (e *entry) missed() string {
	switch {
	case math.IsNaN(float64(e.Agent.P50)):
		return "not measured"
	case e.Most != nil && float64(e.Agent.P50) > *e.Most:
		return fmt.Sprintf("more than %s", shown(number(*e.Most)))
	case e.Most != nil:
		return ""
	case e.beyond() && e.OverFloor == 0 && !(float64(e.added()) <= e.Target):
		return fmt.Sprintf("ratio over %.3g above the floor", e.Target)
	case e.Target > 0 && !(float64(e.Ratio) <= e.Target) && !e.beyond():
		return fmt.Sprintf("ratio over %.3g", e.Target)
	case e.Tail > 0 && !(float64(e.Ratio99) <= e.Tail) && !e.beyond():
		return fmt.Sprintf("ratio at p99 over %.3g", e.Tail)
	case e.OverFloor > 0 && !(float64(e.Agent.P50-e.Floor.P50) <= e.OverFloor):
		return fmt.Sprintf("more than %s above the floor", shown(number(e.OverFloor)))
	}
	return ""
}

// beyond says that the ratio is out of reach for any agent: the floor is above it.
// The figure is judged by its distance from the floor.
func (e *entry) beyond() bool {
	return e.Target > 0 && !e.Added && float64(e.Floor.P50) > e.Target*float64(e.Kubelet.P50)
}

// added is the ratio of what the agents take above the floor.
func (e *entry) added() number { return partOf(e.Agent.P50-e.Floor.P50, e.Kubelet.P50-e.Floor.P50) }

// table is the report for people, in Markdown, which also reads well as it is.
func (r *report) table() string {
	rows := [][]string{{"| figure", "| kubelet p50 / p99 (rounds)", "| nodeagent p50 / p99 (rounds)", "| floor", "| ratio p50 / p99", "| target", "| missed |"}, nil}
	for range rows[0] {
		rows[1] = append(rows[1], "|---")
	}
	rows[1][len(rows[1])-1] += "|"
	for _, e := range r.Rows {
		rows = append(rows, []string{"| " + e.Name + ", " + e.Unit, "| " + e.Kubelet.String(), "| " + e.Agent.String(), "| " + shown(e.Floor.P50),
			fmt.Sprintf("| %s / %s", shown(e.Ratio), shown(e.Ratio99)), "| " + e.target(), "| " + e.Missed + " |"})
	}
	return table(rows)
}

func (e *entry) target() string {
	ratio := fmt.Sprintf("%.3g", e.Target)
	switch {
	case e.Most != nil:
		return fmt.Sprintf("at most %s", shown(number(*e.Most)))
	case e.Target > 0 && e.Tail > 0:
		ratio = fmt.Sprintf("%.3g / %.3g", e.Target, e.Tail)
	case e.Tail > 0:
		ratio = fmt.Sprintf("p99 %.3g", e.Tail)
	case e.Added:
		ratio += " above the floor"
	}
	switch {
	case e.beyond() && e.OverFloor == 0:
		return fmt.Sprintf("%s is below the floor: as much above it (%s)", ratio, shown(e.added()))
	case e.beyond():
		return fmt.Sprintf("%s is below the floor: floor + %s", ratio, shown(number(e.OverFloor)))
	case e.OverFloor > 0:
		return fmt.Sprintf("%s, floor + %s", ratio, shown(number(e.OverFloor)))
	}
	return ratio
}

func (v value) String() string {
	return fmt.Sprintf("%s / %s (%s to %s)", shown(v.P50), shown(v.P99), shown(v.Least), shown(v.Most))
}

// shown has three digits that matter.
func shown(n number) string {
	switch f := float64(n); {
	case math.IsNaN(f):
		return "-"
	case math.Abs(f) >= 100:
		return fmt.Sprintf("%.0f", f)
	default:
		return fmt.Sprintf("%.3g", f)
	}
}
