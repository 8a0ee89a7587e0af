package volume

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Step is what is being done about a volume, for people.
type Step struct {
	// Volume is its name in the pod; empty: all of the pod's.
	Volume string
	What   string
	Since  time.Time
}

// Steps says what is being done about the volumes of a pod at the moment, the
// longest first.
func (m *Manager) Steps(uid types.UID) []Step {
	running := m.steps.of(uid)
	if j := m.jobs.current(uid); j != nil && len(running) == 0 {
		running = append(running, Step{What: j.what, Since: j.since})
	}
	slices.SortStableFunc(running, func(a, b Step) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Volume, b.Volume)) })
	return running
}

// steps are what is being done, by pod.
type steps struct {
	mu   sync.Mutex
	pods map[types.UID]map[*step]struct{}
}

// step is one of them; it goes on until end.
type step struct {
	all *steps
	uid types.UID

	Step // guarded by all.mu
}

func (s *steps) begin(uid types.UID, volume string) *step {
	begun := &step{all: s, uid: uid, Step: Step{Volume: volume, What: "beginning with it", Since: time.Now()}}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pods == nil {
		s.pods = map[types.UID]map[*step]struct{}{}
	}
	if s.pods[uid] == nil {
		s.pods[uid] = map[*step]struct{}{}
	}
	s.pods[uid][begun] = struct{}{}
	return begun
}

// is says what is done from now on.
func (s *step) is(what string) {
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	s.What, s.Since = what, time.Now()
}

func (s *step) end() {
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	delete(s.all.pods[s.uid], s)
	if len(s.all.pods[s.uid]) == 0 {
		delete(s.all.pods, s.uid)
	}
}

func (s *steps) of(uid types.UID) []Step {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Step
	for st := range s.pods[uid] {
		list = append(list, st.Step)
	}
	return list
}
