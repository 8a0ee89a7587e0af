//go:build e2e

package bench

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
	"nodeagent.dev/nodeagent/test/fakecri"
)

var (
	sizesFlag  = flag.String("sizes", "", "numbers of pods of TestScale, with commas between; empty means 10,30, or 10,110,250,500,1000 with -compare")
	windowFlag = flag.Duration("window", 0, "how long TestScale watches an idle agent; 0 means 10 s, or 90 s with -compare")
)

const (
	// probedShare is of how many pods one has a probe. The fake runtime answers it.
	probedShare  = 10
	scaledPeriod = 10 // seconds, of the probes
	exitCode     = 3  // of containers that end
	// climbPatience bounds what many pods wait for, at the requests per second that
	// an agent allows itself.
	climbPatience = 15 * time.Minute
)

// pace is how long TestScale watches.
type pace struct {
	// settle is how long an agent is left alone after its start, window how long it
	// is measured then. The kubelet looks at each pod once in 60 to 90 seconds.
	settle, window time.Duration
	exits          int
}

func paces() pace {
	p := pace{window: 10 * time.Second, exits: 8}
	if *compare {
		p = pace{window: 90 * time.Second, exits: 40}
	}
	if *windowFlag > 0 {
		p.window = *windowFlag
	}
	p.settle = p.window / 2
	return p
}

// scale is a bed whose runtime is in this process, and how far it got.
type scale struct {
	*site
	runtime *fakecri.Server
	probes  *calls
	pods    []string
	climb   climb
	windows map[int]window
	taken   int // pods whose containers were ended while the agent was away
}

// window is when an agent with some number of pods was idle.
type window struct{ from, to time.Time }

// TestScale measures how what an agent takes grows with the number of pods. The
// runtime is a fake that takes no time, so that all that is seen is the agent's.
func TestScale(t *testing.T) {
	r := &scaleReport{Machine: machine(t), Date: time.Now().UTC().Format(time.DateOnly), Sizes: scaleSizes(t)}
	for i := range *rounds {
		for _, agent := range agents() {
			t.Run(fmt.Sprintf("%d/%s", i+1, agent), func(t *testing.T) {
				switch got := climbWith(t, agent, r.Sizes); agent {
				case bed.Kubelet:
					r.Kubelet = append(r.Kubelet, got)
				default:
					r.Agent = append(r.Agent, got)
				}
			})
			r.judge()
			keep(t, "bench-scale", r, r.String())
		}
		t.Logf("after %d of %d rounds: %s", i+1, *rounds, r)
	}
	for _, g := range r.Rows {
		if g.Missed != "" && judged(bed.Nodeagent) && *sizesFlag == "" {
			t.Errorf("%s, p%d: %s", g.Name, g.Percent, g.Missed)
		}
	}
}

// scaleSizes are the numbers of pods, the smallest first.
func scaleSizes(t *testing.T) []int {
	t.Helper()
	text := *sizesFlag
	if text == "" {
		if text = "10,30"; *compare {
			text = "10,110,250,500,1000"
		}
	}
	var all []int
	for one := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(one))
		if err != nil || n <= 0 {
			t.Fatalf("-sizes=%s: give numbers of pods with commas between, such as 10,110", text)
		}
		all = append(all, n)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// climbWith measures an agent on a new bed with more and more pods.
func climbWith(t *testing.T, agent string, sizes []int) climb {
	t.Helper()
	s := startScale(t, agent, sizes[len(sizes)-1])
	for _, n := range sizes {
		began := time.Now()
		s.climb[n] = &step{Figures: round{}}
		s.out = s.climb[n].Figures
		s.grow(t, n)
		s.restartAfterExits(t)
		pause(t.Context(), paces().settle)
		s.idle(t, n)
		s.exits(t, n)
		t.Logf("%s with %d pods, after %s: %v\n  calls %s", agent, n, time.Since(began).Round(time.Second), s.out, perSecond(s.climb[n].Calls))
	}
	pause(t.Context(), auditBatch)
	s.requests(t)
	return s.climb
}

