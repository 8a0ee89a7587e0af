package probe

// outside is the place of a probe that is not in the schedule.
const outside = -1

// schedule is a heap ([container/heap]) of the probes that wait, the one that is
// due first on top.
type schedule []*item

// Len is part of heap.Interface.
func (s schedule) Len() int { return len(s) }

// Less is part of heap.Interface.
func (s schedule) Less(a, b int) bool { return s[a].due.Before(s[b].due) }

// Swap is part of heap.Interface.
func (s schedule) Swap(a, b int) {
	s[a], s[b] = s[b], s[a]
	s[a].at, s[b].at = a, b
}

// Push is part of heap.Interface.
func (s *schedule) Push(x any) {
	i := x.(*item)
	i.at = len(*s)
	*s = append(*s, i)
}

// Pop is part of heap.Interface.
func (s *schedule) Pop() any {
	last := len(*s) - 1
	i := (*s)[last]
	(*s)[last] = nil // or it would be kept as long as the heap
	*s = (*s)[:last]
	i.at = outside
	return i
}
