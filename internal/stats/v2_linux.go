package stats

import (
	"bytes"
	"errors"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const microsecond = uint64(time.Microsecond)

// sampleV2 reads a cgroup in the one hierarchy that there is.
func (m *machine) sampleV2(s *scratch, path string, need Need) (Sample, error) {
	out := Sample{At: time.Now()}
	if need.has(NeedCPU | NeedCPUDetail) {
		b, err := s.read(m.unified, path, "cpu.stat")
		if err != nil {
			return Sample{}, err
		}
		out.CPU = &CPU{}
		flat(b, out.CPU.fieldV2)
	}
	if need.has(NeedMemory | NeedMemoryDetail) {
		memory, err := m.memoryV2(s, path, need)
		if err != nil {
			return Sample{}, err
		}
		out.Memory = memory
	}
	if need.has(NeedLimits) {
		out.Limits = m.limitsV2(s, path, need)
	}
	if need.has(NeedIO) {
		if b, err := s.read(m.unified, path, "io.stat"); err == nil {
			out.IO = &IO{}
			lines(b, out.IO.entryV2)
		}
	}
	if need.has(NeedPressure) && m.pressure {
		m.pressures(s, path, need, &out)
	}
	m.threads(s, m.unified, path, need, &out)
	m.count(s, m.unified, path, need, &out)
	return out, nil
}

func (c *CPU) fieldV2(key []byte, n uint64) {
	switch string(key) {
	case "usage_usec":
		c.Total = n * microsecond
	case "user_usec":
		c.User = n * microsecond
	case "system_usec":
		c.System = n * microsecond
	case "nr_periods":
		c.Periods = n
	case "nr_throttled":
		c.ThrottledPeriods = n
	case "throttled_usec":
		c.ThrottledTime = n * microsecond
	case "nr_bursts":
		c.Bursts = n
	case "burst_usec":
		c.BurstTime = n * microsecond
	}
}

// memoryV2 reads the memory of a cgroup that has the controller: the root has no
// memory.current, and is told as v1 would.
func (m *machine) memoryV2(s *scratch, path string, need Need) (*Memory, error) {
	b, err := s.read(m.unified, path, "memory.stat")
	if errors.Is(err, unix.ENOENT) && path != "/" {
		return nil, m.there(path) // the controller is not switched on here
	}
	if err != nil {
		return nil, err
	}
	memory := &Memory{}
	flat(b, memory.fieldV2)
	if usage, ok := s.number(m.unified, path, "memory.current"); ok {
		memory.Usage = usage
		memory.Swap, _ = s.number(m.unified, path, "memory.swap.current")
	} else if path == "/" {
		memory.Usage = memory.Content.RSS + memory.Content.Cache
		memory.Swap = m.swapInUse(s)
	}
	memory.WorkingSet = less(memory.Usage, memory.Content.InactiveFile)
	if !need.has(NeedMemoryDetail) {
		return memory, nil
	}
	memory.Max, _ = s.number(m.unified, path, "memory.peak")
	if b, err := s.read(m.unified, path, "memory.events"); err == nil {
		flat(b, func(key []byte, n uint64) {
			switch string(key) {
			case "high":
				memory.Faults.EventsHigh = n
			case "max":
				memory.Faults.EventsMax = n
			case "oom_kill":
				memory.Faults.OOMKills = n
			}
		})
	}
	return memory, nil
}

// there returns an error if the cgroup is gone.
func (m *machine) there(path string) error {
	return unix.Access(m.anchor()+path, unix.F_OK)
}

func (m *Memory) fieldV2(key []byte, n uint64) {
	switch string(key) {
	case "anon":
		m.Content.RSS = n
	case "file":
		m.Content.Cache = n
	case "file_mapped":
		m.Content.Mapped = n
	case "active_file":
		m.Content.ActiveFile = n
	case "inactive_file":
		m.Content.InactiveFile = n
	case "file_dirty":
		m.Content.Dirty = n
	case "file_writeback":
		m.Content.Writeback = n
	case "pgfault":
		m.Faults.Page = n
	case "pgmajfault":
		m.Faults.MajorPage = n
	case "pgscan":
		m.Faults.Scanned = n
	case "pgsteal":
		m.Faults.Stolen = n
	case "workingset_refault_file":
		m.Faults.RefaultedFile = n
	case "workingset_refault_anon":
		m.Faults.RefaultedAnon = n
	}
}

// swapInUse is the machine's, in bytes.
func (m *machine) swapInUse(s *scratch) uint64 {
	info := m.meminfo(s)
	return less(info.swapTotal, info.swapFree)
}

func (m *machine) limitsV2(s *scratch, path string, need Need) *Limits {
	l := &Limits{}
	if need.has(NeedCPULimits) {
		if weight, ok := s.number(m.unified, path, "cpu.weight"); ok {
			l.Shares = sharesOf(weight)
		}
		if b, err := s.read(m.unified, path, "cpu.max"); err == nil {
			quota, period, _ := bytes.Cut(bytes.TrimSpace(b), []byte{' '})
			if string(quota) != "max" {
				l.Quota, _ = parse(quota)
			}
			l.Period, _ = parse(period)
		}
		l.HasCPU = true // every cgroup has a cpu.stat
	}
	if need.has(NeedMemoryLimits) {
		l.Memory, l.HasMemory = s.number(m.unified, path, "memory.max")
	}
	if need.has(NeedSwapLimits) {
		l.Swap, l.HasSwap = s.number(m.unified, path, "memory.swap.max")
	}
	if need.has(NeedCPULimits) {
		l.Reservation, _ = s.number(m.unified, path, "memory.min")
	}
	return l
}

// sharesOf is the cpu.shares that cAdvisor shows for a cpu.weight; 0 for one that is
// none.
func sharesOf(weight uint64) uint64 {
	const minWeight, maxWeight, minShares, maxShares = 1, 10000, 2, 262144
	if weight < minWeight || weight > maxWeight {
		return 0
	}
	return minShares + (weight-minWeight)*(maxShares-minShares)/(maxWeight-minWeight)
}

// entryV2 takes a line "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6".
func (io *IO) entryV2(line []byte) {
	number, rest, ok := bytes.Cut(line, []byte{' '})
	if !ok {
		return
	}
	d := io.device(number)
	if d == nil {
		return
	}
	for len(rest) > 0 {
		var item []byte
		item, rest, _ = bytes.Cut(rest, []byte{' '})
		key, value, _ := bytes.Cut(item, []byte{'='})
		n, ok := parse(value)
		if !ok {
			continue
		}
		switch string(key) {
		case "rbytes":
			d.ReadBytes = n
		case "wbytes":
			d.WriteBytes = n
		case "rios":
			d.Reads = n
		case "wios":
			d.Writes = n
		case "dbytes":
			d.DiscardBytes = n
		case "dios":
			d.Discards = n
		}
	}
}

func (m *machine) pressures(s *scratch, path string, need Need, out *Sample) {
	if out.CPU != nil {
		out.CPU.Pressure = m.readPressure(s, path, "cpu.pressure")
	}
	if out.Memory != nil {
		out.Memory.Pressure = m.readPressure(s, path, "memory.pressure")
	}
	p := m.readPressure(s, path, "io.pressure")
	if p != nil && out.IO == nil {
		out.IO = &IO{}
	}
	if out.IO != nil {
		out.IO.Pressure = p
	}
}

func (m *machine) readPressure(s *scratch, path, file string) *Pressure {
	b, err := s.read(m.unified, path, file)
	if err != nil {
		return nil
	}
	p := &Pressure{}
	lines(b, func(line []byte) {
		kind, rest, _ := bytes.Cut(line, []byte{' '})
		switch string(kind) {
		case "some":
			p.Some.parse(rest)
		case "full":
			p.Full.parse(rest)
		}
	})
	return p
}

// parse takes "avg10=0.00 avg60=0.00 avg300=0.00 total=0", the total in
// microseconds.
func (s *Stall) parse(rest []byte) {
	for len(rest) > 0 {
		var item []byte
		item, rest, _ = bytes.Cut(rest, []byte{' '})
		key, value, _ := bytes.Cut(item, []byte{'='})
		if string(key) == "total" {
			n, _ := parse(value)
			s.Total = n * microsecond
			continue
		}
		f, err := strconv.ParseFloat(string(value), 64)
		if err != nil {
			continue
		}
		switch string(key) {
		case "avg10":
			s.Avg10 = f
		case "avg60":
			s.Avg60 = f
		case "avg300":
			s.Avg300 = f
		}
	}
}
