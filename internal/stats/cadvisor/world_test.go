package cadvisor

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/stats"
)

// source gives rows that a test made.
type source struct {
	rows []stats.Row
	err  error
}

func (s source) Rows(context.Context, stats.Need) ([]stats.Row, error) { return s.rows, s.err }

// readAt is when all rows of tests were read.
var readAt = time.UnixMilli(1795273600478)

// rowsOf are count pods with one container each, below what is above them.
func rowsOf(count int) []stats.Row {
	rows := []stats.Row{
		used(stats.Group{Kind: stats.KindRoot, Path: "/"}),
		used(stats.Group{Kind: stats.KindQoS, Path: "/kubepods/burstable"}),
	}
	for i := range count {
		ref := pod.Ref{Namespace: "production", Name: fmt.Sprintf("deployment-7f8d9c-%04d", i)}
		path := fmt.Sprintf("/kubepods/burstable/pod18082049-5afb-4c92-a774-efc7166a%04d", i)
		sandbox, container := strings.Repeat("ab3d", 15)+fmt.Sprintf("%04d", i), strings.Repeat("cd5e", 15)+fmt.Sprintf("%04d", i)
		rows = append(rows,
			used(stats.Group{Kind: stats.KindPod, Path: path, Pod: ref}),
			used(stats.Group{Kind: stats.KindSandbox, Path: path + "/" + sandbox, Pod: ref, RuntimeID: sandbox, Image: "registry.k8s.io/pause:3.10.2"}),
			used(stats.Group{Kind: stats.KindContainer, Path: path + "/" + container, Pod: ref, RuntimeID: container,
				Container: "app", Image: "registry.example.com/team/service:1.2.3"}),
		)
	}
	return rows
}

// used is a row with figures, as cgroup v1 tells them.
func used(g stats.Group) stats.Row {
	r := stats.Row{Group: g, Sample: stats.Sample{
		At: readAt, Made: readAt.Add(-time.Hour),
		CPU:       &stats.CPU{Total: 1234567891234, User: 1230000000000, System: 4560000000, Periods: 162, ThrottledPeriods: 142, ThrottledTime: 8185699391},
		Memory:    &stats.Memory{Usage: 12345678, WorkingSet: 2345678, Max: 23456789, Kernel: 434176, Content: stats.MemoryContent{RSS: 1234567, Cache: 345678}, Faults: stats.MemoryFaults{Page: 1459, MajorPage: 3, OOMKills: 1}},
		IO:        &stats.IO{},
		Processes: &stats.Processes{Count: 1, Threads: 4, ThreadsMax: stats.Unlimited, Files: 12, Sockets: 2},
		Limits:    &stats.Limits{Shares: 102, Period: 100000, Memory: 9223372036854771712, Swap: stats.Unlimited, HasCPU: true, HasMemory: true},
	}}
	limit := int64(1024)
	devices := []stats.Interface{{Name: "eth0", RxBytes: 1806, RxPackets: 20, TxBytes: 900, TxPackets: 10}}
	switch g.Kind {
	case stats.KindRoot:
		r.Processes.OpenFilesLimit, r.Network, r.Processes.Threads = &limit, devices, 0
	case stats.KindSandbox:
		r.Processes.OpenFilesLimit, r.Network = &limit, devices
	case stats.KindContainer:
		r.Processes.OpenFilesLimit = &limit
		r.Limits.Quota, r.Limits.Memory, r.Limits.Swap = 10000, 67108864, 67108864
	case stats.KindSystem, stats.KindQoS, stats.KindPod:
	}
	return r
}

var facts = Facts{
	MachineID: "3d12", SystemUUID: "4e23", BootID: "4f74", KernelVersion: "6.18.44", OSImage: `Debian "12"`,
	Cores: 2, MemoryBytes: 25276514304,
}

