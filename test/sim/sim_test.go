package sim

import (
	"context"
	"flag"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/test/fakecri"
)

var (
	histories = flag.Uint64("histories", 400, "random histories to run")
	firstSeed = flag.Uint64("seed", 0, "seed of the first history")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func makePod(uid string, policy corev1.RestartPolicy, containers ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: uid, Namespace: "default", UID: types.UID(uid)}}
	p.Spec.RestartPolicy = policy
	links := true
	p.Spec.EnableServiceLinks = &links
	for _, c := range containers {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: c, Image: "img"})
	}
	return p
}

// enrich gives a pod everything a lifecycle can have: an init container, a
// sidecar that has to start first, hooks and probes.
func enrich(p *corev1.Pod) *corev1.Pod {
	command := func(c string) *corev1.ExecAction { return &corev1.ExecAction{Command: []string{c}} }
	check := func(seconds int32) *corev1.Probe {
		return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: command(probeCommand)}, PeriodSeconds: seconds, FailureThreshold: 2}
	}
	p.Spec.InitContainers = []corev1.Container{
		{Name: "init1", Image: "img"},
		{Name: "sidecar", Image: "img", RestartPolicy: new(corev1.ContainerRestartPolicyAlways), StartupProbe: check(1),
			Lifecycle: &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: command(preStop)}}},
		{Name: "init2", Image: "img"},
	}
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		c.LivenessProbe, c.ReadinessProbe = check(15), check(20)
		c.Lifecycle = &corev1.Lifecycle{
			PostStart: &corev1.LifecycleHandler{Exec: command(postStart)}, PreStop: &corev1.LifecycleHandler{Exec: command(preStop)},
		}
	}
	return p
}

// behave scripts the story of TestCrashAtEveryEffect.
func behave(podName, container string, attempt int) fakecri.Behaviour {
	switch {
	case podName == "job":
		return fakecri.Behaviour{RunFor: 3 * time.Second}
	case container == "init2" && attempt == 0:
		return fakecri.Behaviour{RunFor: time.Second, ExitCode: 1}
	case strings.HasPrefix(container, "init"):
		return fakecri.Behaviour{RunFor: time.Second}
	case container == "ill" && attempt == 0:
		return fakecri.Behaviour{TermAfter: time.Second, Exec: fails(probeCommand)}
	case container == "ill" && attempt == 1:
		return fakecri.Behaviour{Exec: fails(postStart)}
	case container == "crashes" && attempt < 2:
		return fakecri.Behaviour{RunFor: 2 * time.Second, ExitCode: 1}
	case container == "stubborn":
		return fakecri.Behaviour{IgnoreTerm: true}
	}
	return fakecri.Behaviour{TermAfter: 100 * time.Millisecond}
}

// fails is a container in which one command fails.
func fails(which string) func(context.Context, []string) (string, int32, error) {
	return func(_ context.Context, command []string) (string, int32, error) {
		if command[0] == which {
			return "no", 1, nil
		}
		return "", 0, nil
	}
}

// story is what happens in TestCrashAtEveryEffect: pods come, crash, complete
// and go. It takes minutes of fake time.
func story(s *Sim) {
	s.API.Create(makePod("web", corev1.RestartPolicyAlways, "main", "crashes"))
	s.API.Create(makePod("job", corev1.RestartPolicyNever, "work"))
	s.API.Create(makePod("gone", corev1.RestartPolicyAlways, "main", "stubborn"))
	s.API.Create(enrich(makePod("full", corev1.RestartPolicyAlways, "main", "ill")))
	time.Sleep(5 * time.Second)
	s.API.Delete("gone", 10*time.Second)
	time.Sleep(time.Second)
	s.Runtime.MarkStopped("gone")
	time.Sleep(60 * time.Second)
	s.Runtime.MarkStopped("web")
	s.API.Delete("web", 5*time.Second)
	time.Sleep(60 * time.Second)
	if full := s.API.Pod("full"); !ready(full) {
		s.API.accuse(fmt.Sprintf("full is not ready: %+v", full.Status))
	}
	s.API.Delete("full", 20*time.Second)
	time.Sleep(30 * time.Second)
}

