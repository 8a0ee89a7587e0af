//go:build e2e

package logs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// steady writes 150 KB of numbered lines, more than a log may have, then waits for
// longer than the kubelet takes between two looks, and again.
const steady = `i=0; while :; do awk -v n=$i 'BEGIN{for(j=0;j<1500;j++) printf "%06d %092d\n", n+j, 0}'; i=$((i+1500)); sleep 4; done`

// TestRotation: size, names, number and compression of what is kept.
func TestRotation(t *testing.T) {
	t.Parallel()
	b := shared.Bed(t)
	// A log is full after two seconds, which is more often than the kubelet looks.
	p := bedtest.Create(t, b, flooder(t, "rotation", "-rate 40000 -line 100 -for 16s"))
	dir := logDir(b, p, "a")
	bedtest.Await(t, b.Client(), "rotation", "ready", patience, bedtest.Ready)
	name := regexp.MustCompile(`^0\.log(\.\d{8}-\d{6}(\.gz|\.tmp)?)?$`)
	var all string
	eventually(t, "all is written; one file is plain, the older ones are compressed", func() error {
		plain, packed := 0, 0
		have := files(t, dir)
		for n, size := range have {
			switch {
			case !name.MatchString(n):
				t.Fatalf("a file is called %s", n)
			case strings.HasSuffix(n, ".gz"):
				packed++
			case n != "0.log" && !strings.HasSuffix(n, ".tmp"):
				plain++
				if size < maxSize {
					t.Errorf("%s was rotated with %d bytes", n, size)
				}
			}
		}
		all = kept(t, dir)
		if plain != 1 || packed != maxFiles-2 || len(have) != maxFiles || !strings.Contains(all, "\nend ") {
			return fmt.Errorf("the files are %v", have)
		}
		return nil
	})
	all, _, _ = strings.Cut(all, "end ")
	first, last := contiguous(t, all)
	if size := (last - first) * 100; size < (maxFiles-1)*maxSize/2 {
		t.Errorf("no more than %d bytes are kept", size)
	}
}

// TestShippersFindTheLog: the link in the directory of all containers' logs leads to
// the log that is written, also after a rotation.
func TestShippersFindTheLog(t *testing.T) {
	t.Parallel()
	b := shared.Bed(t)
	p := started(t, b, "shipped", steady)
	dir := logDir(b, p, "a")
	eventually(t, "the log is rotated", func() error {
		if n := len(files(t, dir)); n < 2 {
			return fmt.Errorf("there are %d files", n)
		}
		return nil
	})
	_, id, _ := strings.Cut(p.Status.ContainerStatuses[0].ContainerID, "://")
	link := "/var/log/containers/shipped_default_a-" + id + ".log"
	target, err := filepath.EvalSymlinks(link)
	must(t, "following the link", err)
	if want := filepath.Join(dir, "0.log"); target != want {
		t.Errorf("%s leads to %s, want %s", link, target, want)
	}
}

// TestPlainLogs: kubectl logs without options shows what was written since the last
// rotation.
func TestPlainLogs(t *testing.T) {
	t.Parallel()
	b := shared.Bed(t)
	p := started(t, b, "plain", steady)
	dir := logDir(b, p, "a")
	eventually(t, "the log is rotated and written to", func() error {
		have := files(t, dir)
		if len(have) < 2 || have["0.log"] == 0 {
			return fmt.Errorf("the files are %v", have)
		}
		return nil
	})
	if first, _ := contiguous(t, kubectl(t, b, "logs", "plain")); first == 0 {
		t.Error("the first line is shown although it was rotated away")
	}
}

