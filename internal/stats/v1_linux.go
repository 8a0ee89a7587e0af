package stats

import (
	"bytes"
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

const second = uint64(time.Second)

// sampleV1 reads a cgroup that has a directory in each controller's hierarchy.
func (m *machine) sampleV1(s *scratch, path string, need Need) (Sample, error) {
	out := Sample{At: time.Now()}
	if need.has(NeedCPU | NeedCPUDetail) {
		cpu, err := m.cpuV1(s, path, need)
		if err != nil {
			return Sample{}, err
		}
		out.CPU = cpu
	}
	if need.has(NeedMemory | NeedMemoryDetail) {
		memory, err := m.memoryV1(s, path, need)
		if err != nil {
			return Sample{}, err
		}
		out.Memory = memory
	}
	if need.has(NeedLimits) {
		out.Limits = m.limitsV1(s, path, need)
	}
	if need.has(NeedIO) && m.blkio != "" {
		out.IO = m.ioV1(s, path)
	}
	m.threads(s, m.pids, path, need, &out)
	procs := m.cpu // where cAdvisor looks: processes need not be in the same cgroup everywhere
	if procs == "" {
		procs = m.anchor()
	}
	m.count(s, procs, path, need, &out)
	return out, nil
}

func (m *machine) cpuV1(s *scratch, path string, need Need) (*CPU, error) {
	if m.cpuacct == "" {
		return nil, nil
	}
	b, err := s.read(m.cpuacct, path, "cpuacct.usage")
	if err != nil {
		return nil, err
	}
	cpu := &CPU{}
	cpu.Total, _ = parse(bytes.TrimSpace(b))
	if !need.has(NeedCPUDetail) {
		return cpu, nil
	}
	if b, err := s.read(m.cpuacct, path, "cpuacct.stat"); err == nil {
		flat(b, func(key []byte, n uint64) {
			switch string(key) {
			case "user":
				cpu.User = n * (second / m.ticks)
			case "system":
				cpu.System = n * (second / m.ticks)
			}
		})
	}
	if m.cpu == "" {
		return cpu, nil
	}
	if b, err := s.read(m.cpu, path, "cpu.stat"); err == nil {
		flat(b, func(key []byte, n uint64) {
			switch string(key) {
			case "nr_periods":
				cpu.Periods = n
			case "nr_throttled":
				cpu.ThrottledPeriods = n
			case "throttled_time":
				cpu.ThrottledTime = n
			case "nr_bursts":
				cpu.Bursts = n
			case "burst_time":
				cpu.BurstTime = n
			}
		})
	}
	return cpu, nil
}

func (m *machine) memoryV1(s *scratch, path string, need Need) (*Memory, error) {
	if m.memory == "" {
		return nil, nil
	}
	b, err := s.read(m.memory, path, "memory.stat")
	if err != nil {
		return nil, err
	}
	memory := &Memory{}
	flat(b, memory.fieldV1)
	memory.Usage, _ = s.number(m.memory, path, "memory.usage_in_bytes")
	memory.WorkingSet = less(memory.Usage, memory.Content.InactiveFile)
	if need.has(NeedMemoryDetail) {
		memory.Max, _ = s.number(m.memory, path, "memory.max_usage_in_bytes")
		memory.Failures, _ = s.number(m.memory, path, "memory.failcnt")
		memory.Kernel, _ = s.number(m.memory, path, "memory.kmem.usage_in_bytes")
		if b, err := s.read(m.memory, path, "memory.oom_control"); err == nil {
			flat(b, func(key []byte, n uint64) {
				if string(key) == "oom_kill" {
					memory.Faults.OOMKills = n
				}
			})
		}
	}
	return memory, nil
}

// fieldV1 takes a line of memory.stat. Those of the cgroup alone are only taken
// where cAdvisor takes them.
func (m *Memory) fieldV1(key []byte, n uint64) {
	switch string(key) {
	case "pgfault":
		m.Faults.Page = n
	case "pgmajfault":
		m.Faults.MajorPage = n
	case "workingset_refault_file":
		m.Faults.RefaultedFile = n
	case "workingset_refault_anon":
		m.Faults.RefaultedAnon = n
	case "total_cache":
		m.Content.Cache = n
	case "total_rss":
		m.Content.RSS = n
	case "total_mapped_file":
		m.Content.Mapped = n
	case "total_swap":
		m.Swap = n
	case "total_active_file":
		m.Content.ActiveFile = n
	case "total_inactive_file":
		m.Content.InactiveFile = n
	}
}

// noLimitV1 is below what the kernel tells where there is no limit, which depends on
// the size of a page.
const noLimitV1 = 1 << 62

func (m *machine) limitsV1(s *scratch, path string, need Need) *Limits {
	l := &Limits{}
	if need.has(NeedCPULimits) && m.cpu != "" {
		l.Shares, l.HasCPU = s.number(m.cpu, path, "cpu.shares")
		l.Period, _ = s.number(m.cpu, path, "cpu.cfs_period_us")
		l.Quota, _ = s.number(m.cpu, path, "cpu.cfs_quota_us") // -1 is no number: no quota
	}
	if need.has(NeedMemoryLimits) && m.memory != "" {
		l.Memory, l.HasMemory = s.number(m.memory, path, "memory.limit_in_bytes")
	}
	// What is accounted for together with swap cannot be limited when memory alone is
	// not.
	if unlimited := l.HasMemory && l.Memory > noLimitV1; unlimited {
		l.Swap, l.HasSwap = l.Memory, true
	} else if need.has(NeedSwapLimits) && m.memory != "" {
		l.Swap, l.HasSwap = s.number(m.memory, path, "memory.memsw.limit_in_bytes")
	}
	if need.has(NeedCPULimits) && m.memory != "" {
		l.Reservation, _ = s.number(m.memory, path, "memory.soft_limit_in_bytes")
	}
	return l
}

// bytesV1 and countsV1 are where operations are told, the first that is there: what
// the BFQ scheduler knows, what CFQ knew, and what is counted for throttling.
var (
	bytesV1 = [...]string{
		"blkio.bfq.io_service_bytes_recursive", "blkio.io_service_bytes_recursive",
		"blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_service_bytes",
	}
	countsV1 = [...]string{
		"blkio.bfq.io_serviced_recursive", "blkio.io_serviced_recursive",
		"blkio.throttle.io_serviced_recursive", "blkio.throttle.io_serviced",
	}
)

// lookAtIO finds out which files are worth reading: what counts what is below, too, and
// tells nothing at the root, tells nothing anywhere.
func (m *machine) lookAtIO(need Need) {
	if m.v2 || m.blkio == "" || !need.has(NeedIO) {
		return
	}
	s := newScratch()
	defer s.close()
	silent := uint32(0)
	for i, file := range bytesV1[:len(bytesV1)-1] {
		b, err := s.read(m.blkio, "/", file)
		if err != nil && !errors.Is(err, unix.ENOENT) || err == nil && tells(b) {
			continue
		}
		silent |= 1 << i
		if last := len(bytesV1) - 1; i == last-1 && err == nil {
			silent |= 1 << last // the same figures, without what is below
		}
	}
	m.silentIO.Store(silent)
}

func (m *machine) ioV1(s *scratch, path string) *IO {
	io := &IO{}
	silent := m.silentIO.Load()
	for i, file := range bytesV1 {
		if silent&(1<<i) != 0 {
			continue
		}
		b, err := s.read(m.blkio, path, file)
		if err != nil || !tells(b) && i < len(bytesV1)-1 {
			continue
		}
		lines(b, func(line []byte) { io.entryV1(line, true) })
		if b, err := s.read(m.blkio, path, countsV1[i]); err == nil {
			lines(b, func(line []byte) { io.entryV1(line, false) })
		}
		break
	}
	return io
}

// tells reports whether a file has lines about devices, and not the sum alone.
func tells(b []byte) bool { return bytes.ContainsRune(b, ':') }

// maxDevices bounds how many block devices of a cgroup are told of.
const maxDevices = 256

// entryV1 takes a line "8:0 Read 4096".
func (io *IO) entryV1(line []byte, inBytes bool) {
	number, rest, ok := bytes.Cut(line, []byte{' '})
	op, amount, ok2 := bytes.Cut(rest, []byte{' '})
	n, ok3 := parse(amount)
	if !ok || !ok2 || !ok3 {
		return
	}
	d := io.device(number)
	if d == nil {
		return
	}
	pick := func(size, count *uint64) {
		if inBytes {
			*size = n
		} else {
			*count = n
		}
	}
	switch string(op) {
	case "Read":
		pick(&d.ReadBytes, &d.Reads)
	case "Write":
		pick(&d.WriteBytes, &d.Writes)
	case "Sync":
		pick(&d.SyncBytes, &d.Syncs)
	case "Async":
		pick(&d.AsyncBytes, &d.Asyncs)
	case "Discard":
		pick(&d.DiscardBytes, &d.Discards)
	case "Total":
		pick(&d.TotalBytes, &d.Total)
	}
}

// device finds the device "8:0", or notes it.
func (io *IO) device(number []byte) *Device {
	a, b, ok := bytes.Cut(number, []byte{':'})
	major, ok2 := parse(a)
	minor, ok3 := parse(b)
	if !ok || !ok2 || !ok3 {
		return nil
	}
	for i := range io.Devices {
		if d := &io.Devices[i]; d.Major == major && d.Minor == minor {
			return d
		}
	}
	if len(io.Devices) >= maxDevices {
		return nil
	}
	io.Devices = append(io.Devices, Device{Major: major, Minor: minor})
	return &io.Devices[len(io.Devices)-1]
}

// threads reads how many tasks there are; 0 as their limit is none, as cAdvisor has
// it.
func (m *machine) threads(s *scratch, mount, path string, need Need, out *Sample) {
	if !need.has(NeedThreads) || mount == "" {
		return
	}
	n, ok := s.number(mount, path, "pids.current")
	if !ok {
		return
	}
	limit, _ := s.number(mount, path, "pids.max")
	out.processes().Threads = n
	out.processes().ThreadsMax = limit
}

// count reads how many processes are in the cgroup itself.
func (m *machine) count(s *scratch, mount, path string, need Need, out *Sample) {
	if !need.has(NeedProcesses) {
		return
	}
	if b, err := s.read(mount, path, "cgroup.procs"); err == nil {
		out.processes().Count = uint64(bytes.Count(b, []byte{'\n'}))
		out.pid = firstPID(b)
		if need.has(NeedFiles) {
			m.files(s, b, out.Processes)
		}
	}
}

func (s *Sample) processes() *Processes {
	if s.Processes == nil {
		s.Processes = &Processes{}
	}
	return s.Processes
}