// TestCrashAtEveryEffect kills the agent before and after each single effect it
// asks for, starts it again on the same runtime, disk and API, and requires the
// same end and no step that must never be.
func TestCrashAtEveryEffect(t *testing.T) {
	total := 0
	synctest.Test(t, func(t *testing.T) {
		total = runStory(t, 0, false)
	})
	if total < 40 {
		t.Fatalf("the undisturbed story has only %d effects", total)
	}
	for k := 1; k <= total; k++ {
		for _, after := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) { runStory(t, k, after) })
			if t.Failed() {
				t.Fatalf("killed at effect %d of %d (after it: %v)", k, total, after)
			}
		}
	}
	t.Logf("%d histories: killed before and after each of %d effects", 2*total+1, total)
}

// runStory runs the story with one crash and returns the number of effects.
func runStory(t *testing.T, crash int, after bool) int {
	s := New(fakecri.Config{Behave: behave})
	defer s.Close()
	mustStart(t, s, crash, after)
	told := make(chan struct{})
	go func() { story(s); close(told) }()
	if crash > 0 {
		select {
		case <-s.Crashed():
			mustStart(t, s, 0, false)
		case <-told:
			return 0 // another order of effects: this one did not come
		}
	}
	<-told
	synctest.Wait()
	verify(t, s, "job")
	if job := s.API.Pod("job"); job == nil || job.Status.Phase != corev1.PodSucceeded || job.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("the job did not succeed once: %+v", job)
	}
	return s.Effects()
}

func ready(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func mustStart(t *testing.T, s *Sim, crash int, after bool) {
	t.Helper()
	if err := s.Start(crash, after); err != nil {
		t.Fatal(err)
	}
}

// verify checks what must hold at the end of every history: only the named pods
// are left, nothing leaked, nothing forbidden was ever done.
func verify(t *testing.T, s *Sim, left ...string) {
	t.Helper()
	var names []string
	for _, p := range s.API.Pods() {
		names = append(names, p.Name)
	}
	if strings.Join(names, " ") != strings.Join(left, " ") {
		t.Errorf("pods left: %v, want %v", names, left)
		for _, v := range s.Views() {
			t.Logf("%s: %s waits %+v", v.Ref, v.Stage, v.Waits)
			for _, e := range v.Timeline {
				t.Logf("   %s %s", e.At.Format(time.TimeOnly), e.Text)
			}
		}
	}
	for _, v := range s.Runtime.Violations() {
		t.Errorf("runtime: %s", v)
	}
	for _, w := range s.API.Wrong() {
		t.Errorf("API: %s", w)
	}
	for _, l := range s.Leaks() {
		t.Errorf("leak: %s", l)
	}
	if t.Failed() {
		for _, e := range s.Runtime.Journal() {
			t.Logf("%s %-16s %s/%s #%d %s %s", e.At.Format("15:04:05.000"), e.Verb, e.PodUID, e.Name, e.Attempt, e.ID, e.Note)
		}
	}
}

// TestRandomHistories lets a seeded fate play: faults in calls and events,
// crashes of containers, sandboxes, runtime and agent, deletions of all kinds.
// Afterwards the faults end, and everything must come to the right end.
func TestRandomHistories(t *testing.T) {
	for seed := *firstSeed; seed < *firstSeed+*histories; seed++ {
		// To repeat one: -seed N -histories 1.
		if !t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { history(t, seed) })
		}) {
			return
		}
	}
}

func history(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 7))
	faults := fakecri.RandomFaults(seed, 0.05)
	var calm atomic.Bool
	s := New(fakecri.Config{
		Behave: func(pod, container string, attempt int) fakecri.Behaviour {
			// The runtime's goroutines ask, in any order: each instance has a fate of its own.
			rng := rand.New(rand.NewPCG(seed, instance(pod, container, attempt)))
			h := fakecri.Behaviour{TermAfter: time.Duration(rng.IntN(3000)) * time.Millisecond, IgnoreTerm: rng.IntN(4) == 0}
			if rng.IntN(3) == 0 && !calm.Load() {
				h.RunFor, h.ExitCode = time.Duration(1+rng.IntN(20))*time.Second, int32(rng.IntN(2))
			}
			if strings.HasPrefix(container, "init") {
				h.RunFor = time.Duration(1+rng.IntN(5000)) * time.Millisecond
			}
			switch rng.IntN(8) {
			case 0:
				h.Exec = unless(&calm, fails(probeCommand))
			case 1:
				h.Exec = unless(&calm, fails(postStart))
			case 2:
				h.Exec = unless(&calm, fails(preStop))
			case 3:
				h.Exec = unless(&calm, func(ctx context.Context, _ []string) (string, int32, error) {
					select {
					case <-ctx.Done():
					case <-time.After(time.Minute): // a postStart hook has no end but its own
					}
					return "", 0, ctx.Err()
				})
			}
			return h
		},
		Fault: func(c fakecri.Call) fakecri.Fault {
			if calm.Load() {
				return fakecri.Fault{}
			}
			return faults(c)
		},
		EventFault: fakecri.RandomEventFaults(seed, 0.2),
		NoEvents:   seed%4 == 3, // as a runtime without an event stream
	})
	defer s.Close()
	mustStart(t, s, 0, false)
	uids := map[string]bool{}
	for step := range 12 {
		fate(t, s, rng, step, uids)
		time.Sleep(time.Duration(rng.IntN(15000)) * time.Millisecond)
	}
	calm.Store(true)
	time.Sleep(20 * time.Minute)
	synctest.Wait()
	settled(t, s)
	for uid := range uids {
		s.API.Delete(types.UID(uid), 5*time.Second)
	}
	synctest.Wait()
	for uid := range uids {
		s.Runtime.MarkStopped(uid)
	}
	time.Sleep(5 * time.Minute)
	synctest.Wait()
	verify(t, s)
}

