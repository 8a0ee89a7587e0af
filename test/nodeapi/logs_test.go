//go:build e2e

package nodeapi

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// rfc3339Nano is a time as kubectl logs --timestamps shows it.
const rfc3339Nano = `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(?:Z|[+-]\d\d:\d\d)`

// TestLogs: what the options of kubectl logs choose.
func TestLogs(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	// The lines of a go to both streams; two is at least two seconds after one.
	create(t, b, once(newPod("logs", "echo one; sleep 2.2; echo two >&2; sleep 0.3; echo three; "+obeys, "echo from b; echo bad >&2; exit 3")))
	await(t, b, "logs", "half ended", func(p *corev1.Pod) bool {
		return status(p, "a").State.Running != nil && status(p, "b").State.Terminated != nil
	})
	f := start(t, b, nil, "logs", "-f", "logs", "-c", "a")
	f.expect(t, 0, "three\n", patience)
	const all = "one\ntwo\nthree\n"
	lines := strings.Split(strings.TrimSpace(ok(t, b, "logs", "logs", "-c", "a", "--timestamps")), "\n")
	var times []time.Time
	for i, line := range lines {
		m := regexp.MustCompile("^(" + rfc3339Nano + ") (one|two|three)$").FindStringSubmatch(line)
		if len(lines) != 3 || m == nil || m[2] != strings.Fields(all)[i] {
			t.Fatalf("with --timestamps: %q", lines)
		}
		at, err := time.Parse(time.RFC3339Nano, m[1])
		must(t, "reading a time", err)
		times = append(times, at)
	}
	if !times[0].Before(times[1]) || !times[1].Before(times[2]) {
		t.Errorf("the times are not in order: %s", times)
	}
	<-time.After(time.Until(times[2].Add(2 * time.Second))) // for --since=1s
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"plain":               {[]string{"-c", "a"}, all},
		"the other container": {[]string{"-c", "b"}, "from b\nbad\n"},
		"tail 2":              {[]string{"-c", "a", "--tail=2"}, "two\nthree\n"},
		"tail 0":              {[]string{"-c", "a", "--tail=0"}, ""},
		"tail too many":       {[]string{"-c", "a", "--tail=100"}, all},
		"limit":               {[]string{"-c", "a", "--limit-bytes=6"}, "one\ntw"},
		"limit and tail":      {[]string{"-c", "a", "--limit-bytes=2", "--tail=1"}, "th"},
		"since long ago":      {[]string{"-c", "a", "--since=1h"}, all},
		"since just now":      {[]string{"-c", "a", "--since=1s"}, ""},
		"since a time":        {[]string{"-c", "a", "--since-time=" + times[1].Format(time.RFC3339)}, "two\nthree\n"},
		"since the future":    {[]string{"-c", "a", "--since-time=" + times[2].Add(time.Hour).Format(time.RFC3339)}, ""},
		"since and tail":      {[]string{"-c", "a", "--tail=1", "--since=1h"}, "three\n"},
	} {
		t.Run(name, func(t *testing.T) {
			r := kubectl(t, b, append([]string{"logs", "logs"}, c.args...)...)
			if name == "the other container" { // which stream was read first is open
				r.out = strings.Replace(r.out, "bad\nfrom b\n", "from b\nbad\n", 1)
			}
			if r.out != c.want || r.errs != "" || r.code != 0 {
				t.Errorf("%+v, want %q", r, c.want)
			}
		})
	}
	t.Run("default container", func(t *testing.T) {
		if r := kubectl(t, b, "logs", "logs"); r.out != all || r.code != 0 || r.errs != "Defaulted container \"a\" out of: a, b\n" {
			t.Errorf("%+v", r)
		}
	})
	t.Run("all containers", func(t *testing.T) {
		got := strings.SplitAfter(ok(t, b, "logs", "logs", "--all-containers", "--prefix", "--tail=1"), "\n")
		slices.Sort(got) // their order is open
		matches(t, "logs", strings.Join(got, ""), `^\[pod/logs/a\] three\n\[pod/logs/b\] (bad|from b)\n$`)
	})
}

// TestLogsErrors: what kubectl says where there is no log.
func TestLogsErrors(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	p := newPod("no-logs", obeys, obeys)
	p.Spec.Containers[1].Image = "registry.bed.local/does/not:exist"
	create(t, b, p)
	await(t, b, "no-logs", "waiting for an image", func(p *corev1.Pod) bool {
		w := status(p, "b").State.Waiting
		return w != nil && strings.Contains(w.Reason, "Image") && status(p, "a").State.Running != nil
	})
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no image": {[]string{"no-logs", "-c", "b"}, `^Error from server \(BadRequest\): container "b" in pod "no-logs" is waiting to start: ` +
			`(image can't be pulled|trying and failing to pull image)\n$`},
		"no previous": {[]string{"no-logs", "-p", "-c", "a"}, `^Error from server \(BadRequest\): previous terminated container "a" in pod "no-logs" not found\n$`},
		"no previous, no image": {[]string{"no-logs", "-p", "-c", "b"},
			`^Error from server \(BadRequest\): previous terminated container "b" in pod "no-logs" not found\n$`},
		"no container": {[]string{"no-logs", "-c", "c"}, `^error: container c is not valid for pod no-logs out of: a, b\n$`},
		"no pod":       {[]string{"nobody"}, `pods "nobody" not found`},
	} {
		t.Run(name, func(t *testing.T) {
			r := kubectl(t, b, append([]string{"logs"}, c.args...)...)
			matches(t, "stderr", r.errs, c.want)
			if r.out != "" || r.code != 1 {
				t.Errorf("stdout %q, exit code %d; want nothing and 1", r.out, r.code)
			}
		})
	}
}

