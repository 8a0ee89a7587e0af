package fakecri

import (
	"math/rand/v2"
	"time"
)

// RandomFaults returns a fault function that goes wrong with the probability
// (0 to 1) per call, the same way for the same seed and order of calls. Status
// and Version never fail, so that a client can always find the runtime. What nobody
// gives up is answered: a hook may take for ever.
func RandomFaults(seed uint64, probability float64) func(Call) Fault {
	rng := rand.New(rand.NewPCG(seed, seed))
	kinds := []FaultKind{NoFault, Unavailable, LostReply, Hang, HangAfter, RestartBefore, RestartAfter}
	return func(c Call) Fault {
		if c.Method == "Status" || c.Method == "Version" || rng.Float64() >= probability {
			return Fault{}
		}
		f := Fault{Kind: kinds[rng.IntN(len(kinds))]}
		if c.Endless && (f.Kind == Hang || f.Kind == HangAfter) {
			f.Kind = LostReply
		}
		if f.Kind == NoFault || rng.IntN(4) == 0 {
			f.Delay = time.Duration(1+rng.IntN(5000)) * time.Millisecond
		}
		f.Restart.Down = time.Duration(rng.IntN(3000)) * time.Millisecond
		return f
	}
}

// RandomEventFaults loses, doubles and delays events with the probability each.
func RandomEventFaults(seed uint64, probability float64) func(Event) EventFault {
	rng := rand.New(rand.NewPCG(seed, ^seed))
	return func(Event) EventFault {
		f := EventFault{Drop: rng.Float64() < probability, Duplicate: rng.Float64() < probability}
		if rng.Float64() < probability {
			f.Delay = time.Duration(1+rng.IntN(3000)) * time.Millisecond
		}
		return f
	}
}
