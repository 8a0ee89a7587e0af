package stats

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// fakeRuntime knows the writable layer of the container a.
type fakeRuntime struct {
	dir string
	err error
	mu  sync.Mutex
	// asked counts calls, and slow is how long they take.
	asked int
	slow  time.Duration
}

func (f *fakeRuntime) WritableLayers(context.Context) (map[string]pod.Disk, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	time.Sleep(f.slow)
	return map[string]pod.Disk{"a": {Dir: f.dir, Bytes: new(uint64(1000)), Inodes: new(uint64(5)), At: time.Unix(7, 0)}}, f.err
}

func (f *fakeRuntime) ImageDisks(context.Context) (pod.ImageDisks, error) {
	d := pod.Disk{Dir: f.dir, Bytes: new(uint64(300)), At: time.Unix(8, 0)}
	return pod.ImageDisks{Images: d, Containers: d}, f.err
}

// fakeVolumes has two volumes of the pod x, and one that is never measured.
type fakeVolumes struct {
	mu        sync.Mutex
	measured  map[string]int
	forgotten []string
	gone      bool
}

func (f *fakeVolumes) Mounted(uid types.UID) []Volume {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone || uid != "x" {
		return nil
	}
	return []Volume{
		{Name: "empty", Dir: "/v/empty", Ephemeral: true}, {Name: "hung", Dir: "/v/hung", Ephemeral: true},
		{Name: "data", Claim: "claim", Dir: "/v/data", FileSystem: true},
	}
}

func (f *fakeVolumes) Usage(ctx context.Context, v Volume) (Usage, error) {
	if v.Name == "hung" {
		<-ctx.Done()
		return Usage{}, ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.measured[v.Name]++
	return Usage{Used: 100, InodesUsed: 2, Available: 900, Capacity: 1000, Inodes: 50, InodesFree: 48, At: time.Unix(9, 0)}, nil
}

func (f *fakeVolumes) Forget(dir string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forgotten = append(f.forgotten, dir)
}

// world is a summarizer of one pod whose cgroups use fixed amounts.
type world struct {
	*Summarizer
	runtime *fakeRuntime
	volumes *fakeVolumes
	begin   time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{volumes: &fakeVolumes{measured: map[string]int{}}, begin: time.Now()}
	r := simple(t, func(_ *scratch, g Group, _ Need) (Sample, error) {
		s := Sample{
			At: time.Now(), CPU: &CPU{Total: 5e9 + uint64(time.Since(w.begin))/10},
			Memory: &Memory{Usage: 3000, WorkingSet: 2000, Swap: 10, Content: MemoryContent{RSS: 500}, Faults: MemoryFaults{Page: 7, MajorPage: 1}},
			Limits: &Limits{HasMemory: true, Memory: 1 << 63, HasSwap: true, Swap: 1 << 63}, Processes: &Processes{Count: 2}, pid: 5,
		}
		switch g.RuntimeID {
		case "a":
			s.Limits = &Limits{HasMemory: true, Memory: 10000, HasSwap: true, Swap: 50}
		case "b":
			s.Memory.WorkingSet, s.Limits.Memory = 4000, 1000 // more than the limit, for a moment
			s.CPU.Pressure = &Pressure{Some: Stall{Total: 5000, Avg10: 1.5}}
		case "s":
			s.CPU, s.Memory, s.Limits = nil, nil, nil
		}
		return s, nil
	})
	root := r.machine.unified
	write(t, filepath.Join(r.machine.proc, "5/net/dev"), "\n\neth0: 11 1 2 0 0 0 0 0 13 1 4 0 0 0 0 0\nnet1: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n")
	write(t, filepath.Join(r.machine.proc, "meminfo"), "MemTotal: 100 kB\nSwapTotal: 10 kB\nSwapFree: 10 kB\n")
	write(t, filepath.Join(root, "logs/ns_pod-x_x/one/0.log"), strings.Repeat("x", 5000))
	write(t, filepath.Join(root, "logs/ns_pod-x_x/one/sub/passed-over"), "x")
	write(t, filepath.Join(root, "logs/ns_pod-x_x/file"), "x")
	write(t, filepath.Join(root, "pods/x/etc-hosts"), "x")
	must(t, os.Symlink("/etc", filepath.Join(root, "logs/ns_pod-x_x/two"))) // a pod's log directory is no way to others
	w.runtime = &fakeRuntime{dir: root}
	w.Summarizer = NewSummarizer(Node{
		Name: "node", RootDir: root, LogsDir: filepath.Join(root, "logs"), HugePages: 400, VolumesAge: time.Minute, Started: w.begin,
		Daemons: func() map[string]string { return map[string]string{"kubelet": "/kubepods"} },
	}, r, w.runtime, w.volumes, zap.NewNop())
	w.boot = time.Unix(1, 0)
	w.disks.statfs = func(string) *fileSystem {
		return &fileSystem{capacity: 10000, free: 4000, available: 3000, inodes: 100, inodesFree: 90}
	}
	return w
}

func TestSummary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s, err := w.Summary(t.Context(), false)
		must(t, err)
		if s.Node.NodeName != "node" || len(s.Pods) != 1 || len(s.Pods[0].Containers) != 2 {
			t.Fatalf("%+v", s)
		}
		storage, logs := s.Pods[0].EphemeralStorage, s.Pods[0].Containers[0].Logs
		// Two more files and a volume count, and how much a file takes is the disk's to say.
		if *logs.UsedBytes < 5000 || *storage.UsedBytes < 1000+100+*logs.UsedBytes || *storage.InodesUsed != 5+1+2+2+1 {
			t.Errorf("storage: %d bytes, %d inodes; logs: %d bytes", *storage.UsedBytes, *storage.InodesUsed, *logs.UsedBytes)
		}
		*logs.UsedBytes, *storage.UsedBytes = 5000, 12000
		text, err := json.MarshalIndent(s, "", " ")
		must(t, err)
		golden(t, "summary.json", strip(text))
		brief, err := w.Summary(t.Context(), true) // from the same read, which has more
		must(t, err)
		if p := brief.Pods[0]; p.Network != nil || p.VolumeStats != nil || p.EphemeralStorage != nil || brief.Node.Network != nil {
			t.Errorf("CPU and memory alone: %+v", p)
		}
		text, err = json.MarshalIndent(brief, "", " ")
		must(t, err)
		golden(t, "brief.json", strip(text))
		time.Sleep(2 * shared)
	})
}

