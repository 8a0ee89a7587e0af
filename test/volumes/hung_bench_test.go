//go:build volumeload

package volumes

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// hungTolerance is how much longer pods may take beside one whose volume hangs.
const hungTolerance = 1.20

// BenchmarkHungMount: pods start, report and end as soon beside pods whose volume
// hangs as on an idle node. Both are measured in turn, and each goes first as often
// as the other: what the machine does else must not fall on one of them.
func BenchmarkHungMount(bench *testing.B) {
	b := bed.Start(bench, bed.Options{})
	h := newSite(bench, b, "hung").hung()
	var idle, beside times
	h.measure("warm", 3, &times{})
	since := h.readySince()
	const perRound = 10
	for round := range max(*samples/perRound, 1) {
		alone := func() { h.measure(fmt.Sprint("idle-", round), perRound, &idle) }
		crowded := func() {
			h.fs.Hang()
			var waiting []*corev1.Pod
			for i, kind := range []corev1.HostPathType{corev1.HostPathDirectory, corev1.HostPathUnset, corev1.HostPathDirectory} {
				waiting = append(waiting, h.create(h.pod(fmt.Sprintf("waits-%d-%d", round, i), kind)))
			}
			h.stuck()
			if b.Agent() != bed.Kubelet { // it makes no sandbox before the volumes are there
				for _, p := range waiting {
					_, err := h.board.Await(bench.Context(), p.Name, "in a sandbox, so that all that can be done for it is done", bedtest.Settled(inSandbox))
					must(bench, "starting a pod whose volume hangs", err)
				}
			}
			h.measure(fmt.Sprint("beside-", round), perRound, &beside)
			if h.fs.Waiting() == 0 {
				bench.Error("nobody waits any more: nothing was tried")
			}
			for _, p := range waiting {
				h.delete(p, -1)
			}
			h.fs.Answer()
			for _, p := range waiting {
				_, err := h.board.Await(bench.Context(), p.Name, "gone", bedtest.Gone)
				must(bench, "ending what hung", err)
			}
		}
		if round%2 == 1 {
			crowded()
			alone()
		} else {
			alone()
			crowded()
		}
	}
	if now := h.readySince(); !now.Equal(since) {
		h.weak("the node was not ready meanwhile: since %s, before since %s", now, since)
	}
	lines := []string{fmt.Sprintf("%s, beside three pods whose volume hangs; load %s", b.Agent(), load())}
	for _, x := range []struct {
		what         string
		idle, beside []time.Duration
	}{{"start", idle.start, beside.start}, {"report", idle.report, beside.report}, {"stop", idle.stop, beside.stop}} {
		ratio := rank(x.beside, 99).Seconds() / rank(x.idle, 99).Seconds()
		lines = append(lines, row(x.what+", idle", x.idle), row(x.what+", beside", x.beside), fmt.Sprintf("  p99 beside / idle: %.2f", ratio))
		bench.ReportMetric(ratio, x.what+"-p99-ratio")
		if ratio > hungTolerance && !*printOnly {
			h.weak("%s: p99 is %.2f times that of an idle node, want %.2f at most", x.what, ratio, hungTolerance)
		}
	}
	bench.ReportMetric(0, "ns/op")
	bench.Log(strings.Join(lines, "\n"))
}

func inSandbox(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReadyToStartContainers && c.Status == corev1.ConditionTrue
	})
}

func finished(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// times are how long starts, stops and reports of pods took.
type times struct{ start, stop, report []time.Duration }

// measure leads n pods through their lives, one after the other: from its creation
// to Ready, from the end of its process to the API showing it, and from its deletion
// to its being gone.
func (s *site) measure(round string, n int, all *times) {
	s.t.Helper()
	for i := range n {
		name := fmt.Sprintf("%s-%d", round, i)
		tell, err := s.fifo(name + ".go")
		must(s.t, "making a FIFO", err)
		// The shell is bash, whose EPOCHREALTIME has microseconds.
		p := once(s.pod(name, fmt.Sprintf("read -r go < /x/%[1]s.go; echo $EPOCHREALTIME > /x/%[1]s.at; exit 0", name)))
		began := time.Now()
		s.create(p)
		ready, err := s.board.Await(s.t.Context(), p.Name, "ready", bedtest.Settled(bedtest.Ready))
		must(s.t, "starting a pod", err)
		all.start = append(all.start, ready.At.Sub(began))
		_, err = tell.WriteString("\n")
		must(s.t, "ending a container", err)
		ended, err := s.board.Await(s.t.Context(), p.Name, "at its end", bedtest.Settled(finished))
		must(s.t, "waiting for the end of a pod", err)
		// Not earlier: what nobody has read goes with the last who has it open.
		must(s.t, "closing a FIFO", tell.Close())
		all.report = append(all.report, ended.At.Sub(s.moment(name+".at")))
		began = time.Now()
		s.delete(p, -1)
		gone, err := s.board.Await(s.t.Context(), p.Name, "gone", bedtest.Gone)
		must(s.t, "deleting a pod", err)
		all.stop = append(all.stop, gone.At.Sub(began))
	}
}

// fifo makes a FIFO in the folder of the test. It has a reader from the start, so
// that nobody waits to write.
func (s *site) fifo(name string) (*os.File, error) {
	path := filepath.Join(s.dir, name)
	if err := unix.Mkfifo(path, 0o666); err != nil {
		return nil, fmt.Errorf("make FIFO %s: %w", path, err)
	}
	return os.OpenFile(path, os.O_RDWR, 0)
}

// moment reads a time that a shell has written.
func (s *site) moment(file string) time.Time {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, file))
	must(s.t, "reading a time", err)
	micros, err := strconv.ParseInt(strings.Replace(strings.TrimSpace(string(text)), ".", "", 1), 10, 64)
	must(s.t, "reading a time", err)
	return time.UnixMicro(micros)
}