// TestLogsOfRotatedFiles: a number of lines, and lines since a time, are shown as far
// as they are kept.
func TestLogsOfRotatedFiles(t *testing.T) {
	t.Parallel()
	b := shared.Bed(t)
	onlyHere(t, b, "it reads nothing but the log that is written")
	p := started(t, b, "history", `awk 'BEGIN{for(j=0;j<3000;j++){printf "%06d %092d\n", j, 0; fflush(); if (j%500==0) system("sleep 0.6")}}'; echo 003000 end; sleep 1000`)
	dir := logDir(b, p, "a")
	eventually(t, "all is written, and compressed", func() error {
		if !strings.HasSuffix(kubectl(t, b, "logs", "--tail=1", "history"), "end\n") {
			return errors.New("there is more to come")
		}
		if m, _ := filepath.Glob(filepath.Join(dir, "*.gz")); len(m) == 0 {
			return fmt.Errorf("the files are %v", files(t, dir))
		}
		return nil
	})
	if _, ok := files(t, dir)["0.log"]; !ok {
		t.Fatal("there is no log")
	}
	for _, n := range []int{1, 500, 1500, 2500, 2999} {
		first, last := contiguous(t, kubectl(t, b, "logs", fmt.Sprintf("--tail=%d", n), "history"))
		if last != 3000 || first != 3001-n {
			t.Errorf("with --tail=%d, lines %d to %d are shown", n, first, last)
		}
	}
	if first, last := contiguous(t, kubectl(t, b, "logs", "--since=1h", "history")); first != 0 || last != 3000 {
		t.Errorf("with --since=1h, lines %d to %d are shown", first, last)
	}
}

// TestPreviousLogs: what a container wrote last is shown after it was restarted,
// also when its log was rotated.
func TestPreviousLogs(t *testing.T) {
	t.Parallel()
	b := shared.Bed(t)
	pod := bedtest.NewPod("previous", 1, `test -e /d/x && { echo second; sleep 1000; }; touch /d/x; `+
		`awk 'BEGIN{for(j=0;j<1500;j++) printf "%06d %092d\n", j, 0}'; sleep 5; echo 001500 last words; exit 1`)
	pod.Spec.Volumes = []corev1.Volume{{Name: "d", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "d", MountPath: "/d"}}
	bedtest.Create(t, b, pod)
	bedtest.Await(t, b.Client(), "previous", "restarted", patience, func(p *corev1.Pod) bool {
		return len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].RestartCount == 1 && p.Status.ContainerStatuses[0].State.Running != nil
	})
	got := kubectl(t, b, "logs", "-p", "previous")
	// What came behind the last rotation is shown: how much that is, is up to the runtime.
	if first, last := contiguous(t, got); first == 0 || last != 1500 || !strings.HasSuffix(got, "001500 last words\n") {
		t.Errorf("lines %d to %d are shown of the previous log, ending with %q", first, last, got[max(0, len(got)-100):])
	}
}

// lineSize is the least that a line of the next test takes in the log.
const lineSize = int64(len("2026-01-02T03:04:05Z stdout F 1 line\n"))

// TestLogRenamedByAnAgentThatDied: a log that has another name, with a runtime that
// was not told, is found by the agent that comes next.
func TestLogRenamedByAnAgentThatDied(t *testing.T) {
	b := shared.Bed(t)
	p := started(t, b, "renamed", `i=0; while :; do i=$((i+1)); echo $i line; sleep 0.05; done`)
	log := filepath.Join(logDir(b, p, "a"), "0.log")
	agent := b.Component("agent")
	must(t, "killing the agent", agent.Kill(t.Context()))
	must(t, "renaming the log", os.Rename(log, log+"."+time.Now().Format("20060102-150405")))
	must(t, "starting the agent", agent.Start(t.Context()))
	must(t, "waiting for the node", b.WaitNodeReady(t.Context()))
	const lines = 20
	eventually(t, "the runtime writes to the log", func() error {
		if info, err := os.Stat(log); err != nil || info.Size() < 2*lines*lineSize {
			return errors.Join(errors.New("too little is written"), err)
		}
		return nil
	})
	if first, last := contiguous(t, kept(t, filepath.Dir(log))); first != 1 || last < lines {
		t.Errorf("lines %d to %d are kept", first, last)
	}
}
