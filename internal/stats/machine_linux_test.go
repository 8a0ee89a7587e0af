package stats

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"
)

const testPod = "/kubepods.slice/kubepods-pod1.slice"

func compare(t *testing.T, got, want Sample) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Sample{}, "At"), cmp.AllowUnexported(Sample{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if time.Since(got.At) > time.Minute {
		t.Errorf("read at %v", got.At)
	}
}

func TestV2(t *testing.T) {
	m := recorded(t, "v2")
	got, err := m.sample(newScratch(), testPod, NeedAll)
	must(t, err)
	compare(t, got, Sample{
		CPU: &CPU{
			Total: 1_500_000_000, User: 1_000_000_000, System: 500_000_000, Periods: 100, ThrottledPeriods: 40, ThrottledTime: 250_000_000,
			Bursts: 2, BurstTime: 3_000_000,
			Pressure: &Pressure{Some: Stall{123_456_000, 12.34, 5.6, 1}, Full: Stall{65_432_000, 2, 1, 0.5}},
		},
		Memory: &Memory{
			Usage: 8000000, WorkingSet: 5000000, Max: 9000000, Swap: 4096,
			Content: MemoryContent{RSS: 2000000, Cache: 5000000, Mapped: 1000000, ActiveFile: 2000000, InactiveFile: 3000000, Dirty: 12288, Writeback: 8192},
			Faults: MemoryFaults{
				Page: 2000, MajorPage: 20, Scanned: 7, Stolen: 8, RefaultedAnon: 5, RefaultedFile: 6, EventsHigh: 3, EventsMax: 4, OOMKills: 2,
			},
			Pressure: &Pressure{Some: Stall{Total: 7000}, Full: Stall{Total: 5000}},
		},
		IO: &IO{
			Devices: []Device{
				{Major: 8, ReadBytes: 4096, WriteBytes: 8192, Reads: 1, Writes: 2, DiscardBytes: 16384, Discards: 3},
				{Major: 253},
				{Major: 259, Minor: 1, ReadBytes: 1, WriteBytes: 2, Reads: 3, Writes: 4, DiscardBytes: 5, Discards: 6},
			},
			Pressure: &Pressure{Some: Stall{Total: 9000}, Full: Stall{Total: 8000}},
		},
		Processes: &Processes{Threads: 5, ThreadsMax: 1024},
		Limits:    &Limits{Shares: 998, Quota: 50000, Period: 100000, Memory: 67108864, Swap: Unlimited, HasCPU: true, HasMemory: true, HasSwap: true},
	})
}

// TestV2Root: the root has no memory.current, and no limits.
func TestV2Root(t *testing.T) {
	m := recorded(t, "v2")
	write(t, filepath.Join(m.proc, "meminfo"), "MemTotal: 1000 kB\nSwapTotal: 100 kB\nSwapFree: 60 kB\n")
	got, err := m.sample(newScratch(), "/", NeedCPU|NeedMemory|NeedMemoryLimits)
	must(t, err)
	compare(t, got, Sample{
		CPU: &CPU{Total: 5_000_000_000, User: 3_000_000_000, System: 2_000_000_000},
		Memory: &Memory{
			Usage: 4000000, WorkingSet: 3500000, Swap: 40 << 10,
			Content: MemoryContent{RSS: 1000000, Cache: 3000000, Mapped: 200000, ActiveFile: 600000, InactiveFile: 500000, Dirty: 4096},
			Faults:  MemoryFaults{Page: 1000, MajorPage: 10, Scanned: 3, Stolen: 4, RefaultedAnon: 1, RefaultedFile: 2},
		},
		Limits: &Limits{},
	})
}

// TestHostileFiles: what is no number is left out, and nothing goes below zero.
func TestHostileFiles(t *testing.T) {
	got, err := recorded(t, "v2").sample(newScratch(), testPod+"/cri-containerd-abc.scope", NeedAll)
	must(t, err)
	compare(t, got, Sample{
		CPU:       &CPU{Pressure: &Pressure{}},
		Memory:    &Memory{Usage: 10, Content: MemoryContent{InactiveFile: 50}},
		IO:        &IO{Devices: []Device{{Major: 8, WriteBytes: 2}}},
		Processes: &Processes{Count: 3},
		Limits:    &Limits{HasCPU: true},
		pid:       4711,
	})
	got, err = recorded(t, "v1").sample(newScratch(), "/kubepods/podx/c2", NeedAll)
	must(t, err)
	compare(t, got, Sample{
		CPU: &CPU{}, Memory: &Memory{Usage: 100, Content: MemoryContent{InactiveFile: 200}}, IO: &IO{},
		Limits: &Limits{Shares: 2, Period: 100000, Memory: 9223372036854771712, Swap: 9223372036854771712, HasCPU: true, HasMemory: true, HasSwap: true},
	})
}

func TestV1(t *testing.T) {
	m := recorded(t, "v1")
	got, err := m.sample(newScratch(), "/kubepods/podx/c1", NeedAll)
	must(t, err)
	compare(t, got, Sample{
		CPU: &CPU{
			Total: 3179834410, User: 2_150_000_000, System: 1_020_000_000, Periods: 317, ThrottledPeriods: 311, ThrottledTime: 28466201531,
		},
		Memory: &Memory{
			Usage: 716800, WorkingSet: 413696, Max: 4747264, Failures: 17, Swap: 8192, Kernel: 233472,
			Content: MemoryContent{RSS: 180224, Cache: 303104, Mapped: 4096, ActiveFile: 1000, InactiveFile: 303104},
			Faults:  MemoryFaults{Page: 1344, MajorPage: 1, RefaultedAnon: 11, RefaultedFile: 12, OOMKills: 3},
		},
		IO: &IO{Devices: []Device{{
			Major: 254, ReadBytes: 4096, WriteBytes: 8192, SyncBytes: 12288, TotalBytes: 12288, Reads: 1, Writes: 2, Syncs: 3, Total: 3,
		}}},
		Processes: &Processes{Count: 1, Threads: 7, ThreadsMax: Unlimited},
		Limits: &Limits{
			Shares: 102, Period: 100000, Quota: 10000, Memory: 67108864, Swap: 67108864, Reservation: 9223372036854771712,
			HasCPU: true, HasMemory: true, HasSwap: true,
		},
		pid: 31337,
	})
	root, err := m.sample(newScratch(), "/", needSummary)
	must(t, err)
	if root.CPU.Total != 73161048906829 || root.Memory.WorkingSet != 12891148288-2610921472 {
		t.Errorf("%+v %+v", root.CPU, root.Memory)
	}
}

// TestNeedLittle: only what is needed is read.
func TestNeedLittle(t *testing.T) {
	m := recorded(t, "v1")
	got, err := m.sample(newScratch(), "/kubepods/podx/c1", NeedCPU)
	must(t, err)
	compare(t, got, Sample{CPU: &CPU{Total: 3179834410}})
	for _, file := range []string{"memory.limit_in_bytes", "memory.soft_limit_in_bytes", "memory.failcnt"} {
		must(t, os.Remove(filepath.Join(m.memory, "kubepods/podx/c1", file)))
	}
	got, err = m.sample(newScratch(), "/kubepods/podx/c1", needResource)
	must(t, err)
	if got.Memory.WorkingSet != 413696 || *got.Limits != (Limits{Swap: 67108864, HasSwap: true}) {
		t.Errorf("%+v %+v", got.Memory, got.Limits)
	}
}

func TestGone(t *testing.T) {
	for _, name := range []string{"v1", "v2"} {
		for _, need := range []Need{NeedCPU, NeedMemory} {
			if _, err := recorded(t, name).sample(newScratch(), "/kubepods/gone", need); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]uint64{"0": 0, "42": 42, "18446744073709551615": Unlimited, "max": Unlimited} {
		if n, ok := parse([]byte(text)); !ok || n != want {
			t.Errorf("%q: %d, %t", text, n, ok)
		}
	}
	for _, text := range []string{"", "-1", "1 ", "18446744073709551616", "99999999999999999999", "184467440737095516150", "0x1", "1e3", "Max"} {
		if n, ok := parse([]byte(text)); ok {
			t.Errorf("%q: %d", text, n)
		}
	}
}

// TestReadIsBounded: no file is read for ever, and no symlink is followed.
func TestReadIsBounded(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "x/large"), string(make([]byte, 3*maxFile)))
	write(t, filepath.Join(dir, "x/pages"), string(make([]byte, 20_000)))
	s := newScratch()
	for file, want := range map[string]int{"large": maxFile, "pages": 20_000} {
		if b, err := s.read(dir, "/x", file); err != nil || len(b) != want {
			t.Errorf("%s: %d bytes, %v; want %d", file, len(b), err, want)
		}
	}
	must(t, os.Symlink("pages", filepath.Join(dir, "x/link")))
	if _, err := s.read(dir, "/x", "link"); !errors.Is(err, unix.ELOOP) {
		t.Errorf("%v", err)
	}
}

