//go:build e2e

package nodeapi

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/test/bed"
)

// say makes the first process of a container write a line to its log.
func say(t *testing.T, b *bed.Bed, pod, line string) {
	t.Helper()
	ok(t, b, "exec", pod, "-c", "a", "--", "sh", "-c", "echo "+line+" >/proc/1/fd/1")
}

// TestLogsFollow: -f shows what is there, then each line promptly after it is
// written, and ends with the container.
func TestLogsFollow(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	started(t, b, once(newPod("follow", "echo begin; "+whenTold+"echo end; exit 2")))
	all := start(t, b, nil, "logs", "-f", "follow")
	fresh := start(t, b, nil, "logs", "-f", "--tail=0", "follow")
	limited := start(t, b, nil, "logs", "-f", "--limit-bytes=8", "follow")
	all.expect(t, 0, `^begin\n$`, patience)
	limited.expect(t, 0, `^begin\n$`, patience)
	for i := range 3 {
		line := fmt.Sprintf("line%d", i)
		from := all.mark()
		say(t, b, "follow", line)
		all.expect(t, from, line+`\n$`, promptly)
	}
	// One that begins at the end may have begun after the first lines.
	fresh.expect(t, 0, `line2\n$`, promptly)
	if code := limited.wait(t, promptly); code != 0 || limited.text() != "begin\nli" {
		t.Errorf("with a limit: exit code %d, %q", code, limited.text())
	}
	ok(t, b, "exec", "follow", "--", "touch", "/tmp/go")
	for name, p := range map[string]*process{"all": all, "fresh": fresh} {
		if code := p.wait(t, patience); code != 0 || !strings.HasSuffix(p.text(), "line2\nend\n") || p.errs.text() != "" {
			t.Errorf("%s: exit code %d, %q, %q", name, code, p.text(), p.errs.text())
		}
	}
	same(t, "logs -f", all.text(), "begin\nline0\nline1\nline2\nend\n")
	if strings.Contains(fresh.text(), "begin") {
		t.Errorf("logs -f --tail=0 shows what was there: %q", fresh.text())
	}
	await(t, b, "follow", "ended", finished)
	same(t, "logs of an ended pod", ok(t, b, "logs", "follow"), all.text())
	same(t, "logs -f of an ended pod", ok(t, b, "logs", "-f", "follow"), all.text())
}

// TestLogsFollowRotated: a follower sees every line once and in order while the
// log is rotated as agents do it.
func TestLogsFollowRotated(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	const fast = "i=0; while [ ! -e /tmp/go ]; do i=$((i+1)); echo $i; [ $((i%200)) = 0 ] && sleep 0.1; done; echo end; "
	p := started(t, b, once(newPod("rotated", "echo begin; "+whenTold+"echo end")))
	q := started(t, b, once(newPod("rotated-fast", fast)))
	slow := start(t, b, nil, "logs", "-f", "rotated")
	quick := start(t, b, nil, "logs", "-f", "rotated-fast")
	slow.expect(t, 0, `^begin\n$`, patience)
	quick.expect(t, 0, `\n`, patience)
	for i := range 3 {
		rotate(t, b, p, i)
		rotate(t, b, q, i)
		from, last := slow.mark(), quick.mark()
		say(t, b, "rotated", fmt.Sprintf("after%d", i))
		slow.expect(t, from, fmt.Sprintf(`^after%d\n$`, i), promptly)
		quick.expect(t, last, `\n\d+\n`, promptly)
	}
	ok(t, b, "exec", "rotated", "--", "touch", "/tmp/go")
	ok(t, b, "exec", "rotated-fast", "--", "touch", "/tmp/go")
	if code := slow.wait(t, patience); code != 0 {
		t.Errorf("exit code %d: %s", code, slow.errs.text())
	}
	same(t, "logs -f", slow.text(), "begin\nafter0\nafter1\nafter2\nend\n")
	if code := quick.wait(t, patience); code != 0 {
		t.Errorf("exit code %d: %s", code, quick.errs.text())
	}
	lines := strings.Split(strings.TrimSuffix(quick.text(), "\n"), "\n")
	for i, line := range lines[:len(lines)-1] {
		if line != strconv.Itoa(i+1) {
			t.Fatalf("line %d of %d is %q", i+1, len(lines), line)
		}
	}
	if last := lines[len(lines)-1]; last != "end" {
		t.Errorf("the last line is %q, want end", last)
	}
	// Without -f there is what was written since the last rotation.
	await(t, b, "rotated", "ended", finished)
	same(t, "logs", ok(t, b, "logs", "rotated"), "after2\nend\n")
}

// rotate does to the log of container a what an agent does to one that is too
// long: gives it another name and has the runtime open a new one.
func rotate(t *testing.T, b *bed.Bed, p *corev1.Pod, n int) {
	t.Helper()
	log := filepath.Join(b.PodLogsDir, p.Namespace+"_"+p.Name+"_"+string(p.UID), "a", "0.log")
	must(t, "renaming the log", os.Rename(log, fmt.Sprintf("%s.20260101-00000%d", log, n)))
	conn, err := b.Runtime()
	must(t, "connecting to the runtime", err)
	defer conn.Close()
	_, id, _ := strings.Cut(status(p, "a").ContainerID, "://")
	_, err = runtimeapi.NewRuntimeServiceClient(conn).ReopenContainerLog(t.Context(), &runtimeapi.ReopenContainerLogRequest{ContainerId: id})
	must(t, "having the runtime open a new log", err)
	if _, err := os.Stat(log); err != nil {
		t.Fatalf("there is no new log: %v", err)
	}
}

// TestLogsFollowDeleted: a follower ends when its pod is deleted, and has seen
// the last words.
func TestLogsFollowDeleted(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	p := newPod("follow-deleted", "trap 'echo bye; exit' TERM; echo begin; while :; do sleep 1 & wait $!; done")
	grace := int64(20)
	p.Spec.TerminationGracePeriodSeconds = &grace
	started(t, b, p)
	f := start(t, b, nil, "logs", "-f", "follow-deleted")
	f.expect(t, 0, `^begin\n$`, patience)
	began := time.Now()
	ok(t, b, "delete", "pod", "follow-deleted")
	code := f.wait(t, patience)
	t.Logf("ended %s after the deletion began", time.Since(began).Round(time.Millisecond))
	if code != 0 || f.text() != "begin\nbye\n" {
		t.Errorf("exit code %d, %q, %q", code, f.text(), f.errs.text())
	}
}
