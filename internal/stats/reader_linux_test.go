package stats

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

func paths(rows []Row) []string {
	var all []string
	for _, r := range rows {
		all = append(all, r.Path)
	}
	return all
}

// TestShared: those who ask within a second get the same read, unless they need more.
func TestShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reads atomic.Int32
		r := simple(t, func(_ *scratch, g Group, _ Need) (Sample, error) {
			if g.Kind == KindRoot {
				reads.Add(1)
				time.Sleep(100 * time.Millisecond)
			}
			return Sample{At: time.Now(), CPU: &CPU{}}, nil
		})
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if rows, err := r.Rows(t.Context(), NeedCPU); err != nil || len(rows) != 5 {
					t.Error(len(rows), err)
				}
			})
		}
		all.Wait()
		time.Sleep(shared / 2)
		_, err := r.Rows(t.Context(), NeedCPU)
		must(t, err)
		if n := reads.Load(); n != 1 {
			t.Errorf("%d reads for all who came within a second", n)
		}
		_, err = r.Rows(t.Context(), NeedMemory)
		must(t, err)
		_, err = r.Rows(t.Context(), NeedMemory|NeedCPU)
		must(t, err)
		if n := reads.Load(); n != 2 {
			t.Errorf("%d reads, want a second one for who needs more, which has both", n)
		}
		time.Sleep(shared + time.Millisecond)
		r.mu.Lock()
		if r.flight != nil {
			t.Error("what nobody will get any more is kept")
		}
		r.mu.Unlock()
		_, err = r.Rows(t.Context(), NeedCPU)
		must(t, err)
		if n := reads.Load(); n != 3 {
			t.Errorf("%d reads, want a new one after a second", n)
		}
		time.Sleep(shared)
	})
}

// TestWhoGoesAway does not end the read for the others.
func TestWhoGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := simple(t, func(*scratch, Group, Need) (Sample, error) {
			time.Sleep(100 * time.Millisecond)
			return Sample{}, nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := r.Rows(ctx, NeedCPU); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v", err)
			}
		})
		if rows, err := r.Rows(t.Context(), NeedCPU); err != nil || len(rows) != 5 { // no sandbox
			t.Error(len(rows), err)
		}
		all.Wait()
		time.Sleep(shared)
	})
}

// TestHangingCgroup costs its own figures, and is not asked again until it answers.
func TestHangingCgroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var asked atomic.Int32
		r := simple(t, func(_ *scratch, g Group, _ Need) (Sample, error) {
			if g.RuntimeID == "a" {
				asked.Add(1)
				<-release
			}
			return Sample{}, nil
		})
		want := []string{"/", "/kubepods", "/kubepods/podx", "/kubepods/podx/b"}
		for range 3 {
			begin := time.Now()
			rows, err := r.Rows(t.Context(), NeedCPU)
			must(t, err)
			if got := paths(rows); !slices.Equal(got, want) {
				t.Errorf("%v", got)
			}
			if asked.Load() == 1 && time.Since(begin) > patience {
				t.Errorf("waited for %v", time.Since(begin))
			}
			time.Sleep(2 * shared)
		}
		if n := asked.Load(); n != 1 {
			t.Errorf("a cgroup that hangs was asked %d times", n)
		}
		close(release)
		synctest.Wait()
		rows, err := r.Rows(t.Context(), NeedCPU)
		must(t, err)
		if len(rows) != 5 || len(r.hanging) != 0 {
			t.Errorf("%v, hanging: %v", paths(rows), r.hanging)
		}
		time.Sleep(2 * shared)
	})
}

// TestGoneContainer: what is not there any more has no row, and is looked for again.
func TestGoneContainer(t *testing.T) {
	var gone atomic.Bool
	r := simple(t, func(_ *scratch, g Group, _ Need) (Sample, error) {
		if g.RuntimeID == "a" && gone.Load() {
			return Sample{}, os.ErrNotExist
		}
		return Sample{}, nil
	})
	rows, err := r.read(NeedCPU)
	must(t, err)
	if len(rows) != 5 || len(r.finder.pods) != 1 {
		t.Fatal(paths(rows), r.finder.pods)
	}
	gone.Store(true)
	must(t, os.RemoveAll(filepath.Join(r.machine.unified, "kubepods/podx/a")))
	rows, err = r.read(NeedCPU)
	must(t, err)
	if len(rows) != 4 || len(r.finder.pods) != 0 {
		t.Error(paths(rows), r.finder.pods)
	}
}

func TestNoRoot(t *testing.T) {
	r := simple(t, func(_ *scratch, g Group, _ Need) (Sample, error) {
		if g.Kind == KindRoot {
			return Sample{}, os.ErrNotExist
		}
		return Sample{}, nil
	})
	if rows, err := r.read(NeedCPU); err == nil {
		t.Errorf("%v", paths(rows))
	}
}