// strip takes out what differs from run to run.
func strip(text []byte) string {
	var lines []string
	for line := range strings.Lines(string(text)) {
		if key, _, ok := strings.Cut(line, `Time": "`); ok {
			line = key + "Time\": \"...\",\n"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "")
}

// golden compares with a file of testdata; with UPDATE=1 it writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE") != "" {
		must(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: -want +got:\n%s", name, diff)
	}
}

// TestWithoutRuntime: a runtime or a disk that does not answer leaves out what only it
// knows.
func TestWithoutRuntime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.runtime.err = errors.New("no")
		release := make(chan struct{})
		w.disks.statfs = func(string) *fileSystem { <-release; return nil }
		begin := time.Now()
		s, err := w.Summary(t.Context(), false)
		must(t, err)
		p := s.Pods[0]
		if s.Node.Fs != nil || s.Node.Runtime.ImageFs != nil || p.Containers[0].Rootfs != nil || p.Containers[0].CPU == nil || p.Network == nil {
			t.Errorf("%+v", s)
		}
		if took := time.Since(begin); took > 3*time.Second {
			t.Errorf("it took %v", took)
		}
		if len(w.disks.busy) != 1 {
			t.Errorf("%v are asked", w.disks.busy)
		}
		begin = time.Now()
		_, err = w.Summary(t.Context(), false)
		must(t, err)
		if took := time.Since(begin); took > pause {
			t.Errorf("what hangs was waited for again: %v", took)
		}
		close(release)
		time.Sleep(2 * shared)
	})
}

// TestVolumesAreRemembered as long as the configuration says, and forgotten with their
// pods.
func TestVolumesAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ask := func(want int) {
			t.Helper()
			s, err := w.Summary(t.Context(), false)
			must(t, err)
			if got := len(s.Pods[0].VolumeStats); got != want {
				t.Errorf("%d volumes, want %d", got, want)
			}
			time.Sleep(15 * time.Second)
		}
		for range 4 {
			ask(2)
		}
		if n := w.volumes.measured["empty"]; n != 1 {
			t.Errorf("measured %d times in a minute", n)
		}
		ask(2)
		if n := w.volumes.measured["empty"]; n != 2 {
			t.Errorf("measured %d times in more than a minute", n)
		}
		w.volumes.mu.Lock()
		w.volumes.gone = true
		w.volumes.mu.Unlock()
		ask(0)
		if len(w.volumes.forgotten) != 3 || len(w.Summarizer.volumes.known) != 0 {
			t.Errorf("forgotten: %v", w.volumes.forgotten)
		}
		w.Summarizer.volumes.age = -1
		w.volumes.gone = false
		ask(0)
	})
}

// TestLayersAreAskedRarely: the runtime measures every ten seconds only.
func TestLayersAreAskedRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for range 4 {
			_, err := w.Summary(t.Context(), false)
			must(t, err)
			time.Sleep(2 * time.Second)
		}
		if w.runtime.asked != 1 {
			t.Errorf("asked %d times in ten seconds", w.runtime.asked)
		}
		time.Sleep(layersAge)
		_, err := w.Summary(t.Context(), false)
		must(t, err)
		if w.runtime.asked != 2 {
			t.Errorf("asked %d times", w.runtime.asked)
		}
		time.Sleep(2 * shared)
	})
}

// TestSlowRuntime: its answer is for the next summary, and it is not asked twice.
func TestSlowRuntime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.runtime.slow = 5 * time.Second
		for want, begin := range []time.Time{0: time.Now(), 1: {}} {
			s, err := w.Summary(t.Context(), false)
			must(t, err)
			if got := s.Pods[0].Containers[0].Rootfs != nil; got != (want == 1) {
				t.Errorf("summary %d: it has a layer: %t", want, got)
			}
			if !begin.IsZero() && time.Since(begin) > runtimeTimeout+volumesTimeout {
				t.Errorf("it took %v", time.Since(begin))
			}
			time.Sleep(4 * time.Second)
		}
		if w.runtime.asked != 1 {
			t.Errorf("asked %d times", w.runtime.asked)
		}
	})
}

// TestPodWithoutContainers is not shown.
func TestPodWithoutContainers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, v := range w.reader.cfg.Pods() {
			v.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "one", ContainerID: "containerd://a"}}
		}
		s, err := w.Summary(t.Context(), false)
		must(t, err)
		if len(s.Pods) != 0 || s.Pods == nil {
			t.Errorf("%+v", s.Pods)
		}
		time.Sleep(2 * shared)
	})
}

// TestWhoAskedGoesAway does not end the summary for the others.
func TestWhoAskedGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := w.Summary(ctx, false); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v", err)
			}
		})
		synctest.Wait()
		var s *statsapi.Summary
		s, err := w.Summary(t.Context(), false)
		must(t, err)
		if len(s.Pods) != 1 {
			t.Errorf("%+v", s)
		}
		all.Wait()
		time.Sleep(2 * shared)
	})
}
