package cadvisor

import (
	"bufio"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/stats"
)

// TestFamiliesAreTheKubelets compares with what was recorded of the kubelet: every
// family, its type and labels, whether lines have timestamps, and which rows have it.
func TestFamiliesAreTheKubelets(t *testing.T) {
	t.Parallel()
	got := map[string]string{}
	for name, f := range parse(t, get(t, newHandler(t, source{rows: rowsOf(2)}))) {
		got[name] = summary(t, name, f)
	}
	file, err := os.Open("testdata/kubelet-v1.37.1-cgroupv1.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		name, want, _ := strings.Cut(lines.Text(), " ")
		if got[name] != want {
			t.Errorf("%s\n got %s\nwant %s", name, got[name], want)
		}
		delete(got, name)
	}
	// The machine that was recorded has no EDAC driver.
	for _, name := range []string{"machine_dimm_count", "machine_dimm_capacity_bytes"} {
		if got[name] != "gauge boot_id,machine_id,system_uuid,type plain machine" {
			t.Errorf("%s: got %q", name, got[name])
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("not the kubelet's: %v", slices.Sorted(maps.Keys(got)))
	}
}

// summary is a family as the recorded list has it.
func summary(t *testing.T, name string, f *dto.MetricFamily) string {
	t.Helper()
	kinds, labels, stamped := map[string]bool{}, "", ""
	for i, m := range f.GetMetric() {
		var keys []string
		for _, l := range m.GetLabel() {
			keys = append(keys, l.GetName())
		}
		slices.Sort(keys)
		with := "plain"
		if m.TimestampMs != nil {
			with = "stamped"
		}
		if all := strings.Join(keys, ","); i == 0 {
			labels, stamped = all, with
		} else if all != labels || with != stamped {
			t.Errorf("%s: lines differ: %s %s, %s %s", name, labels, stamped, all, with)
		}
		kinds[kindOf(m)] = true
	}
	if labels == "" {
		labels = "-"
	}
	var in []string
	for _, k := range []string{"machine", "root", "qos", "pod", "sandbox", "container"} {
		if kinds[k] {
			in = append(in, k)
		}
	}
	return strings.Join([]string{strings.ToLower(f.GetType().String()), labels, stamped, strings.Join(in, ",")}, " ")
}

func kindOf(m *dto.Metric) string {
	id, ok := label(m, "id")
	name, _ := label(m, "name")
	container, _ := label(m, "container")
	pod, _ := label(m, "pod")
	switch {
	case !ok:
		return "machine"
	case id == "/":
		return "root"
	case container != "":
		return "container"
	case name != "":
		return "sandbox"
	case pod != "":
		return "pod"
	default:
		return "qos"
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	text := string(get(t, newHandler(t, source{rows: rowsOf(1)})))
	id := strings.Repeat("cd5e", 15) + "0000"
	container := `{container="app",id="/kubepods/burstable/pod18082049-5afb-4c92-a774-efc7166a0000/` + id +
		`",image="registry.example.com/team/service:1.2.3",name="` + id + `",namespace="production",pod="deployment-7f8d9c-0000"`
	const machine = `{boot_id="4f74",machine_id="3d12",system_uuid="4e23"`
	const root = `{container="",id="/",image="",name="",namespace="",pod=""`
	for _, want := range []string{
		`container_cpu_usage_seconds_total` + container + `,cpu="total"} 1234.567891234 1795273600478`,
		`container_cpu_user_seconds_total` + container + `} 1230 1795273600478`,
		`container_cpu_cfs_throttled_seconds_total` + container + `} 8.185699391 1795273600478`,
		`container_memory_working_set_bytes` + container + `} 2345678 1795273600478`,
		`container_memory_failures_total` + container + `,failure_type="pgmajfault",scope="hierarchy"} 3 1795273600478`,
		`container_oom_events_total` + container + `} 1 1795273600478`,
		`container_spec_cpu_quota` + container + `} 10000`,
		`container_spec_memory_limit_bytes` + container + `} 67108864`,
		`container_start_time_seconds` + container + `} 1795270000`,
		`container_health_state` + container + `} -1 1795273600478`,
		`container_threads_max` + container + `} 0 1795273600478`,
		`container_ulimits_soft` + container + `,ulimit="max_open_files"} 1024 1795273600478`,
		// A limit that is none is 0; the root has the machine's.
		`container_spec_memory_limit_bytes{container="",id="/kubepods/burstable",image="",name="",namespace="",pod=""} 0`,
		`container_spec_memory_limit_bytes` + root + `} 25276514304`,
		`container_spec_memory_swap_limit_bytes` + root + `} 0`,
		`container_fs_usage_bytes` + root + `,device="/dev/vda"} 2457600 1795273600478`,
		`container_fs_reads_total` + root + `,device="/dev/vda"} 8430859 1795273600478`,
		`container_fs_io_time_weighted_seconds_total` + root + `,device="/dev/vda"} 0.026462783 1795273600478`,
		`container_fs_inodes_total` + root + `,device="/dev/shm"} 50 1795273600478`,
		`container_fs_limit_bytes` + root + `,device="/dev/sdb"} 4096000 1795273600478`,
		`container_fs_limit_bytes` + root + `,device="overlay_0-35"} 4096000 1795273600478`,
		`cadvisor_version_info{cadvisorRevision="",cadvisorVersion="",dockerVersion="",kernelVersion="6.18.44",osVersion="Debian \"12\""} 1`,
		`machine_cpu_physical_cores` + machine + `} 2`,
		`machine_cpu_sockets` + machine + `} 1`,
		`machine_memory_bytes` + machine + `} 25276514304`,
		`machine_dimm_capacity_bytes` + machine + `,type="Registered-DDR4"} 17179869184`,
		`container_scrape_error 0`,
		`machine_scrape_error 0`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			name, _, _ := strings.Cut(want, "{")
			t.Errorf("missing: %s\nthere is: %s", want, linesOf(text, name))
		}
	}
	for _, not := range []string{"kubernetes.io~", "server:/x", "/sandboxes/", "overlay_0-34", `"/proc"`} {
		if strings.Contains(text, not) {
			t.Errorf("%s is not the machine's", not)
		}
	}
}

func linesOf(text, name string) string {
	var found []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, name+"{") {
			found = append(found, line)
		}
	}
	return strings.Join(found, "")
}