func TestNetwork(t *testing.T) {
	m := &machine{proc: t.TempDir()}
	const head = "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs\n"
	write(t, filepath.Join(m.proc, "7/net/dev"), head+
		"    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n"+
		"  eth0:1001 12 3 4 0 0 0 0 2002 22 5 6 0 0 0 0\n"+
		"Veth12: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n"+
		"  tun0: 1 1 0 0 0 0 0\n"+
		"  tun1: 1 1 0 x 0 0 0 0 1 1 0 0 0 0 0 0\n"+
		"  net1: 5 6 0 0 0 0 0 0 7 8 0 0 0 0 0 0\n")
	got, err := m.network(newScratch(), 7)
	must(t, err)
	want := []Interface{
		{Name: "eth0", RxBytes: 1001, RxPackets: 12, RxErrors: 3, RxDropped: 4, TxBytes: 2002, TxPackets: 22, TxErrors: 5, TxDropped: 6},
		{Name: "net1", RxBytes: 5, RxPackets: 6, TxBytes: 7, TxPackets: 8},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTasks(t *testing.T) {
	m := &machine{proc: t.TempDir()}
	if current, most := m.tasks(newScratch()); current != -1 || most != -1 {
		t.Error(current, most)
	}
	write(t, filepath.Join(m.proc, "sys/kernel/pid_max"), "4194304\n")
	write(t, filepath.Join(m.proc, "sys/kernel/threads-max"), "191000\n")
	write(t, filepath.Join(m.proc, "loadavg"), "1.36 3.49 4.53 2/3518 3715089\n")
	if current, most := m.tasks(newScratch()); current != 3518 || most != 191000 {
		t.Error(current, most)
	}
}

// TestThisMachine reads the cgroups of the machine that the test runs on.
func TestThisMachine(t *testing.T) {
	m, err := lookAtMachine()
	if err != nil {
		t.Skip(err)
	}
	got, err := m.sample(newScratch(), "/", needSummary)
	must(t, err)
	if got.CPU.Total == 0 || got.Memory.Usage == 0 || got.Memory.WorkingSet > got.Memory.Usage {
		t.Errorf("%+v %+v", got.CPU, got.Memory)
	}
}