// TestFind: the names that runtimes give, with both drivers.
func TestFind(t *testing.T) {
	for name, c := range map[string]struct {
		parent string
		dirs   []string
		want   []string
	}{
		"containerd, cgroupfs": {"/kubepods/burstable/podx", []string{"s", "a", "b"}, []string{"s", "a", "b"}},
		"CRI-O, cgroupfs":      {"/kubepods/burstable/podx", []string{"crio-s", "crio-a", "crio-b"}, []string{"crio-s", "crio-a", "crio-b"}},
		"containerd, systemd": {
			"/kubepods.slice/kubepods-podx.slice", []string{"cri-containerd-s.scope", "cri-containerd-a.scope", "cri-containerd-b.scope"},
			[]string{"cri-containerd-s.scope", "cri-containerd-a.scope", "cri-containerd-b.scope"},
		},
		"CRI-O, systemd, no sandbox": {
			"/kubepods.slice/kubepods-podx.slice", []string{"crio-a.scope", "crio-b.scope"}, []string{"crio-a.scope", "crio-b.scope"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for _, dir := range c.dirs {
				must(t, os.MkdirAll(filepath.Join(root, c.parent, dir), 0o755))
			}
			f := newFinder(&machine{v2: true, unified: root})
			at := places{pods: map[types.UID]string{"x": c.parent}}
			v := view("x", "s", [2]string{"one", "a"}, [2]string{"two", "b"})
			var got []string
			var network int
			for _, g := range f.find(at, nil, []*pod.View{v})[2:] {
				got = append(got, filepath.Base(g.Path))
				if g.network {
					network++
				}
			}
			if !slices.Equal(got, c.want) || network != 1 {
				t.Errorf("%v, want %v; %d show the network", got, c.want, network)
			}
		})
	}
}

// TestFindAgain: nobody looks again while a pod's view is the same, and what has not
// been there is found when it is.
func TestFindAgain(t *testing.T) {
	root := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(root, "podx/a"), 0o755))
	f := newFinder(&machine{v2: true, unified: root})
	at := places{pods: map[types.UID]string{"x": "/podx"}}
	v := view("x", "s", [2]string{"one", "a"}, [2]string{"two", "b"})
	count := func(want int) {
		t.Helper()
		if n := len(f.find(at, nil, []*pod.View{v})); n != want {
			t.Errorf("%d cgroups, want %d", n, want)
		}
	}
	count(3)
	must(t, os.Mkdir(filepath.Join(root, "podx/b"), 0o755))
	count(4)
	must(t, os.Mkdir(filepath.Join(root, "podx/s"), 0o755))
	count(4) // nothing said that it runs
	v = view("x", "s", [2]string{"one", "a"}, [2]string{"two", "b"})
	count(5)
	if len(f.find(at, nil, nil)) != 1 || len(f.pods) != 0 {
		t.Error("a pod that is gone is remembered")
	}
}

// TestHostileNames: nothing that an API object or a runtime says leads out of the
// pod's cgroup.
func TestHostileNames(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"podx/real", "other", "secret"} {
		must(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	must(t, os.Symlink("../secret", filepath.Join(root, "podx/link")))
	f := newFinder(&machine{v2: true, unified: root})
	v := view("x", "../secret", [2]string{"a", "../other"}, [2]string{"b", "."}, [2]string{"c", ""}, [2]string{"d", "link"}, [2]string{"e", "real"},
		[2]string{"f", "a\x00b"})
	groups := f.find(places{pods: map[types.UID]string{"x": "/podx"}}, []string{"/../etc", "relative", "", "/", "/other"}, []*pod.View{v, nil, {}})
	var got []string
	for _, g := range groups {
		got = append(got, g.Path)
	}
	if want := []string{"/", "/other", "/podx", "/podx/real"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestHostNetwork: pods that have the machine's network show it.
func TestHostNetwork(t *testing.T) {
	r := simple(t, func(*scratch, Group, Need) (Sample, error) { return Sample{pid: 5}, nil })
	const head = "\n\n"
	write(t, filepath.Join(r.machine.proc, "1/net/dev"), head+"host0: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n")
	write(t, filepath.Join(r.machine.proc, "5/net/dev"), head+"eth0: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n")
	for name, host := range map[string]bool{"eth0": false, "host0": true} {
		v := view("x", "s", [2]string{"one", "a"})
		v.Pod.Spec = corev1.PodSpec{HostNetwork: host}
		r.cfg.Pods = func() []*pod.View { return []*pod.View{v} }
		rows, err := r.read(NeedNetwork)
		must(t, err)
		if len(rows) != 2 || len(rows[1].Network) != 1 || rows[1].Network[0].Name != name {
			t.Errorf("%+v, want %s", rows, name)
		}
	}
}

func TestSandboxImages(t *testing.T) {
	rows := make([]Row, 20)
	for i := range rows {
		rows[i] = Row{Group: Group{Kind: KindSandbox, RuntimeID: string(rune('a' + i))}}
	}
	var asked atomic.Int32
	ask := func(_ context.Context, id string) (string, error) {
		asked.Add(1)
		if id == "b" {
			return "", errors.New("no")
		}
		return "pause:1", nil
	}
	var m images
	m.fill(rows, ask)
	for _, r := range rows {
		if r.Image != "pause:1" {
			t.Errorf("%+v", r)
		}
	}
	if n := asked.Load(); n != asksPerRead {
		t.Errorf("asked %d times", n)
	}
	for range 5 {
		m.fill(rows, ask)
	}
	if len(m.of) != 19 {
		t.Errorf("%d are known", len(m.of))
	}
	m.fill(rows[:1], ask)
	if len(m.of) != 1 {
		t.Error("what is gone is remembered")
	}
}

// TestNewReader is on the machine that the test runs on.
func TestNewReader(t *testing.T) {
	r, err := NewReader(Config{Pods: func() []*pod.View { return nil }, Cgroups: func() Cgroups { return nil }}, zap.NewNop())
	if err != nil {
		t.Skip(err)
	}
	rows, err := r.Rows(t.Context(), NeedAll&^NeedFiles)
	must(t, err)
	if len(rows) != 1 || rows[0].Kind != KindRoot || rows[0].CPU == nil || rows[0].CPU.Total == 0 || len(rows[0].Network) == 0 {
		t.Errorf("%+v", rows)
	}
}