// TestHostileNames: what pods, images and mounts are called cannot break the page.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	hostile := "a\"b\\c\nd}\xff # 1\r\u2028" + strings.Repeat("x", 1<<20)
	row := used(stats.Group{Kind: stats.KindContainer, Path: "/" + hostile, Pod: pod.Ref{Namespace: hostile, Name: hostile},
		Container: hostile, Image: hostile, RuntimeID: hostile})
	row.Network = []stats.Interface{{Name: hostile}}
	row.IO.Devices = []stats.Device{{Name: hostile, Major: 1}}
	page := get(t, newHandler(t, source{rows: []stats.Row{row}}))
	families := parse(t, page)
	got, _ := label(families["container_memory_rss"].GetMetric()[0], "image")
	if !strings.HasPrefix(got, "a\"b\\c\nd}\uFFFD # 1\r\u2028xx") || len(got) > maxValue+8 {
		t.Errorf("got %d bytes: %.40q", len(got), got)
	}
	if got, _ := label(families["container_network_receive_bytes_total"].GetMetric()[0], "interface"); !strings.HasPrefix(got, "a\"b") {
		t.Errorf("interface: %.40q", got)
	}
}

// TestNoLineTwice: devices that have no name, or that of a file system, are shown once.
func TestNoLineTwice(t *testing.T) {
	t.Parallel()
	rows := rowsOf(1)
	for i := range rows {
		rows[i].IO.Devices = []stats.Device{
			{Name: "/dev/vda", Major: 254, ReadBytes: 4096, Reads: 1, TotalBytes: 4096, Total: 1},
			{Major: 9, ReadBytes: 1}, {Major: 9, Minor: 1, ReadBytes: 2},
		}
	}
	rows = append(rows, rows[1])                                    // two daemons in one cgroup
	families := parse(t, get(t, newHandler(t, source{rows: rows}))) // fails for those that come twice
	operations := map[string]float64{}
	for _, m := range families["container_blkio_device_usage_total"].GetMetric() {
		if id, _ := label(m, "id"); id == "/" {
			minor, _ := label(m, "minor")
			major, _ := label(m, "major")
			operation, _ := label(m, "operation")
			operations[major+":"+minor+" "+operation] = value(m)
		}
	}
	want := map[string]float64{
		"254:0 Read": 4096, "254:0 Write": 0, "254:0 Sync": 0, "254:0 Async": 0, "254:0 Discard": 0, "254:0 Total": 4096,
		"9:0 Read": 1, "9:0 Write": 0, "9:1 Read": 2, "9:1 Write": 0,
	}
	if !maps.Equal(operations, want) {
		t.Errorf("got %v", operations)
	}
	reads := map[string]float64{}
	for _, m := range families["container_fs_reads_total"].GetMetric() {
		if id, _ := label(m, "id"); id == "/" {
			device, _ := label(m, "device")
			reads[device] = value(m)
		}
	}
	if reads["/dev/vda"] != 1 || len(reads) != 5 {
		t.Errorf("the root's reads: %v", reads)
	}
}

