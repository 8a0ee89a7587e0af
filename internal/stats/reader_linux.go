package stats

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"go.uber.org/zap"

	"nodeagent.dev/nodeagent/internal/pod"
)

const (
	// shared is how long a result serves those who come later.
	shared = time.Second
	// patience is how long a read waits for cgroups that do not answer; the others are
	// told without them.
	patience = 3 * time.Second
	// maxWorkers bounds the goroutines of a read.
	maxWorkers = 4
)

// Config is what a [Reader] needs.
type Config struct {
	// Pods are the pods that there are.
	Pods func() []*pod.View
	// Cgroups says where theirs are; it returns nil until that is known.
	Cgroups func() Cgroups
	// System are the cgroups of daemons, below the root of the hierarchies.
	System func() []string
	// SandboxImage asks the runtime what a sandbox was made from; nil: nobody knows.
	SandboxImage func(ctx context.Context, id string) (string, error)
}

// Reader reads what cgroups have used. It is safe for concurrent use, and does
// nothing while nobody calls it.
type Reader struct {
	cfg     Config
	machine *machine
	log     *zap.Logger
	rates   rates
	images  images

	mu      sync.Mutex
	finder  *finder
	flight  *flight         // the newest; nil: none that still serves
	hanging map[string]bool // cgroups of which a read does not end
	said    bool            // that reads hang
	sample  sampler
}

// sampler reads one cgroup.
type sampler func(s *scratch, g Group, need Need) (Sample, error)

// flight is one read of everything, which may serve many.
type flight struct {
	need  Need
	ended chan struct{}
	at    time.Time // set once it has ended
	rows  []Row
	err   error
}

// NewReader looks at the machine's cgroups.
func NewReader(cfg Config, log *zap.Logger) (*Reader, error) {
	m, err := lookAtMachine()
	if err != nil {
		return nil, err
	}
	return newReader(cfg, m, log), nil
}

func newReader(cfg Config, m *machine, log *zap.Logger) *Reader {
	r := &Reader{cfg: cfg, machine: m, log: log, finder: newFinder(m), hanging: map[string]bool{}}
	r.sample = func(s *scratch, g Group, need Need) (Sample, error) { return m.sample(s, g.Path, need) }
	return r
}

// Rows reads all cgroups, the machine's first and each pod's before those in it.
// The rows are shared with others: they are not to be changed. What ran less than a
// second ago and has all that is needed is returned again. The error is that of a
// machine whose root cgroup cannot be read, or ctx's.
func (r *Reader) Rows(ctx context.Context, need Need) ([]Row, error) {
	r.mu.Lock()
	f := r.flight
	if f == nil || f.need&need != need {
		if f != nil {
			need |= f.need // who asks next may want either
		}
		f = &flight{need: need, ended: make(chan struct{})}
		r.flight = f
		go r.fly(f)
	}
	r.mu.Unlock()
	select {
	case <-f.ended:
		return f.rows, f.err
	case <-ctx.Done():
		return nil, fmt.Errorf("read what cgroups use: %w", context.Cause(ctx))
	}
}

// fly does what a flight is for, and lets it serve others for a while.
func (r *Reader) fly(f *flight) {
	f.rows, f.err = r.read(f.need)
	f.at = time.Now()
	close(f.ended)
	time.AfterFunc(shared, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.flight == f {
			r.flight = nil
		}
	})
}

func (r *Reader) read(need Need) ([]Row, error) {
	groups := r.groups(need)
	if len(groups) == 0 || groups[0].Kind != KindRoot {
		return nil, errors.New("the root cgroup cannot be read; are the cgroup file systems still mounted?")
	}
	r.machine.lookAtIO(need)
	samples := r.samples(groups, need)
	rows := make([]Row, 0, len(groups))
	var gone []Group
	for i, s := range samples {
		switch {
		case s == nil: // it hangs
		case s.err != nil:
			gone = append(gone, groups[i])
		default:
			rows = append(rows, Row{Group: groups[i], Sample: s.Sample})
		}
	}
	r.missed(gone)
	if need.has(NeedIO) {
		names := deviceNames{sys: "/sys"}
		names.name(rows)
	}
	if len(rows) == 0 || rows[0].Kind != KindRoot {
		return nil, errors.New("the root cgroup does not answer")
	}
	for i := range rows {
		if need.has(NeedNetwork) && rows[i].HostNetwork && rows[i].network {
			rows[i].Network = rows[0].Network // as they see it
		}
	}
	if need.has(NeedSandboxes) && r.cfg.SandboxImage != nil {
		r.images.fill(rows, r.cfg.SandboxImage)
	}
	if need.has(NeedCPU | NeedCPUDetail) {
		r.rates.note(rows)
	}
	return rows, nil
}

