package stats

import (
	"sync"
	"time"
)

const (
	// oldest is how old a read may be to make a rate with the one after it.
	oldest = 2 * time.Minute
	// shortest is the least time between two reads that make a rate.
	shortest = 90 * time.Millisecond
)

// reading is the CPU that a cgroup had used at a time, in nanoseconds.
type reading struct {
	at    time.Time
	total uint64
}

// rates remembers the last two readings of each cgroup.
type rates struct {
	mu   sync.Mutex
	last map[string][2]reading // older, newer
}

// note takes readings of all cgroups there are: others are forgotten.
func (r *rates) note(rows []Row) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := make(map[string][2]reading, len(rows))
	for i := range rows {
		if cpu := rows[i].CPU; cpu != nil {
			next[rows[i].Path] = after(r.last[rows[i].Path], reading{rows[i].At, cpu.Total})
		}
	}
	r.last = next
}

// again takes one more reading of a cgroup that is known.
func (r *rates) again(path string, at time.Time, total uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if two, ok := r.last[path]; ok {
		r.last[path] = after(two, reading{at, total})
	}
}

// after is what is remembered after one more reading: what came too soon after the
// newer one only takes its place. A sum that went back is that of another cgroup of
// the same name.
func after(two [2]reading, now reading) [2]reading {
	switch {
	case two[1].at.IsZero() || now.total < two[1].total || now.at.Sub(two[1].at) > oldest:
		return [2]reading{1: now}
	case now.at.Sub(two[1].at) < shortest:
		if two[0].at.IsZero() {
			return two
		}
		return [2]reading{two[0], now}
	default:
		return [2]reading{two[1], now}
	}
}

// of is how many billionths of a CPU a cgroup used between its last two readings.
func (r *rates) of(path string) (nanoCores uint64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	two := r.last[path]
	took := two[1].at.Sub(two[0].at)
	if two[0].at.IsZero() || took <= 0 {
		return 0, false
	}
	return uint64(float64(two[1].total-two[0].total) / took.Seconds()), true
}

// without are the rows of which no rate is known and would be shown.
func (r *rates) without(rows []Row) []*Row {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*Row
	for i := range rows {
		if two := r.last[rows[i].Path]; rows[i].CPU != nil && rows[i].Kind != KindSandbox && two[0].at.IsZero() {
			all = append(all, &rows[i])
		}
	}
	return all
}
