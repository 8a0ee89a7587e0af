package stats

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

// TestMain also shows that nothing runs while nobody asks.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cpuTime is what this process has used, in nanoseconds.
func cpuTime(tb testing.TB) int64 {
	tb.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// write makes a file and the directories above it.
func write(tb testing.TB, path, content string) {
	tb.Helper()
	must(tb, os.MkdirAll(filepath.Dir(path), 0o755))
	must(tb, os.WriteFile(path, []byte(content), 0o600))
}

// recorded is a machine whose cgroups are files of testdata.
func recorded(tb testing.TB, name string) *machine {
	tb.Helper()
	archive, err := txtar.ParseFile(filepath.Join("testdata", name+".txtar"))
	must(tb, err)
	dir := tb.TempDir()
	for _, f := range archive.Files {
		write(tb, filepath.Join(dir, f.Name), string(f.Data))
	}
	m := &machine{proc: filepath.Join(dir, "proc"), ticks: userTicks}
	if name == "v2" {
		m.v2, m.unified, m.pressure = true, dir, true
		return m
	}
	m.cpu, m.cpuacct, m.memory = filepath.Join(dir, "cpu"), filepath.Join(dir, "cpuacct"), filepath.Join(dir, "memory")
	m.blkio, m.pids = filepath.Join(dir, "blkio"), filepath.Join(dir, "pids")
	return m
}

// places are the cgroups of a test's pods.
type places struct {
	above []string
	pods  map[types.UID]string
}

func (p places) Above() []string             { return p.above }
func (p places) Parent(q *corev1.Pod) string { return p.pods[q.UID] }

// view is a pod with containers that run, each by its name and ID.
func view(uid, sandbox string, containers ...[2]string) *pod.View {
	v := &pod.View{
		Ref: pod.Ref{UID: types.UID(uid), Namespace: "ns", Name: "pod-" + uid}, Sandbox: sandbox,
		Pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid), Namespace: "ns", Name: "pod-" + uid}},
	}
	for _, c := range containers {
		v.Status.ContainerStatuses = append(v.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: c[0], ContainerID: "containerd://" + c[1], Image: "image-of-" + c[0],
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Unix(1_000_000, 0)}},
		})
	}
	return v
}

// simple is a reader of a machine with one pod: a sandbox s and the containers a and b.
// Each cgroup is an empty directory; sample says what it used.
func simple(tb testing.TB, sample sampler) *Reader {
	tb.Helper()
	root := tb.TempDir()
	for _, dir := range []string{"s", "a", "b"} {
		must(tb, os.MkdirAll(filepath.Join(root, "kubepods/podx", dir), 0o755))
	}
	at := places{above: []string{"/kubepods"}, pods: map[types.UID]string{"x": "/kubepods/podx"}}
	views := []*pod.View{view("x", "s", [2]string{"one", "a"}, [2]string{"two", "b"})}
	r := newReader(Config{Pods: func() []*pod.View { return views }, Cgroups: func() Cgroups { return at }},
		&machine{v2: true, unified: root, proc: filepath.Join(root, "proc")}, zap.NewNop())
	r.sample = sample
	return r
}