// TestPressureAndV2: what only cgroup v2 has.
func TestPressureAndV2(t *testing.T) {
	t.Parallel()
	row := used(stats.Group{Kind: stats.KindPod, Path: "/kubepods.slice/kubepods-pod1.slice", Pod: pod.Ref{Namespace: "n", Name: "p"}})
	row.CPU.Pressure = &stats.Pressure{Some: stats.Stall{Total: 1500000000}, Full: stats.Stall{Total: 2000}}
	row.Memory.Pressure = &stats.Pressure{}
	row.IO.Pressure = &stats.Pressure{Some: stats.Stall{Total: 1000}}
	families := parse(t, get(t, newHandler(t, source{rows: []stats.Row{row, used(stats.Group{Kind: stats.KindQoS, Path: "/old"})}})))
	for name, want := range map[string]float64{
		"container_pressure_cpu_waiting_seconds_total": 1.5, "container_pressure_cpu_stalled_seconds_total": 0.000002,
		"container_pressure_memory_waiting_seconds_total": 0, "container_pressure_memory_stalled_seconds_total": 0,
		"container_pressure_io_waiting_seconds_total": 0.000001, "container_pressure_io_stalled_seconds_total": 0,
	} {
		metrics := families[name].GetMetric()
		if len(metrics) != 1 || value(metrics[0]) != want {
			t.Errorf("%s: got %v, want %v", name, metrics, want)
		}
	}
}

// TestWithoutFigures: a cgroup of which nothing could be read is harmless.
func TestWithoutFigures(t *testing.T) {
	t.Parallel()
	families := parse(t, get(t, newHandler(t, source{rows: []stats.Row{{Group: stats.Group{Path: "/x", Kind: stats.KindPod}}}})))
	if got := len(families["container_last_seen"].GetMetric()); got != 1 {
		t.Errorf("got %d rows", got)
	}
	if families["container_memory_rss"] != nil {
		t.Error("memory out of nothing")
	}
}

func TestScrapeError(t *testing.T) {
	t.Parallel()
	families := parse(t, get(t, newHandler(t, source{rows: rowsOf(1), err: errors.New("no cgroups")})))
	if got := value(families["container_scrape_error"].GetMetric()[0]); got != 1 {
		t.Errorf("got %v", got)
	}
	if families["container_memory_rss"] == nil {
		t.Error("what could be read is missing")
	}
}