// newHandler is a handler on a machine with one disk and two memory modules.
func newHandler(tb testing.TB, s Source) *Handler {
	tb.Helper()
	root := tb.TempDir()
	for path, content := range map[string]string{
		"proc/self/mountinfo": "22 1 254:0 / / rw - ext4 /dev/vda rw\n" +
			"23 22 0:20 / /dev/shm rw - tmpfs tmpfs rw\n" +
			"24 22 254:0 /home /srv rw - ext4 /dev/vda rw\n" +
			"25 22 0:5 / /proc rw - proc proc rw\n" +
			"26 22 0:31 / /var/lib/kubelet/pods/u/volumes/kubernetes.io~projected/t rw - tmpfs tmpfs rw\n" +
			"27 22 8:16 / /var/lib/kubelet/plugins/csi/globalmount rw - xfs /dev/sdb rw\n" +
			"28 22 0:32 / /var/lib/kubelet/pods/u/volumes/kubernetes.io~nfs/n rw - nfs4 server:/x rw\n" +
			"29 22 0:33 / /run/containerd/sandboxes/" + strings.Repeat("ab", 32) + "/shm rw - tmpfs shm rw\n" +
			"30 22 0:34 / /run/containerd/" + strings.Repeat("cd", 32) + "/rootfs rw - overlay overlay rw\n" +
			"31 22 0:35 / /opt/merged rw - overlay overlay rw\n",
		"proc/diskstats": " 254 0 vda 8430859 5 16 7 9 10 11 12 0 14 26462783\n   8 16 sdb 1 2 3 4 5 6 7 8 9 10 11\n",
		"proc/cpuinfo":   "processor : 0\nphysical id : 0\ncore id : 0\n\nprocessor : 1\nphysical id : 0\ncore id : 1\n",
		"sys/devices/system/edac/mc/mc0/dimm0/size":          "8192\n",
		"sys/devices/system/edac/mc/mc0/dimm0/dimm_mem_type": "Registered-DDR4\n",
		"sys/devices/system/edac/mc/mc0/dimm1/size":          "8192\n",
		"sys/devices/system/edac/mc/mc0/dimm1/dimm_mem_type": "Registered-DDR4\n",
	} {
		full := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	h := New(Config{Source: s, Facts: func(context.Context) Facts { return facts }, RootDir: "/var/lib/kubelet", Root: root}, zap.NewNop())
	h.mounts.statfs = func(_ string, st *unix.Statfs_t) error {
		*st = unix.Statfs_t{Frsize: 4096, Blocks: 1000, Bfree: 400, Bavail: 300, Files: 50, Ffree: 20}
		return nil
	}
	return h
}

// get scrapes without compression.
func get(tb testing.TB, h http.Handler) []byte {
	tb.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(tb.Context(), http.MethodGet, "/metrics/cadvisor", http.NoBody))
	if w.Code != http.StatusOK {
		tb.Fatalf("got %d: %s", w.Code, w.Body)
	}
	return w.Body.Bytes()
}

// parse reads a page as Prometheus' own parser does, which refuses families that come
// twice; it fails the test for lines that come twice.
func parse(tb testing.TB, page []byte) map[string]*dto.MetricFamily {
	tb.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(page))
	if err != nil {
		tb.Fatalf("the page cannot be parsed: %v", err)
	}
	for name, f := range families {
		seen := map[string]bool{}
		for _, m := range f.GetMetric() {
			key := labelsOf(m)
			if seen[key] {
				tb.Errorf("%s{%s} is there twice", name, key)
			}
			seen[key] = true
		}
	}
	return families
}

func labelsOf(m *dto.Metric) string {
	var b strings.Builder
	for _, l := range m.GetLabel() {
		fmt.Fprintf(&b, "%s=%q,", l.GetName(), l.GetValue())
	}
	return b.String()
}

// label is a label's value.
func label(m *dto.Metric, name string) (string, bool) {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue(), true
		}
	}
	return "", false
}

// value is the figure of a line, whatever its type.
func value(m *dto.Metric) float64 {
	if m.GetCounter() != nil {
		return m.GetCounter().GetValue()
	}
	return m.GetGauge().GetValue()
}
