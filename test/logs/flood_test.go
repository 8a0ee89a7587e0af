//go:build e2e

package logs

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

var (
	floodFor  = flag.Duration("flood", 5*time.Second, "how long TestFlood floods")
	floodRate = flag.Int64("rate", 30e6, "bytes per second TestFlood tries to write; make logflood tries 200e6")
)

// What the kubelet has by default, and the limit that follows from it, in bytes.
const (
	defaultSize  = 10 << 20
	defaultFiles = 5
	diskLimit    = 2 * defaultSize * defaultFiles
)

// watched is what was seen of a directory of logs.
type watched struct {
	most      int64 // bytes of all files at once, those without a name included
	mostNamed int64 // bytes of those with a name
	files     int   // at once
	largest   int64 // of a plain file
	names     map[string]bool
	gap       time.Duration // the longest time between two looks
	looks     int
}

// watch looks at the directories of logs and the files that the agent holds, until
// stop is closed.
func watch(dirs []string, agent int, stop <-chan struct{}) []watched {
	seen := make([]watched, len(dirs))
	for i := range seen {
		seen[i].names = map[string]bool{}
	}
	for last := time.Now(); ; {
		for i, dir := range dirs {
			seen[i].look(dir, agent)
			seen[i].gap = max(seen[i].gap, time.Since(last))
		}
		last = time.Now()
		select {
		case <-stop:
			return seen
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// look is one look: every inode once.
func (w *watched) look(dir string, agent int) {
	sizes := map[uint64]int64{}
	count := func(path string, info os.FileInfo) {
		if st, ok := info.Sys().(*syscall.Stat_t); ok && info.Mode().IsRegular() {
			sizes[st.Ino] = info.Size()
		}
		_ = path
	}
	entries, _ := os.ReadDir(dir) // it may not be there yet
	n := 0
	for _, e := range entries {
		info, err := os.Lstat(filepath.Join(dir, e.Name()))
		if err != nil {
			continue
		}
		n++
		count(e.Name(), info)
		w.names[e.Name()] = true
		if !strings.HasSuffix(e.Name(), ".gz") && !strings.HasSuffix(e.Name(), ".tmp") {
			w.largest = max(w.largest, info.Size())
		}
	}
	w.mostNamed = max(w.mostNamed, sum(sizes))
	fds := fmt.Sprintf("/proc/%d/fd", agent)
	open, _ := os.ReadDir(fds)
	for _, e := range open {
		path := filepath.Join(fds, e.Name())
		target, err := os.Readlink(path)
		if err != nil || !strings.HasPrefix(target, dir+"/") || !strings.HasSuffix(target, " (deleted)") {
			continue
		}
		if info, err := os.Stat(path); err == nil {
			count(target, info)
		}
	}
	w.most, w.files, w.looks = max(w.most, sum(sizes)), max(w.files, n), w.looks+1
}

func sum(sizes map[uint64]int64) (bytes int64) {
	for _, size := range sizes {
		bytes += size
	}
	return bytes
}

// components are those that lines pass through.
var components = []string{"containerd", "agent", "kube-apiserver"}

// cpuTimes are what the components have used, in ticks of 10 ms.
func cpuTimes(t *testing.T, b *bed.Bed) map[string]time.Duration {
	t.Helper()
	times := map[string]time.Duration{}
	for _, name := range components {
		pid, err := b.Component(name).PID(t.Context())
		must(t, "finding "+name, err)
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		must(t, "reading the CPU time of "+name, err)
		_, rest, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest) // from the third one on
		for _, ticks := range fields[11:13] {
			n, err := strconv.Atoi(ticks)
			must(t, "reading the CPU time of "+name, err)
			times[name] += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return times
}

// TestFlood: a container that writes as fast as the runtime takes it fills no disk,
// nobody who follows its log misses a line, and the logs of its neighbours are
// rotated in time.
func TestFlood(t *testing.T) {
	b := bed.Start(t, bed.Options{Output: os.Stderr})
	names := []string{"a", "b", "c"}
	const neighbour = 4e6 // bytes per second
	quiet := fmt.Sprintf("-rate %d -line 200 -for %s", int64(neighbour), *floodFor)
	p := flooder(t, "flood", fmt.Sprintf("-wait /tmp/go -rate %d -for %s", *floodRate, *floodFor), quiet, quiet)
	p = bedtest.Create(t, b, p)
	dirs := make([]string, len(names))
	for i, name := range names {
		dirs[i] = logDir(b, p, name)
	}
	pid, err := b.Component("agent").PID(t.Context())
	must(t, "finding the agent", err)
	stop, result := make(chan struct{}), make(chan []watched, 1)
	go func() { result <- watch(dirs, pid, stop) }()
	bedtest.Await(t, b.Client(), "flood", "ready", patience, bedtest.Ready)
	f := follow(t, b, "flood", "a")
	select {
	case <-f.begun:
	case <-time.After(patience):
		t.Fatal("the first line is not shown")
	}
	kubectl(t, b, "exec", "flood", "-c", "a", "--", "touch", "/tmp/go")
	before := cpuTimes(t, b)
	var failed error
	select {
	case <-f.done:
		failed = f.err
	case <-time.After(*floodFor + patience):
		failed = fmt.Errorf("no end after line %d", f.lines.Load())
	}
	after := cpuTimes(t, b)
	for _, name := range components {
		t.Logf("%s took %s of CPU time", name, (after[name] - before[name]).Round(10*time.Millisecond))
	}
	end := ""
	eventually(t, "all is written", func() error {
		if end = kubectl(t, b, "logs", "--tail=1", "flood", "-c", "a"); !strings.HasPrefix(end, "end ") {
			return fmt.Errorf("the last line is %.20q", end)
		}
		return nil
	})
	close(stop)
	t.Logf("%s: followed to line %d, error: %v", b.Agent(), f.lines.Load(), failed)
	report(t, b, failed, end, <-result)
}

// report prints the figures and checks them; the kubelet's are to compare with.
func report(t *testing.T, b *bed.Bed, failed error, end string, seen []watched) {
	t.Helper()
	rate := 0.0
	if m := regexp.MustCompile(`^end \d+ (\d+) (\S+)\n`).FindStringSubmatch(end); m != nil {
		bytes, _ := strconv.ParseFloat(m[1], 64)
		took, _ := time.ParseDuration(m[2])
		rate = bytes / took.Seconds()
	}
	t.Logf("written: %s, %.0f MB/s", strings.TrimSpace(end), rate/1e6)
	for i, w := range seen {
		over := float64(w.largest-defaultSize) / 1e6
		seconds := 0.0
		if i == 0 && rate > 0 {
			seconds = over * 1e6 / rate
		}
		t.Logf("container %c: most on the disk %.1f MB (%.1f MB with a name) of %.1f MB, %d files at once, %d in all, "+
			"largest %.1f MB, %.1f MB too much (%.2f s of output); %d looks, at most %s apart", 'a'+i, float64(w.most)/1e6, float64(w.mostNamed)/1e6,
			float64(diskLimit)/1e6, w.files, len(w.names), float64(w.largest)/1e6, over, seconds, w.looks, w.gap.Round(time.Millisecond))
		if b.Agent() == bed.Kubelet {
			continue
		}
		if w.most > diskLimit {
			t.Errorf("container %c had more than %d bytes on the disk: %d", 'a'+i, diskLimit, w.most)
		}
		if i == 0 && seconds > 1 {
			t.Errorf("the log was rotated more than a second late")
		}
		if i > 0 && over > 4 { // a second
			t.Errorf("the log of container %c was rotated late", 'a'+i)
		}
	}
	if failed != nil && b.Agent() != bed.Kubelet {
		t.Errorf("following: %v", failed)
	}
}
