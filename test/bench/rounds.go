package bench

import "slices"

// hostKept is, of each bed, the part of the processors' time that the host of a virtual
// machine kept for others, of 1. It is no figure.
const hostKept = "kept by the host"

// disturbed is the most of it that says nothing against what was measured.
const disturbed = 0.05

// calm says that the host left the machine alone while this was measured.
func (r round) calm() bool { return len(r[hostKept]) == 1 && r[hostKept][0] <= disturbed }

// sides are the rounds of the beds without an agent, of the kubelet and of nodeagent.
func (r *report) sides() []*series { return []*series{&r.Floor, &r.Kubelet, &r.Agent} }

// goOn takes over the calm rounds of an earlier run that measured the same: the host may
// not leave a machine alone for as long as a whole run takes. What was measured to its
// end is not gone on with.
func (r *report) goOn(earlier *report) {
	if earlier.Subject != r.Subject {
		return
	}
	left := 0
	for _, side := range earlier.sides() {
		*side = slices.DeleteFunc(*side, func(r round) bool { return !r.calm() })
		left += max(r.Rounds-len(*side), 0)
	}
	if left == 0 {
		return
	}
	r.Machine, r.Date, r.Runs, r.Repeated = earlier.Machine, earlier.Date, r.Runs+earlier.Runs, earlier.Repeated
	r.Floor, r.Kubelet, r.Agent = earlier.Floor, earlier.Kubelet, earlier.Agent
}

// stolen is what the host kept, of 1, the mean of all beds.
func (r *report) stolen() float64 {
	sum, n := 0.0, 0
	for _, one := range slices.Concat(r.Floor, r.Kubelet, r.Agent) {
		for _, part := range one[hostKept] {
			sum, n = sum+part, n+1
		}
	}
	return sum / float64(max(n, 1))
}
