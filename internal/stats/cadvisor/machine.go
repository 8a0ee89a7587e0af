package cadvisor

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// topology is what of the machine does not change while the number of processors does
// not.
type topology struct {
	mu    sync.Mutex
	known bool
	// of is the number of processors that it was read for.
	of int64
	hardware
}

// hardware counts processors, and memory modules by their type.
type hardware struct {
	physical, sockets int
	modules           []modules
}

// modules are memory modules of one type.
type modules struct {
	kind  string
	count uint64
	bytes uint64
}

func (t *topology) read(root string, cores int64) hardware {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.known || t.of != cores {
		t.known, t.of, t.hardware = true, cores, lookAt(root)
	}
	return t.hardware
}

// maxFile bounds what is read of a file of the kernel: thousands of processors.
const maxFile = 16 << 20

func lookAt(root string) hardware {
	var h hardware
	if file, err := os.Open(filepath.Join(root, "proc/cpuinfo")); err == nil {
		content, _ := io.ReadAll(io.LimitReader(file, maxFile))
		_ = file.Close()
		h.physical, h.sockets = distinct(string(content), "core id"), distinct(string(content), "physical id")
	}
	if h.physical == 0 {
		h.physical = distinctFiles(root, "core_id", "physical_package_id")
	}
	if h.sockets == 0 {
		h.sockets = distinctFiles(root, "physical_package_id")
	}
	h.modules = lookAtModules(root)
	return h
}

// distinct counts the values that a key has in /proc/cpuinfo.
func distinct(cpuinfo, key string) int {
	seen := map[string]bool{}
	for line := range strings.Lines(cpuinfo) {
		if k, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == key {
			seen[strings.TrimSpace(value)] = true
		}
	}
	return len(seen)
}

// distinctFiles counts the values that properties of processors have together.
func distinctFiles(root string, properties ...string) int {
	dirs, _ := filepath.Glob(filepath.Join(root, "sys/bus/cpu/devices/cpu*/topology")) // the pattern is sound
	seen := map[string]bool{}
	for _, dir := range dirs {
		values := make([]string, len(properties))
		for i, p := range properties {
			values[i] = short(filepath.Join(dir, p))
		}
		if values[0] != "" {
			seen[strings.Join(values, " ")] = true
		}
	}
	return len(seen)
}

// lookAtModules counts the memory modules that the kernel's EDAC drivers know; no
// machine without such a driver has any.
func lookAtModules(root string) []modules {
	dirs, _ := filepath.Glob(filepath.Join(root, "sys/devices/system/edac/mc/mc[0-9]*/dimm[0-9]*")) // the pattern is sound
	var all []modules
	for _, dir := range dirs {
		kind := short(filepath.Join(dir, "dimm_mem_type"))
		megabytes, err := strconv.ParseUint(short(filepath.Join(dir, "size")), 10, 40)
		if kind == "" || err != nil {
			continue
		}
		at := slices.IndexFunc(all, func(m modules) bool { return m.kind == kind })
		if at < 0 {
			at = len(all)
			all = append(all, modules{kind: kind})
		}
		all[at].count++
		all[at].bytes += megabytes << 20
	}
	return all
}

// short reads a file of one line.
func short(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, 256))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(content))
}

// version writes what the machine runs. The kubelet shows no version of Docker and
// none of cAdvisor.
func version(t *text, f Facts) {
	t.family("cadvisor_version_info", "Versions of the kernel and of the operating system, as labels.", gauge)
	var b []byte
	for i, l := range [][2]string{{"cadvisorRevision", ""}, {"cadvisorVersion", ""}, {"dockerVersion", ""}, {"kernelVersion", f.KernelVersion}, {"osVersion", f.OSImage}} {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendLabel(b, l[0], l[1])
	}
	t.begin(b)
	t.count(1)
	t.end(nil)
}

// machine writes what the machine has.
func machine(t *text, h hardware, f Facts) {
	b := appendLabel(nil, "boot_id", f.BootID)
	b = append(b, ',')
	b = appendLabel(b, "machine_id", f.MachineID)
	b = append(b, ',')
	b = appendLabel(b, "system_uuid", f.SystemUUID)
	line := func(n uint64, more ...string) {
		t.begin(b)
		for i := 0; i+1 < len(more); i += 2 {
			t.label(more[i], more[i+1])
		}
		t.count(n)
		t.end(nil)
	}
	one := func(name, help string, n int64) {
		t.family(name, help, gauge)
		line(uint64(max(n, 0)))
	}
	one("machine_cpu_physical_cores", "Physical cores.", int64(h.physical))
	one("machine_cpu_cores", "Processors that are online.", f.Cores)
	one("machine_cpu_sockets", "Processor sockets.", int64(h.sockets))
	one("machine_cpu_books", "Processor books of a mainframe.", 0)
	one("machine_cpu_drawers", "Processor drawers of a mainframe.", 0)
	one("machine_memory_bytes", "Memory, in bytes.", f.MemoryBytes)
	one("machine_swap_bytes", "Swap, in bytes.", f.SwapBytes)
	t.family("machine_dimm_count", "Memory modules by type.", gauge)
	for _, m := range h.modules {
		line(m.count, "type", m.kind)
	}
	t.family("machine_dimm_capacity_bytes", "Memory of the modules of a type, in bytes.", gauge)
	for _, m := range h.modules {
		line(m.bytes, "type", m.kind)
	}
	t.family("machine_nvm_capacity", "Persistent memory by mode; the kubelet does not look for any.", gauge)
	line(0, "mode", "memory_mode")
	line(0, "mode", "app_direct_mode")
	one("machine_nvm_avg_power_budget_watts", "Power budget of persistent memory; the kubelet does not look for any.", 0)
	t.alone("machine_scrape_error", "1 when the machine could not be looked at, else 0.", f.MemoryBytes == 0)
}
