package stats

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fs"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

const (
	benchPods       = 500
	benchContainers = 2
)

// crowded makes real cgroups of 500 pods, each with a sandbox and two containers,
// and removes them at the end.
type crowded struct {
	top   string
	views []*pod.View
}

func (c *crowded) Parent(p *corev1.Pod) string { return c.top + "/pod" + string(p.UID) }
func (c *crowded) Above() []string             { return []string{c.top} }

func crowd(b *testing.B, m *machine) *crowded {
	b.Helper()
	if os.Geteuid() != 0 || m.v2 {
		b.Skip("needs root and cgroup v1")
	}
	c := &crowded{top: fmt.Sprintf("/nodeagent-bench-%d", os.Getpid())}
	mounts := []string{m.cpu, m.cpuacct, m.memory, m.blkio, m.pids}
	var made []string
	b.Cleanup(func() {
		for _, dir := range slices.Backward(made) {
			if err := os.Remove(dir); err != nil {
				b.Error(err)
			}
		}
	})
	mkdir := func(path string) {
		for _, mount := range mounts {
			if err := os.Mkdir(filepath.Join(mount, path), 0o755); err != nil {
				b.Fatal(err)
			}
			made = append(made, filepath.Join(mount, path))
		}
	}
	mkdir(c.top)
	for i := range benchPods {
		uid := types.UID(fmt.Sprintf("%08d-0000-4000-8000-000000000000", i))
		v := &pod.View{
			Ref: pod.Ref{UID: uid, Namespace: "bench", Name: fmt.Sprint("pod-", i)}, Sandbox: fmt.Sprintf("%064d", i),
			Pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: uid, Namespace: "bench", Name: fmt.Sprint("pod-", i)}},
		}
		mkdir(c.Parent(v.Pod))
		mkdir(c.Parent(v.Pod) + "/" + v.Sandbox)
		for j := range benchContainers {
			id := fmt.Sprintf("%063d%d", i, j+2)
			mkdir(c.Parent(v.Pod) + "/" + id)
			v.Status.ContainerStatuses = append(v.Status.ContainerStatuses, corev1.ContainerStatus{
				Name: fmt.Sprint("container-", j), ContainerID: "containerd://" + id,
				State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}},
			})
		}
		c.views = append(c.views, v)
	}
	return c
}

// BenchmarkRead is what reading the cgroups of 500 pods costs: 2,002 cgroups.
func BenchmarkRead(b *testing.B) {
	m, err := lookAtMachine()
	if err != nil {
		b.Skip(err)
	}
	c := crowd(b, m)
	r := newReader(Config{Pods: func() []*pod.View { return c.views }, Cgroups: func() Cgroups { return c }}, m, zap.NewNop())
	for _, bm := range []struct {
		name string
		need Need
		rows int
	}{
		{"resource", needResource, 2 + 3*benchPods},
		{"summary", needSummary, 2 + 4*benchPods},
		{"everything", NeedAll &^ NeedFiles, 2 + 4*benchPods},
	} {
		b.Run(bm.name, func(b *testing.B) {
			rows, err := r.read(bm.need)
			if err != nil || len(rows) != bm.rows {
				b.Fatal(len(rows), bm.rows, err)
			}
			begin := cpuTime(b)
			for b.Loop() {
				if _, err := r.read(bm.need); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpuTime(b)-begin)/1e6/float64(b.N), "cpu-ms/op")
		})
	}
	b.Run("library", func(b *testing.B) {
		groups := r.groups(NeedAll)
		handles := make([]cgroups.Manager, 0, len(groups))
		for _, g := range groups[1:] {
			paths := map[string]string{}
			for name, mount := range map[string]string{"cpu": m.cpu, "cpuacct": m.cpuacct, "memory": m.memory, "blkio": m.blkio, "pids": m.pids} {
				paths[name] = filepath.Join(mount, g.Path)
			}
			h, err := fs.NewManager(&cgroups.Cgroup{Resources: &cgroups.Resources{}}, paths)
			if err != nil {
				b.Fatal(err)
			}
			handles = append(handles, h)
		}
		begin := cpuTime(b)
		for b.Loop() {
			for _, h := range handles {
				if _, err := h.GetStats(); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64(cpuTime(b)-begin)/1e6/float64(b.N), "cpu-ms/op")
	})
}