// TestLogsPrevious: after a restart the log is the new container's, with -p the
// old one's. That ends when its log has been read: of a container that ends before
// containerd, on a busy machine, has opened the pipe of its output, all is lost.
func TestLogsPrevious(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	p := newPod("previous", "test -e /d/x && { echo second; "+obeys+"; }; touch /d/x; echo first; echo and last; until test -e /d/go; do sleep 0.1; done; exit 1")
	p.Spec.Volumes = []corev1.Volume{{Name: "d", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "d", MountPath: "/d"}}
	create(t, b, p)
	await(t, b, "previous", "running", func(p *corev1.Pod) bool { return status(p, "a").State.Running != nil })
	before := start(t, b, nil, "logs", "-f", "previous")
	before.expect(t, 0, "^first\nand last\n$", patience)
	ok(t, b, "exec", "previous", "--", "touch", "/d/go")
	await(t, b, "previous", "restarted", func(p *corev1.Pod) bool {
		return status(p, "a").RestartCount == 1 && status(p, "a").State.Running != nil
	})
	after := start(t, b, nil, "logs", "-f", "previous")
	after.expect(t, 0, "^second\n$", patience)
	same(t, "logs", ok(t, b, "logs", "previous"), "second\n")
	same(t, "logs -p", ok(t, b, "logs", "-p", "previous"), "first\nand last\n")
	same(t, "logs -p --tail=1", ok(t, b, "logs", "-p", "--tail=1", "previous"), "and last\n")
	same(t, "logs -p -f", ok(t, b, "logs", "-p", "-f", "previous"), "first\nand last\n")
}

// TestLogsContent: what a container wrote is what its log shows, byte by byte:
// lines longer than the runtime's 16 KiB, bytes that are no text, no last
// newline. The pods have ended when they are asked.
func TestLogsContent(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	const long = "head -c 100000 /dev/zero | tr '\\0' x"
	// The sum goes to a file: the log is the random bytes and a newline. There are
	// no carriage returns, which containerd takes away before a newline.
	const random = "head -c 300000 /dev/urandom | tr -d '\\r' >/tmp/r; echo >>/tmp/r; cat /tmp/r; sha256sum </tmp/r >/out/sum"
	out := filepath.Join(b.Dir, "tmp", "logs-content")
	must(t, "making a folder", os.MkdirAll(out, 0o755))
	p := once(newPod("content", long+"; echo; echo end", random, "printf 'a\\n\\n  b \\n'; printf 'no newline'"))
	p.Spec.Volumes = []corev1.Volume{{Name: "out", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: out}}}}
	p.Spec.Containers[1].VolumeMounts = []corev1.VolumeMount{{Name: "out", MountPath: "/out"}}
	create(t, b, p)
	await(t, b, "content", "ended", finished)

	want := strings.Repeat("x", 100000) + "\nend\n"
	same(t, "a long line", ok(t, b, "logs", "content", "-c", "a"), want)
	same(t, "a long line, limited", ok(t, b, "logs", "content", "-c", "a", "--limit-bytes=50000"), want[:50000])
	same(t, "a long line, followed", ok(t, b, "logs", "content", "-c", "a", "-f"), want)
	stamped := ok(t, b, "logs", "content", "-c", "a", "--timestamps")
	matches(t, "a long line with timestamps", stamped, `^`+rfc3339Nano+` x{500}`)
	if n := len(regexp.MustCompile(rfc3339Nano).FindAllString(stamped, -1)); n != 2 {
		t.Errorf("a long line and a short one have %d timestamps, want 2", n)
	}
	same(t, "odd lines", ok(t, b, "logs", "content", "-c", "c"), "a\n\n  b \nno newline")

	sum, err := os.ReadFile(filepath.Join(out, "sum"))
	must(t, "reading the sum", err)
	got := ok(t, b, "logs", "content", "-c", "b")
	same(t, "sum of binary output", sumOf(got), strings.Fields(string(sum))[0])
}

func sumOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// TestLogsLarge: a log of 50 MB is complete, also through one that follows while
// it is written. It measures nothing, but moves much and runs alone.
func TestLogsLarge(t *testing.T) {
	b := cluster(t)
	const lines = 50000
	create(t, b, once(newPod("large", fmt.Sprintf(`awk 'BEGIN{for(i=0;i<%d;i++) printf "%%0999d\n", i}'`, lines))))
	await(t, b, "large", "started", func(p *corev1.Pod) bool {
		return status(p, "a").State.Waiting == nil && len(p.Status.ContainerStatuses) > 0
	})
	var want strings.Builder
	for i := range lines {
		fmt.Fprintf(&want, "%0999d\n", i)
	}
	began := time.Now()
	same(t, "logs -f", ok(t, b, "logs", "-f", "large"), want.String())
	t.Logf("followed to the end after %s", time.Since(began).Round(10*time.Millisecond))
	await(t, b, "large", "ended", finished)
	began = time.Now()
	same(t, "logs", ok(t, b, "logs", "large"), want.String())
	t.Logf("read after %s", time.Since(began).Round(10*time.Millisecond))
	same(t, "logs --tail", ok(t, b, "logs", "large", "--tail=30000"), want.String()[20000*1000:])
}
