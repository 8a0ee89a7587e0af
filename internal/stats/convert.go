package stats

import (
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// mainInterface is the network device whose figures are the pod's own.
const mainInterface = "eth0"

// noLimit is above what anybody can limit memory to: numbers above mean none.
const noLimit = 1 << 62

func (m *maker) cpu(r *Row) *statsapi.CPUStats {
	if r.CPU == nil {
		return nil
	}
	rate, _ := m.s.reader.rates.of(r.Path)
	return &statsapi.CPUStats{
		Time: metav1.NewTime(r.At), UsageNanoCores: &rate, UsageCoreNanoSeconds: &r.CPU.Total, PSI: psiOf(r.CPU.Pressure),
	}
}

func memoryOf(r *Row) *statsapi.MemoryStats {
	if r.Memory == nil {
		return nil
	}
	s := &statsapi.MemoryStats{
		Time: metav1.NewTime(r.At), UsageBytes: &r.Memory.Usage, WorkingSetBytes: &r.Memory.WorkingSet, RSSBytes: &r.Memory.Content.RSS,
		PageFaults: &r.Memory.Faults.Page, MajorPageFaults: &r.Memory.Faults.MajorPage, PSI: psiOf(r.Memory.Pressure),
	}
	if l := r.Limits; l != nil && l.HasMemory && l.Memory <= noLimit {
		s.AvailableBytes = new(less(l.Memory, r.Memory.WorkingSet))
	}
	return s
}

func swapOf(r *Row) *statsapi.SwapStats {
	if r.Memory == nil {
		return nil
	}
	s := &statsapi.SwapStats{Time: metav1.NewTime(r.At), SwapUsageBytes: &r.Memory.Swap}
	if l := r.Limits; l != nil && l.HasSwap && l.Swap <= noLimit {
		s.SwapAvailableBytes = new(less(l.Swap, r.Memory.Swap))
	}
	return s
}

func ioOf(r *Row) *statsapi.IOStats {
	s := &statsapi.IOStats{Time: metav1.NewTime(r.At)}
	if r.IO != nil {
		s.PSI = psiOf(r.IO.Pressure)
	}
	return s
}

// psiOf gives the totals in microseconds, as the kubelet does.
func psiOf(p *Pressure) *statsapi.PSIStats {
	if p == nil {
		return nil
	}
	data := func(s Stall) statsapi.PSIData {
		return statsapi.PSIData{Total: s.Total / uint64(time.Microsecond), Avg10: s.Avg10, Avg60: s.Avg60, Avg300: s.Avg300}
	}
	return &statsapi.PSIStats{Some: data(p.Some), Full: data(p.Full)}
}

func networkOf(r *Row) *statsapi.NetworkStats {
	if r.Network == nil {
		return nil
	}
	s := &statsapi.NetworkStats{Time: metav1.NewTime(r.At), Interfaces: make([]statsapi.InterfaceStats, 0, len(r.Network))}
	for i := range r.Network {
		d := &r.Network[i]
		one := statsapi.InterfaceStats{
			Name: strings.ToValidUTF8(d.Name, "?"), RxBytes: &d.RxBytes, RxErrors: &d.RxErrors, TxBytes: &d.TxBytes, TxErrors: &d.TxErrors,
		}
		if d.Name == mainInterface {
			s.InterfaceStats = one
		}
		s.Interfaces = append(s.Interfaces, one)
	}
	return s
}

// container is what a cgroup used, without its disks.
func (m *maker) container(r *Row) statsapi.ContainerStats {
	c := statsapi.ContainerStats{
		Name: r.Container, StartTime: metav1.NewTime(r.Started), CPU: m.cpu(r), Memory: memoryOf(r), Swap: swapOf(r),
	}
	if !m.brief {
		c.IO = ioOf(r)
	}
	return c
}

// pod is what a pod used, whose rows these are; there is nothing to tell if none of
// its containers runs.
func (m *maker) pod(rows []Row, volumes []volumeUsage) (statsapi.PodStats, bool) {
	ref := rows[0].Pod
	p := statsapi.PodStats{
		PodRef:    statsapi.PodReference{Name: ref.Name, Namespace: ref.Namespace, UID: string(ref.UID)},
		StartTime: metav1.NewTime(rows[0].Started),
	}
	var processes uint64
	var taken podLogs
	if !m.brief {
		taken = m.s.logs.of(ref, rows)
	}
	for i := range rows {
		r := &rows[i]
		if r.Processes != nil && r.Kind == KindContainer { // what the sandbox runs is nobody's
			processes += r.Processes.Count
		}
		if r.Network != nil && !m.brief { // it may have been read for somebody else
			p.Network = networkOf(r)
		}
		switch r.Kind {
		case KindPod:
			p.CPU, p.Memory, p.Swap = m.cpu(r), memoryOf(r), swapOf(r)
			if !m.brief {
				p.IO = ioOf(r)
			}
		case KindSandbox:
			p.StartTime = metav1.NewTime(r.Started)
		case KindContainer:
			c := m.container(r)
			if !m.brief {
				c.Rootfs = m.facts.layer(r.RuntimeID)
				c.Logs = m.facts.withRoot(r.At, taken.containers[r.Container])
			}
			p.Containers = append(p.Containers, c)
		case KindRoot, KindSystem, KindQoS:
		}
	}
	if len(p.Containers) == 0 {
		return p, false
	}
	if !m.brief {
		p.ProcessStats = &statsapi.ProcessStats{ProcessCount: &processes}
		m.addStorage(&p, volumes, taken)
	}
	return p, true
}

// addStorage adds the volumes, and the sum of all that takes the node's disk.
func (m *maker) addStorage(p *statsapi.PodStats, volumes []volumeUsage, taken podLogs) {
	var sum size
	for _, c := range p.Containers {
		if c.Rootfs != nil {
			sum.add(c.Rootfs.UsedBytes, c.Rootfs.InodesUsed)
			if c.Logs != nil {
				sum.add(c.Logs.UsedBytes, c.Logs.InodesUsed)
			}
		}
	}
	for _, v := range volumes {
		p.VolumeStats = append(p.VolumeStats, v.stats(p.PodRef.Namespace))
		if v.Ephemeral {
			sum.bytes += positive(v.Used)
			sum.files += positive(v.InodesUsed)
			sum.known = true
		}
	}
	sum.plus(taken.pod)
	sum.plus(taken.hosts)
	p.EphemeralStorage = m.facts.withRoot(time.Now(), sum)
}

func positive(n int64) uint64 {
	return uint64(max(n, 0))
}