// startScale starts a bed on a fake runtime, with an agent that has room for the
// pods and for those whose containers end.
func startScale(t *testing.T, agent string, most int) *scale {
	t.Helper()
	s := &scale{probes: &calls{}, climb: climb{}, windows: map[int]window{}}
	s.site = &site{Bed: bed.Start(t, bed.Options{
		Agent: bed.NoAgent, NoRuntime: true, AuditLog: true,
		APIServerArgs: []string{"--audit-log-maxsize=4096"}, // MiB: else a part of it gets another name
		KubeletConfig: func(config map[string]any) { config["maxPods"] = most + exitPods },
	})}
	images := filepath.Join(s.Dir, "images")
	must(t, "making a folder for no images", os.Mkdir(images, 0o755))
	var err error
	s.runtime, err = fakecri.NewUnix(fakecri.Config{
		CgroupDriver: "cgroupfs", Logs: true, ImageDir: images, Behave: s.behave,
		Present: []fakecri.Image{{Name: bedtest.Image, Size: 4 << 20}}, // the kubelet takes no image without a size
	}, s.CRISocket)
	must(t, "starting a runtime", err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		// An agent must not see its runtime go.
		if err := s.SwitchAgent(ctx, bed.NoAgent); err != nil {
			t.Errorf("stopping the agent: %v", err)
		}
		s.runtime.Close()
	})
	bedtest.ShowLog(t, s.Bed)
	s.board = watchPods(t, s.Bed)
	must(t, "starting the agent", s.SwitchAgent(t.Context(), agent))
	must(t, "starting the agent", s.WaitNodeReady(t.Context()))
	return s
}

// behave answers probes.
func (s *scale) behave(pod, _ string, _ int) fakecri.Behaviour {
	return fakecri.Behaviour{Exec: func(context.Context, []string) (string, int32, error) {
		s.probes.asked(pod)
		return "", 0, nil
	}}
}

// grow makes pods until there are n, and waits until all are ready.
func (s *scale) grow(t *testing.T, n int) {
	t.Helper()
	began := time.Now()
	var ready []<-chan time.Time
	for i := len(s.pods); i < n; i++ {
		p := bedtest.NewPod(fmt.Sprintf("scale-%04d", i), 0, bedtest.Obeys)
		p.Spec.NodeName = s.NodeName
		if i%probedShare == 0 {
			p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{
				PeriodSeconds: scaledPeriod, TimeoutSeconds: serverSlow,
				ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}},
			}
		}
		s.pods = append(s.pods, p.Name)
		ready = append(ready, s.board.expect(p.Name, bedtest.Ready))
		must(t, "creating pods", create(t.Context(), s.Bed, p))
	}
	at, err := lastWithin(t.Context(), climbPatience, ready...)
	must(t, fmt.Sprintf("waiting until %d pods are ready", n), err)
	t.Logf("%d pods are ready after %s", n, at.Sub(began).Round(time.Second))
}

// restartAfterExits stops the agent, ends containers here and there, and starts the
// agent again. It knows of its pods when the API shows these ends and when every
// probe has been asked: both are seen from outside.
func (s *scale) restartAfterExits(t *testing.T) {
	t.Helper()
	must(t, "stopping the agent", s.Component("agent").Stop(t.Context()))
	var seen []<-chan time.Time
	var probed []string
	for _, name := range s.untouched(t) {
		e := &ending{pod: name, container: "a", always: true}
		seen = append(seen, s.board.expect(name, e.ended))
		must(t, "ending a container while the agent is away", s.kill(e))
	}
	for i := 0; i < len(s.pods); i += probedShare {
		probed = append(probed, s.pods[i])
	}
	asked := s.probes.expect(probed)
	began := time.Now()
	must(t, "starting the agent again", s.Component("agent").Launch(t.Context()))
	at, err := lastWithin(t.Context(), climbPatience, seen...)
	must(t, "waiting until the API shows what ended meanwhile", err)
	s.add(scaleMissed, millisOf(at.Sub(began)))
	at, err = lastWithin(t.Context(), climbPatience, asked)
	must(t, "waiting for the probes after a start", err)
	s.add(scaleAsked, millisOf(at.Sub(began)))
}