// BenchmarkScrape is what one answer costs with 500 pods, from the request to the last
// byte: logs, writable layers and a volume of each pod included.
func BenchmarkScrape(b *testing.B) {
	m, err := lookAtMachine()
	if err != nil {
		b.Skip(err)
	}
	c := crowd(b, m)
	r := newReader(Config{Pods: func() []*pod.View { return c.views }, Cgroups: func() Cgroups { return c }}, m, zap.NewNop())
	dir := b.TempDir()
	for _, v := range c.views {
		write(b, filepath.Join(dir, "pods", string(v.Ref.UID), "etc-hosts"), "x")
		for _, status := range v.Status.ContainerStatuses {
			write(b, filepath.Join(dir, "logs", v.Ref.Namespace+"_"+v.Ref.Name+"_"+string(v.Ref.UID), status.Name, "0.log"), "x")
		}
	}
	s := NewSummarizer(Node{Name: "node", RootDir: dir, LogsDir: filepath.Join(dir, "logs"), VolumesAge: time.Minute},
		r, everyLayer{c.views, dir}, everyVolume{}, zap.NewNop())
	fresh := func() { r.mu.Lock(); r.flight = nil; r.mu.Unlock() } // as if a second had passed
	for name, answer := range map[string]func(w http.ResponseWriter, req *http.Request) error{
		"resource": func(w http.ResponseWriter, req *http.Request) error {
			s.ResourceMetrics().ServeHTTP(w, req)
			return nil
		},
		"summary": func(w http.ResponseWriter, req *http.Request) error {
			summary, err := s.Summary(req.Context(), false)
			if err != nil {
				return err
			}
			return json.NewEncoder(w).Encode(summary)
		},
	} {
		b.Run(name, func(b *testing.B) {
			ask := func() int {
				fresh()
				w := httptest.NewRecorder()
				if err := answer(w, httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/", nil)); err != nil {
					b.Fatal(err)
				}
				return w.Body.Len()
			}
			if n := ask(); n < 100*benchPods {
				b.Fatalf("an answer of %d bytes", n)
			}
			begin := cpuTime(b)
			for b.Loop() {
				ask()
			}
			b.ReportMetric(float64(cpuTime(b)-begin)/1e6/float64(b.N), "cpu-ms/op")
		})
	}
}

// everyLayer is a runtime that knows the layers of all containers.
type everyLayer struct {
	views []*pod.View
	dir   string
}

func (e everyLayer) WritableLayers(context.Context) (map[string]pod.Disk, error) {
	all := map[string]pod.Disk{}
	for _, v := range e.views {
		for _, c := range v.Status.ContainerStatuses {
			all[strings.TrimPrefix(c.ContainerID, "containerd://")] = pod.Disk{Dir: e.dir, Bytes: new(uint64(1)), Inodes: new(uint64(1)), At: time.Now()}
		}
	}
	return all, nil
}

func (e everyLayer) ImageDisks(context.Context) (pod.ImageDisks, error) {
	return pod.ImageDisks{Images: pod.Disk{Dir: e.dir}, Containers: pod.Disk{Dir: e.dir}}, nil
}

// everyVolume gives every pod one.
type everyVolume struct{}

func (everyVolume) Mounted(uid types.UID) []Volume {
	return []Volume{{Name: "v", Dir: "/" + string(uid)}}
}
func (everyVolume) Forget(string) {}
func (everyVolume) Usage(context.Context, Volume) (Usage, error) {
	return Usage{Used: 1, At: time.Now()}, nil
}
