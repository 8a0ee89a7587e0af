package bench

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

// climbOf makes a round whose figures follow from the number of pods.
func climbOf(sizes []int, figures map[string]func(n float64) float64) climb {
	c := climb{}
	for _, n := range sizes {
		c[n] = &step{Figures: round{}}
		for name, of := range figures {
			c[n].Figures[name] = []float64{of(float64(n))}
		}
	}
	return c
}

func TestGrowth(t *testing.T) {
	t.Parallel()
	sizes := []int{10, 110, 250, 500, 1000}
	flat := func(y float64) func(float64) float64 { return func(float64) float64 { return y } }
	r := scaleReport{
		Sizes: sizes,
		Kubelet: []climb{
			climbOf(sizes, map[string]func(float64) float64{
				scaleIdle: func(n float64) float64 { return 5 + 0.1*n }, scaleRSS: func(n float64) float64 { return 2 * n * n }, scaleExit: flat(500),
			}),
			climbOf(sizes, map[string]func(float64) float64{scaleIdle: func(n float64) float64 { return 1000 + n }}),
			climbOf(sizes, map[string]func(float64) float64{scaleIdle: flat(0)}),
		},
		Agent: []climb{climbOf(sizes, map[string]func(float64) float64{
			scaleIdle: func(n float64) float64 { return 2 + 0.02*n }, scaleExit: flat(5),
		})},
	}
	r.judge()
	rows := map[string]growth{}
	for _, g := range r.Rows {
		if g.Percent == 50 {
			rows[g.Name] = g
		}
	}
	near := func(what string, got number, want float64) {
		t.Helper()
		if !(math.Abs(float64(got)-want) < 1e-9) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	idle := rows[scaleIdle]
	near("the median of the rounds", idle.Kubelet.At[4], 105)
	near("the smallest", idle.Kubelet.Least[4], 0)
	near("the largest", idle.Kubelet.Most[4], 2000)
	near("base", idle.Kubelet.Base, 5)
	near("per pod", idle.Kubelet.PerPod, 0.1)
	near("explained", idle.Kubelet.RSquared, 1)
	near("gained", idle.Kubelet.Gained, 90)
	near("share", idle.Gained, 0.2)
	near("ratio with 1000 pods", idle.Ratio[4], 22.0/105)
	near("exponent of a square", rows[scaleRSS].Kubelet.Exponent, 2)
	near("exponent of what stays", rows[scaleExit].Agent.Exponent, 0)
	for name, want := range map[string]string{scaleIdle: "growth over 0.15 of the kubelet's", scaleRSS: ""} {
		if rows[name].Missed != want {
			t.Errorf("%s: missed %q, want %q", name, rows[name].Missed, want)
		}
	}
	if text := r.table(); strings.Count(text, "\n") != 3*len(scaledFigures())+2 || strings.Contains(text, "NaN") {
		t.Errorf("the table:\n%s", text)
	}
	if _, err := json.Marshal(r); err != nil {
		t.Errorf("as JSON: %v", err)
	}
}

// A target is not passed for want of anything to compare with.
func TestGrowthThatIsNone(t *testing.T) {
	t.Parallel()
	rising := func(by float64) func(float64) float64 { return func(n float64) float64 { return 10 + by*n } }
	for name, c := range map[string]struct {
		sizes       []int
		first, next float64
		missed      string
	}{
		"half of the target":       {[]int{10, 110, 1000}, 1, 0.075, ""},
		"falls":                    {[]int{10, 110, 1000}, 1, -1, ""},
		"the kubelet falls":        {[]int{10, 110, 1000}, -0.001, 0, "the kubelet does not grow"},
		"one size from 100 on":     {[]int{10, 30, 110}, 1, 0.1, "not measured at two sizes from 100 pods on"},
		"more than it may":         {[]int{100, 200}, 1, 0.16, "growth over 0.15 of the kubelet's"},
		"more than the kubelet is": {[]int{100, 200}, 1, 2, "growth over 0.15 of the kubelet's"},
	} {
		r := scaleReport{
			Sizes:   c.sizes,
			Kubelet: []climb{climbOf(c.sizes, map[string]func(float64) float64{scaleExit: rising(c.first)})},
			Agent:   []climb{climbOf(c.sizes, map[string]func(float64) float64{scaleExit: rising(c.next)})},
		}
		r.judge()
		for _, g := range r.Rows {
			switch {
			case g.Name == scaleExit && g.Percent == 50 && g.Missed != c.missed:
				t.Errorf("%s: missed %q, want %q", name, g.Missed, c.missed)
			case g.Name == scaleIdle && !strings.HasPrefix(g.Missed, "not measured"):
				t.Errorf("%s: what was not measured at all: missed %q", name, g.Missed)
			}
		}
	}
}