// unless is the misbehaviour of a container until things calm down.
func unless(calm *atomic.Bool, wild func(context.Context, []string) (string, int32, error)) func(context.Context, []string) (string, int32, error) {
	return func(ctx context.Context, command []string) (string, int32, error) {
		if calm.Load() {
			return "", 0, nil
		}
		return wild(ctx, command)
	}
}

// instance is a number for one instance of a container.
func instance(pod, container string, attempt int) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%s/%d", pod, container, attempt)
	return h.Sum64()
}

// fate does one thing to the node.
func fate(t *testing.T, s *Sim, rng *rand.Rand, step int, uids map[string]bool) {
	some := func() string {
		if len(uids) == 0 {
			return ""
		}
		return slices.Sorted(maps.Keys(uids))[rng.IntN(len(uids))]
	}
	switch rng.IntN(9) {
	case 0, 1, 2:
		uid := fmt.Sprintf("p%d", step)
		policy := []corev1.RestartPolicy{"Always", "OnFailure", "Never"}[rng.IntN(3)]
		p := makePod(uid, policy, []string{"a", "b", "c"}[:1+rng.IntN(3)]...)
		if rng.IntN(2) == 0 {
			enrich(p)
		}
		s.API.Create(p)
		uids[uid] = true
	case 3:
		s.Kill()
		time.Sleep(time.Duration(rng.IntN(5000)) * time.Millisecond)
		mustStart(t, s, 0, false)
	case 4:
		if uid := some(); uid != "" {
			s.API.Delete(types.UID(uid), time.Duration(1+rng.IntN(30))*time.Second)
		}
	case 5:
		if uid := some(); uid != "" {
			s.API.Remove(types.UID(uid))
			delete(uids, uid)
		}
	case 6:
		s.Runtime.KillByName(some(), "a", int32(rng.IntN(2)))
	case 7:
		for _, sb := range s.Runtime.Snapshot().Sandboxes {
			if rng.IntN(2) == 0 {
				s.Runtime.KillSandbox(sb.ID)
			}
		}
	case 8:
		s.Runtime.Restart(fakecri.Restart{Down: time.Duration(rng.IntN(10000)) * time.Millisecond})
	}
}

// wanted is how many containers of a pod run when all is well.
func wanted(p *corev1.Pod) (n int) {
	for k := range pod.Containers(p) {
		if k == pod.KindRegular || k == pod.KindSidecar {
			n++
		}
	}
	return n
}

// settled checks that each pod that was not deleted is where it has to be.
func settled(t *testing.T, s *Sim) {
	t.Helper()
	snap := s.Runtime.Snapshot()
	for _, p := range s.API.Pods() {
		running := len(snap.Running(string(p.UID)))
		switch {
		case p.DeletionTimestamp != nil:
			t.Errorf("%s is deleted but still there", p.Name)
		case pod.Terminal(p.Status.Phase):
			if running > 0 {
				t.Errorf("%s is %s but %d containers run", p.Name, p.Status.Phase, running)
			}
		case p.Spec.RestartPolicy == corev1.RestartPolicyAlways && running != wanted(p):
			t.Errorf("%s: %d of %d containers run, status %+v", p.Name, running, wanted(p), p.Status)
		}
	}
}