// untouched are some pods, spread over all that the last step has made: a container
// that ends for the second time would be made to wait.
func (s *scale) untouched(t *testing.T) []string {
	t.Helper()
	const some = 10
	left := s.pods[s.taken:]
	s.taken = len(s.pods)
	if len(left) == 0 {
		t.Fatal("no pods were added")
	}
	var all []string
	for i := range min(some, len(left)) {
		all = append(all, left[i*(len(left)-1)/max(1, min(some, len(left))-1)])
	}
	return slices.Compact(all)
}

// kill ends the container as the API has it.
func (s *scale) kill(e *ending) error {
	p := s.board.pod(e.pod)
	if p == nil {
		return fmt.Errorf("end a container: there is no pod %s", e.pod)
	}
	_, id, _ := strings.Cut(e.status(p).ContainerID, "://")
	if !s.runtime.Kill(id, exitCode) {
		return fmt.Errorf("end container %s: the runtime has none that runs with the ID %q", e.name(), id)
	}
	return nil
}

// pod is a pod as it was seen last.
func (b *board) pod(name string) *corev1.Pod {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pods[name]
}

// idle measures what the agent takes when nothing happens.
func (s *scale) idle(t *testing.T, n int) {
	t.Helper()
	pid, err := s.Component("agent").PID(t.Context())
	must(t, "finding the agent", err)
	calls, began := s.runtime.Calls(), time.Now()
	before, err := processorTime(pid)
	must(t, "measuring the agent", err)
	pause(t.Context(), paces().window)
	after, err := processorTime(pid)
	must(t, "measuring the agent", err)
	ended := time.Now()
	took := ended.Sub(began).Seconds()
	s.windows[n] = window{began, ended}
	const milli = 1000
	s.add(scaleIdle, milli*(after-before).Seconds()/took)
	rates, sum := map[string]float64{}, 0.0
	for method, count := range s.runtime.Calls() {
		if d := count - calls[method]; d > 0 {
			rates[method] = float64(d) / took
			sum += rates[method]
		}
	}
	s.climb[n].Calls = rates
	s.add(scaleCalls, sum)
	for figure, line := range map[string]string{scaleRSS: "VmRSS", scaleAnon: "RssAnon"} {
		kib, err := memory(pid, line)
		must(t, "measuring the agent", err)
		s.add(figure, float64(kib)/(1<<10))
	}
	running, err := goroutines(t.Context(), s.Bed)
	must(t, "measuring the agent", err)
	s.add(scaleGoroutines, float64(running))
}

// requests counts what the agent asked of the API server while it was idle.
func (s *scale) requests(t *testing.T) {
	t.Helper()
	all := entries(t, s.site)
	for n, w := range s.windows {
		took := w.to.Sub(w.from).Seconds()
		rates, sum := map[string]float64{}, 0.0
		for _, a := range all {
			if at := a.RequestReceivedTimestamp; at.Before(w.from) || at.After(w.to) {
				continue
			}
			what := a.Verb + " " + a.ObjectRef.Resource
			if a.ObjectRef.Subresource != "" {
				what += "/" + a.ObjectRef.Subresource
			}
			rates[what] += 1 / took
			sum += 1 / took
		}
		s.climb[n].Requests = rates
		s.climb[n].Figures[scaleRequests] = []float64{sum}
		t.Logf("requests with %d pods: %s", n, perSecond(rates))
	}
}

// perSecond shows the most frequent first.
func perSecond(rates map[string]float64) string {
	var all []string
	for _, what := range slices.SortedFunc(maps.Keys(rates), func(a, b string) int { return cmp.Compare(rates[b], rates[a]) }) {
		all = append(all, fmt.Sprintf("%s %.3g/s", what, rates[what]))
	}
	return strings.Join(all, ", ")
}

// lastWithin waits for all and returns the latest, or fails when that takes longer.
func lastWithin(ctx context.Context, limit time.Duration, all ...<-chan time.Time) (time.Time, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errors.New("nothing came for "+limit.String()))
	defer cancel()
	var latest time.Time
	for i, one := range all {
		select {
		case at := <-one:
			if at.After(latest) {
				latest = at
			}
		case <-ctx.Done():
			return latest, fmt.Errorf("wait for number %d of %d: %w", i+1, len(all), context.Cause(ctx))
		}
	}
	return latest, nil
}
