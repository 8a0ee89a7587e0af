package bench

import (
	"math"
	"testing"
)

// A run goes on with the calm rounds that another of the same has left, and begins anew
// where there is nothing left to measure.
func TestGoOn(t *testing.T) {
	t.Parallel()
	calm, busy, unknown := round{hostKept: {0.01}}, round{hostKept: {0.2}}, round{figCreated: {1}}
	for name, c := range map[string]struct {
		subject               string
		floor, kubelet, agent series
		want                  [3]int // of the floor, the kubelet, nodeagent
		runs                  int
	}{
		"half a run":         {"ours", series{calm, calm}, series{calm}, series{calm}, [3]int{2, 1, 1}, 4},
		"without the busy":   {"ours", series{calm, busy}, series{busy, calm}, series{unknown, calm}, [3]int{1, 1, 1}, 4},
		"others":             {"theirs", series{calm}, series{calm}, series{calm}, [3]int{}, 1},
		"measured to an end": {"ours", series{calm, calm}, series{calm, calm}, series{calm, calm}, [3]int{}, 1},
		"to a busy end":      {"ours", series{calm, calm}, series{calm, calm}, series{calm, busy}, [3]int{2, 2, 1}, 4},
	} {
		r := &report{Subject: "ours", Rounds: 2, Runs: 1, Machine: "now", Date: "today"}
		r.goOn(&report{Subject: c.subject, Rounds: 2, Runs: 3, Repeated: 5, Machine: "then", Date: "yesterday", Floor: c.floor, Kubelet: c.kubelet, Agent: c.agent})
		for i, side := range r.sides() {
			if len(*side) != c.want[i] {
				t.Errorf("%s: side %d goes on with %d rounds, want %d", name, i, len(*side), c.want[i])
			}
		}
		if r.Runs != c.runs || (r.Runs > 1) != (r.Date == "yesterday") || (r.Runs > 1) != (r.Repeated == 5) || (r.Runs > 1) != (r.Machine == "then") {
			t.Errorf("%s: %+v, want %d runs", name, r, c.runs)
		}
	}
}

func TestStolen(t *testing.T) {
	t.Parallel()
	r := &report{Floor: series{{hostKept: {0.1}}}, Kubelet: series{{hostKept: {0.3}}, {}}, Agent: series{{hostKept: {0.5}}}}
	if got := r.stolen(); math.Abs(got-0.3) > 1e-9 {
		t.Errorf("the host kept %v, want 0.3", got)
	}
	if got := (&report{}).stolen(); got != 0 {
		t.Errorf("of nothing the host kept %v", got)
	}
}
