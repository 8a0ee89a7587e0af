//go:build volumeload

package volumes

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/volume"
	"nodeagent.dev/nodeagent/test/bed"
)

// BenchmarkReaders: eight readers while two keys change together, thousands of
// times. Nothing is torn and nothing missing.
func BenchmarkReaders(bench *testing.B) {
	b := bed.Start(bench, bed.Options{KubeletConfig: shared.Options.KubeletConfig})
	n := *reads
	if b.Agent() == bed.Kubelet { // seconds for each
		n = min(n, 20)
	}
	all := newSite(bench, b, "readers").readers(n)
	bench.ReportMetric(0, "ns/op")
	bench.ReportMetric(float64(n), "updates")
	bench.ReportMetric(float64(all.Reads), "reads")
	bench.ReportMetric(float64(all.Torn), "torn")
	bench.ReportMetric(float64(all.Missing), "missing")
	bench.ReportMetric(float64(all.Overtaken), "overtaken")
}

// BenchmarkSubPathRace: thousands of subPaths are mounted while what they lead to
// is exchanged for a symlink that leads out: first by the part of nodeagent that
// mounts them, then by pods.
func BenchmarkSubPathRace(bench *testing.B) {
	bench.Run("mounts", func(bench *testing.B) {
		mounted, refused := raceMounts(bench, *tries)
		bench.ReportMetric(0, "ns/op")
		bench.ReportMetric(float64(mounted), "mounted")
		bench.ReportMetric(float64(refused), "refused")
	})
	bench.Run("pods", func(bench *testing.B) {
		r := newRace(newSite(bench, bed.Start(bench, bed.Options{}), "race"))
		const pods, containers, perRound = 20, 10, 10
		for round := range pods / perRound {
			r.try(fmt.Sprint(round), perRound, containers)
		}
		r.judge()
		bench.ReportMetric(0, "ns/op")
		bench.ReportMetric(pods*containers, "containers")
		bench.ReportMetric(float64(r.started), "started")
		if r.started == 0 || r.started == pods*containers {
			bench.Errorf("%d of %d containers were started: the race was not hit", r.started, pods*containers)
		}
	})
}

// raceMounts mounts subPaths below a folder of this test, with all that belongs to
// it but the agent.
func raceMounts(t testing.TB, n int) (mounted, refused int) {
	t.Helper()
	root := t.TempDir()
	m, err := volume.New(volume.Config{RootDir: root}, nil, zap.NewNop())
	must(t, "making a volume manager", err)
	ref := pod.Ref{UID: "uid"}
	t.Cleanup(func() {
		must(t, "unmounting", m.Unmount(context.Background(), ref)) // the test's context has ended
		left, err := mountPoints(root)
		if err != nil || len(left) > 0 {
			t.Errorf("mounts are left: %q (%v)", left, err)
		}
	})
	dir, out := filepath.Join(root, "volume"), filepath.Join(root, "outside")
	swapped, spare := filepath.Join(dir, "swap"), filepath.Join(dir, "spare")
	for _, d := range []string{dir, swapped, out} {
		must(t, "making a directory", os.Mkdir(d, 0o755))
	}
	must(t, "writing a file", os.WriteFile(filepath.Join(out, "secret"), []byte(forbidden), 0o600))
	must(t, "making the trap", os.Symlink(out, spare))
	was := fingerprint(t, out)
	ctx, stop := context.WithCancel(t.Context())
	swaps := make(chan int)
	go func() {
		count := 0
		for ; ctx.Err() == nil; count++ {
			_ = unix.Renameat2(unix.AT_FDCWD, swapped, unix.AT_FDCWD, spare, unix.RENAME_EXCHANGE)
		}
		swaps <- count
	}()
	for i := range n {
		path := []string{"swap", "swap/secret", "swap/new"}[i%3]
		got, err := m.SubPaths(t.Context(), ref.UID, "c", []pod.SubPath{{Index: i % 3, Volume: "v", HostPath: dir, Path: path}})
		if err != nil {
			refused++
			continue
		}
		mounted++
		for _, leak := range []string{got[i%3], filepath.Join(got[i%3], "secret")} {
			if data, err := os.ReadFile(leak); err == nil && len(data) > 0 {
				t.Errorf("try %d: %s shows %q", i, leak, data)
			}
		}
	}
	stop()
	t.Logf("%d subPaths while the name was exchanged %d times: %d mounted, %d refused", n, <-swaps, mounted, refused)
	if mounted == 0 || refused == 0 {
		t.Errorf("%d mounted and %d refused: the race was not hit", mounted, refused)
	}
	for path, is := range fingerprint(t, out) {
		if was[path] != is {
			t.Errorf("outside the volume %s is %q, was %q", path, is, was[path])
		}
	}
	return mounted, refused
}
