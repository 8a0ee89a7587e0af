package cadvisor

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/stats"
)

// crowd is pods with real cgroups of cgroup v1, each with a sandbox and a container in
// which a process sleeps.
type crowd struct {
	top   string
	views []*pod.View
}

func (c *crowd) Parent(p *corev1.Pod) string { return c.top + "/pod" + string(p.UID) }
func (c *crowd) Above() []string             { return []string{c.top} }

func newCrowd(b *testing.B, pods int) *crowd {
	b.Helper()
	const sys = "/sys/fs/cgroup"
	if _, err := os.Stat(sys + "/memory/cgroup.procs"); os.Geteuid() != 0 || err != nil {
		b.Skip("needs root and cgroup v1")
	}
	c := &crowd{top: fmt.Sprintf("/nodeagent-bench-%d", os.Getpid())}
	var made []string
	var running []*exec.Cmd
	b.Cleanup(func() {
		for _, cmd := range running {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		for _, dir := range slices.Backward(made) {
			if err := os.Remove(dir); err != nil {
				b.Error(err)
			}
		}
	})
	mkdir := func(path string, pid int) {
		for _, controller := range []string{"cpu", "cpuacct", "memory", "blkio", "pids"} {
			dir := filepath.Join(sys, controller, path)
			if err := os.Mkdir(dir, 0o755); err != nil {
				b.Fatal(err)
			}
			made = append(made, dir)
			if pid == 0 {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o600); err != nil {
				b.Fatal(err)
			}
		}
	}
	sleep := func() int {
		cmd := exec.CommandContext(b.Context(), "sleep", "1h")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		running = append(running, cmd)
		return cmd.Process.Pid
	}
	mkdir(c.top, 0)
	for i := range pods {
		v := &pod.View{Sandbox: strings.Repeat("ab3d", 15) + fmt.Sprintf("%04d", i)}
		v.Ref = pod.Ref{UID: types.UID(fmt.Sprintf("%08d-0000-4000-8000-000000000000", i)), Namespace: "production", Name: fmt.Sprint("deployment-7f8d9c-", i)}
		v.Pod = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: v.Ref.UID, Namespace: v.Ref.Namespace, Name: v.Ref.Name}}
		id := strings.Repeat("cd5e", 15) + fmt.Sprintf("%04d", i)
		v.Status.ContainerStatuses = []corev1.ContainerStatus{{
			Name: "app", ContainerID: "containerd://" + id, Image: "registry.example.com/team/service:1.2.3",
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}},
		}}
		mkdir(c.Parent(v.Pod), 0)
		mkdir(c.Parent(v.Pod)+"/"+v.Sandbox, sleep())
		mkdir(c.Parent(v.Pod)+"/"+id, sleep())
		c.views = append(c.views, v)
	}
	return c
}

// BenchmarkScrape is what a scrape costs with real cgroups: three rows for each pod.
func BenchmarkScrape(b *testing.B) {
	for _, pods := range []int{110, 500} {
		b.Run(strconv.Itoa(pods), func(b *testing.B) {
			c := newCrowd(b, pods)
			reader, err := stats.NewReader(stats.Config{
				Pods: func() []*pod.View { return c.views }, Cgroups: func() stats.Cgroups { return c },
			}, zap.NewNop())
			if err != nil {
				b.Fatal(err)
			}
			h := New(Config{Source: reader, Facts: func(context.Context) Facts { return facts }, RootDir: "/var/lib/kubelet"}, zap.NewNop())
			r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/metrics/cadvisor", http.NoBody)
			r.Header.Set("Accept-Encoding", "gzip")
			h.ServeHTTP(&counter64{}, r) // which cgroups pods have is looked up once
			b.ReportAllocs()
			cpu := int64(0)
			for b.Loop() {
				b.StopTimer()
				time.Sleep(1100 * time.Millisecond) // the last read serves for a second
				b.StartTimer()
				var out counter64
				begin := cpuTime(b)
				h.ServeHTTP(&out, r)
				cpu += cpuTime(b) - begin
			}
			b.ReportMetric(float64(cpu)/1e6/float64(b.N), "cpu-ms/op")
		})
	}
}