// groups are the cgroups to be read.
func (r *Reader) groups(need Need) []Group {
	var system []string
	if r.cfg.System != nil {
		system = r.cfg.System()
	}
	at, views := r.cfg.Cgroups(), r.cfg.Pods()
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.finder.find(at, system, views)
	wanted := all[:0]
	for _, g := range all {
		if need.of(&g) != 0 && !r.hanging[g.Path] {
			wanted = append(wanted, g)
		}
	}
	return wanted
}

// missed forgets cgroups that are not there any more.
func (r *Reader) missed(gone []Group) {
	if len(gone) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, g := range gone {
		r.finder.forget(g)
	}
}

// result is a cgroup's sample, or why there is none.
type result struct {
	Sample
	err error
}

// samples reads cgroups on a few goroutines. What does not end in time is nil, and
// is not asked again until it ends.
func (r *Reader) samples(groups []Group, need Need) []*result {
	type done struct {
		index int
		result
	}
	var (
		mu   sync.Mutex
		next int
		busy = map[int]string{}
		out  = make([]*result, len(groups))
		from = make(chan done, len(groups))
	)
	take := func() int { // -1: nothing is left
		mu.Lock()
		defer mu.Unlock()
		if next == len(groups) {
			return -1
		}
		next++
		busy[next-1] = groups[next-1].Path
		return next - 1
	}
	worker := func() {
		s := newScratch()
		defer s.close()
		for i := take(); i >= 0; i = take() {
			sample, err := r.sampleOf(s, groups[i], need)
			mu.Lock()
			delete(busy, i)
			mu.Unlock()
			r.answered(groups[i].Path)
			from <- done{i, result{sample, err}}
		}
	}
	for range min(maxWorkers, runtime.GOMAXPROCS(0), len(groups)) {
		go worker()
	}
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for range groups {
		select {
		case d := <-from:
			out[d.index] = &d.result
		case <-limit.C:
			mu.Lock()
			next = len(groups) // nobody begins anything more
			stuck := make([]string, 0, len(busy))
			for _, path := range busy {
				stuck = append(stuck, path)
			}
			r.hang(stuck) // with the lock: who is done now has to say so after it
			mu.Unlock()
			return out
		}
	}
	return out
}

func (r *Reader) hang(paths []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, path := range paths {
		r.hanging[path] = true
	}
	if !r.said && len(paths) > 0 {
		r.said = true
		r.log.Warn("cgroups do not answer; going on without their figures until they do", zap.Strings("cgroups", paths))
	}
}

// answered ends what hang began.
func (r *Reader) answered(path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.hanging) > 0 {
		delete(r.hanging, path)
		r.said = r.said && len(r.hanging) > 0
	}
}

// sampleOf reads one cgroup, with the network of the machine or of a pod.
func (r *Reader) sampleOf(s *scratch, g Group, need Need) (Sample, error) {
	need = need.of(&g)
	out, err := r.sample(s, g, need)
	if err != nil {
		return out, err
	}
	out.Made = g.Started
	if need.has(NeedFiles) && out.Processes != nil {
		switch {
		case g.Kind == KindRoot:
			out.Processes.OpenFilesLimit = r.machine.openFilesLimit(s, initPID)
		case g.RuntimeID != "" && out.pid > 0:
			out.Processes.OpenFilesLimit = r.machine.openFilesLimit(s, out.pid)
		}
	}
	if need.has(NeedNetwork) && !g.HostNetwork {
		pid := out.pid
		if g.Kind == KindRoot {
			pid = initPID
		}
		if pid > 0 {
			out.Network, _ = r.machine.network(s, pid) // it has ended: its pod shows no network
		}
	}
	return out, nil
}

// initPID is the process that has the machine's own network.
const initPID = 1

// pause is the time between the two reads of a cgroup that nobody read before.
const pause = 100 * time.Millisecond

// ensureRates reads the CPU of those rows again of which no rate is known, some time
// after they were read.
func (r *Reader) ensureRates(ctx context.Context, rows []Row) error {
	unknown := r.rates.without(rows)
	if len(unknown) == 0 {
		return nil
	}
	wait := time.NewTimer(time.Until(unknown[len(unknown)-1].At.Add(pause)))
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	groups := make([]Group, 0, len(unknown))
	for _, row := range unknown {
		groups = append(groups, row.Group)
	}
	for i, s := range r.samples(groups, NeedCPU) {
		if s != nil && s.err == nil && s.CPU != nil {
			r.rates.again(groups[i].Path, s.At, s.CPU.Total)
		}
	}
	return nil
}
