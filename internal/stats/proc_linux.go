package stats

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// meminfo is the machine's memory, in bytes.
type meminfo struct{ total, swapTotal, swapFree uint64 }

// meminfo is zero where it cannot be read.
func (m *machine) meminfo(*scratch) meminfo {
	fs, err := procfs.NewFS(m.proc)
	if err != nil {
		return meminfo{}
	}
	info, err := fs.Meminfo()
	if err != nil {
		return meminfo{}
	}
	value := func(n *uint64) uint64 {
		if n == nil {
			return 0
		}
		return *n
	}
	return meminfo{total: value(info.MemTotalBytes), swapTotal: value(info.SwapTotalBytes), swapFree: value(info.SwapFreeBytes)}
}

// bootTime is when the machine was started.
func bootTime() time.Time {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return time.Time{}
	}
	return time.Now().Add(-time.Duration(info.Uptime) * time.Second).Truncate(time.Second)
}

// tasks is how many tasks the machine has and may have; -1 where that is not known.
func (m *machine) tasks(s *scratch) (current, most int64) {
	current, most = -1, -1
	for _, file := range []string{"pid_max", "threads-max"} {
		if n, ok := s.number(m.proc, "/sys/kernel", file); ok && n <= math.MaxInt64 && (most < 0 || int64(n) < most) {
			most = int64(n)
		}
	}
	if b, err := s.read(m.proc, "", "loadavg"); err == nil {
		if fields := strings.Fields(string(b)); len(fields) > 3 {
			_, all, _ := strings.Cut(fields[3], "/")
			if n, err := strconv.ParseInt(all, 10, 64); err == nil {
				current = n
			}
		}
	}
	return current, most
}

// network reads the devices that a process sees. They are counted up to a bound: a
// pod that may make some can make many.
func (m *machine) network(s *scratch, pid int) ([]Interface, error) {
	b, err := s.read(m.proc, "/"+strconv.Itoa(pid)+"/net", "dev")
	if err != nil {
		return nil, err
	}
	var devices []Interface
	lines(b, func(line []byte) {
		if d, ok := parseDevice(line); ok && len(devices) < maxDevices && !passedOver(d.Name) {
			devices = append(devices, d)
		}
	})
	return devices, nil
}

// passedOver are the devices that cAdvisor does not show.
func passedOver(name string) bool {
	name = strings.ToLower(name)
	for _, prefix := range []string{"lo", "veth", "docker", "nerdctl"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// deviceFields is how many numbers there are about a device.
const deviceFields = 16

// parseDevice takes a line of /proc/net/dev.
func parseDevice(line []byte) (Interface, bool) {
	at := bytes.LastIndexByte(line, ':')
	if at < 0 {
		return Interface{}, false
	}
	d := Interface{Name: string(bytes.TrimSpace(line[:at]))}
	fields := bytes.Fields(line[at+1:])
	if len(fields) != deviceFields || d.Name == "" {
		return Interface{}, false
	}
	for i, to := range map[int]*uint64{
		0: &d.RxBytes, 1: &d.RxPackets, 2: &d.RxErrors, 3: &d.RxDropped,
		8: &d.TxBytes, 9: &d.TxPackets, 10: &d.TxErrors, 11: &d.TxDropped,
	} {
		n, ok := parse(fields[i])
		if !ok {
			return Interface{}, false
		}
		*to = n
	}
	return d, true
}

// firstPID is the first process of a cgroup.procs, 0 if it has none that we can see.
func firstPID(b []byte) int {
	line, _, _ := bytes.Cut(b, []byte{'\n'})
	n, ok := parse(line)
	if !ok || n > math.MaxInt32 {
		return 0
	}
	return int(n)
}

// made is when a cgroup was made. The directory's own time changes with what is made
// in it; that of a file which nobody writes does not.
func (m *machine) made(path string) time.Time {
	file := "/cgroup.clone_children"
	if m.v2 {
		file = "/cgroup.events"
	}
	var first time.Time
	for _, name := range []string{"", file} {
		var st unix.Stat_t
		if err := unix.Lstat(m.anchor()+path+name, &st); err != nil {
			continue
		}
		if at := time.Unix(st.Mtim.Unix()); first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}
