package cadvisor

import (
	"strconv"

	"nodeagent.dev/nodeagent/internal/stats"
)

// families are all that the kubelet's page has, in its order: by name within what is
// about containers. What cAdvisor can show and the kubelet does not ask it for is not
// here.
func families() []family {
	var all []family
	for _, part := range [][]family{general(), cpuFamilies(), specFamilies(), memoryFamilies(), processFamilies(), networkFamilies(), mountFamilies(), deviceFamilies(), pressureFamilies()} {
		all = append(all, part...)
	}
	return all
}

func general() []family {
	return []family{
		{"container_last_seen", "When the cgroup was there last, in seconds since 1970.", gauge, func(t *text, r *row) {
			t.begin(r.labels)
			t.value()
			t.buf = strconv.AppendUint(t.buf, r.page.now, 10)
			t.end(r.page.nowStamp)
		}},
		{"container_health_state", "Result of the runtime's own health check; -1: there is none.", gauge, func(t *text, r *row) {
			t.begin(r.labels)
			t.value()
			t.buf = append(t.buf, "-1"...)
			t.end(r.stamp)
		}},
		{"container_creation_time_seconds", "When it was created, in seconds since 1970.", gauge, func(t *text, r *row) {
			t.plain(r, uint64(max(r.Made.Unix(), 0)))
		}},
		{"container_start_time_seconds", "When it was started, in seconds since 1970.", gauge, func(t *text, r *row) {
			t.plain(r, uint64(max(r.Made.Unix(), 0)))
		}},
		{"container_oom_events_total", "Processes that the kernel killed because the memory limit was reached.", counter, func(t *text, r *row) {
			if r.Memory != nil {
				t.number(r, r.Memory.Faults.OOMKills)
			}
		}},
	}
}

func cpuFamilies() []family {
	seconds := func(name, help string, value func(*stats.CPU) uint64) family {
		return family{name, help, counter, func(t *text, r *row) {
			if r.CPU != nil {
				t.seconds(r, value(r.CPU))
			}
		}}
	}
	// What is about a quota is shown of those that have one.
	quota := func(f family) family {
		lines := f.lines
		f.lines = func(t *text, r *row) {
			if r.CPU != nil && r.Limits != nil && r.Limits.Quota != 0 {
				lines(t, r)
			}
		}
		return f
	}
	count := func(name, help string, value func(*stats.CPU) uint64) family {
		return quota(family{name, help, counter, func(t *text, r *row) { t.number(r, value(r.CPU)) }})
	}
	return []family{
		seconds("container_cpu_user_seconds_total", "Time in user mode, in seconds.", func(c *stats.CPU) uint64 { return c.User }),
		seconds("container_cpu_system_seconds_total", "Time in the kernel, in seconds.", func(c *stats.CPU) uint64 { return c.System }),
		{"container_cpu_usage_seconds_total", "Time on all processors, in seconds.", counter, func(t *text, r *row) {
			if r.CPU == nil || r.CPU.Total == 0 {
				return
			}
			t.begin(r.labels)
			t.buf = append(t.buf, `,cpu="total"`...)
			t.value()
			t.buf = appendDecimal(t.buf, r.CPU.Total, 9)
			t.end(r.stamp)
		}},
		count("container_cpu_cfs_periods_total", "Periods of the quota that have passed.", func(c *stats.CPU) uint64 { return c.Periods }),
		count("container_cpu_cfs_throttled_periods_total", "Periods in which the quota was used up.", func(c *stats.CPU) uint64 { return c.ThrottledPeriods }),
		quota(seconds("container_cpu_cfs_throttled_seconds_total", "Time that was waited for the next period, in seconds.", func(c *stats.CPU) uint64 { return c.ThrottledTime })),
		count("container_cpu_cfs_burst_periods_total", "Periods in which more than the quota was used.", func(c *stats.CPU) uint64 { return c.Bursts }),
		quota(seconds("container_cpu_cfs_burst_seconds_total", "Time used beyond the quota, in seconds.", func(c *stats.CPU) uint64 { return c.BurstTime })),
	}
}

// noLimit is what counts as no limit of memory: kernels round the greatest number.
const noLimit = 1 << 62

func specFamilies() []family {
	cpu := func(name, help string, value func(*stats.Limits) uint64) family {
		return family{name, help, gauge, func(t *text, r *row) {
			if r.Limits != nil && r.Limits.HasCPU {
				t.plain(r, value(r.Limits))
			}
		}}
	}
	memory := func(name, help string, ofMachine func(Facts) int64, value func(*stats.Limits) uint64) family {
		return family{name, help, gauge, func(t *text, r *row) {
			var n uint64
			switch {
			case r.Limits == nil:
				return
			case r.Kind == stats.KindRoot && ofMachine != nil:
				n = uint64(max(ofMachine(r.page.facts), 0))
			case !r.Limits.HasMemory && r.Kind != stats.KindRoot:
				return
			default:
				n = value(r.Limits)
			}
			if n > noLimit {
				n = 0
			}
			t.plain(r, n)
		}}
	}
	return []family{
		cpu("container_spec_cpu_period", "Period of the quota, in microseconds.", func(l *stats.Limits) uint64 { return l.Period }),
		{"container_spec_cpu_quota", "Time that may be used in a period, in microseconds.", gauge, func(t *text, r *row) {
			if r.Limits != nil && r.Limits.HasCPU && r.Limits.Quota != 0 {
				t.plain(r, r.Limits.Quota)
			}
		}},
		cpu("container_spec_cpu_shares", "Weight beside other cgroups.", func(l *stats.Limits) uint64 { return l.Shares }),
		memory("container_spec_memory_limit_bytes", "Memory that may be used; 0: no limit.",
			func(f Facts) int64 { return f.MemoryBytes }, func(l *stats.Limits) uint64 { return l.Memory }),
		memory("container_spec_memory_swap_limit_bytes", "Swap (cgroup v1: together with memory) that may be used; 0: no limit.",
			func(f Facts) int64 { return f.SwapBytes }, func(l *stats.Limits) uint64 { return l.Swap }),
		memory("container_spec_memory_reservation_limit_bytes", "Memory that is kept for it; 0: none.", nil, func(l *stats.Limits) uint64 { return l.Reservation }),
	}
}

func processFamilies() []family {
	of := func(name, help string, value func(*stats.Processes) uint64) family {
		return family{name, help, gauge, func(t *text, r *row) {
			if r.Processes != nil {
				t.number(r, value(r.Processes))
			}
		}}
	}
	return []family{
		of("container_processes", "Processes.", func(p *stats.Processes) uint64 { return p.Count }),
		of("container_file_descriptors", "Open files of all processes.", func(p *stats.Processes) uint64 { return p.Files }),
		of("container_sockets", "Open sockets of all processes.", func(p *stats.Processes) uint64 { return p.Sockets }),
		of("container_threads_max", "Threads that may be; 0: no limit.", func(p *stats.Processes) uint64 {
			if p.ThreadsMax == stats.Unlimited {
				return 0
			}
			return p.ThreadsMax
		}),
		of("container_threads", "Threads, of the cgroups below it, too.", func(p *stats.Processes) uint64 { return p.Threads }),
		{"container_ulimits_soft", "Soft limits of the first process; -1: none.", gauge, func(t *text, r *row) {
			if r.Processes == nil || r.Processes.OpenFilesLimit == nil {
				return
			}
			t.begin(r.labels)
			t.buf = append(t.buf, `,ulimit="max_open_files"`...)
			t.value()
			t.buf = strconv.AppendInt(t.buf, *r.Processes.OpenFilesLimit, 10)
			t.end(r.stamp)
		}},
	}
}

func networkFamilies() []family {
	of := func(name, help string, value func(*stats.Interface) uint64) family {
		return family{name, help, counter, func(t *text, r *row) {
			for i := range r.Network {
				t.named(r, "interface", r.Network[i].Name, value(&r.Network[i]))
			}
		}}
	}
	return []family{
		of("container_network_receive_bytes_total", "Bytes received.", func(i *stats.Interface) uint64 { return i.RxBytes }),
		of("container_network_receive_packets_total", "Packets received.", func(i *stats.Interface) uint64 { return i.RxPackets }),
		of("container_network_receive_packets_dropped_total", "Packets dropped while receiving.", func(i *stats.Interface) uint64 { return i.RxDropped }),
		of("container_network_receive_errors_total", "Errors while receiving.", func(i *stats.Interface) uint64 { return i.RxErrors }),
		of("container_network_transmit_bytes_total", "Bytes sent.", func(i *stats.Interface) uint64 { return i.TxBytes }),
		of("container_network_transmit_packets_total", "Packets sent.", func(i *stats.Interface) uint64 { return i.TxPackets }),
		of("container_network_transmit_packets_dropped_total", "Packets dropped while sending.", func(i *stats.Interface) uint64 { return i.TxDropped }),
		of("container_network_transmit_errors_total", "Errors while sending.", func(i *stats.Interface) uint64 { return i.TxErrors }),
	}
}

func pressureFamilies() []family {
	of := func(what, help string, of func(*row) *stats.Pressure) []family {
		line := func(state string, total func(*stats.Pressure) uint64) family {
			return family{"container_pressure_" + what + "_" + state + "_seconds_total", "", counter, func(t *text, r *row) {
				if p := of(r); p != nil {
					t.seconds(r, total(p))
				}
			}}
		}
		stalled := line("stalled", func(p *stats.Pressure) uint64 { return p.Full.Total })
		waiting := line("waiting", func(p *stats.Pressure) uint64 { return p.Some.Total })
		stalled.help = "Time in which all processes waited for " + help + ", in seconds."
		waiting.help = "Time in which some process waited for " + help + ", in seconds."
		return []family{stalled, waiting}
	}
	var all []family
	all = append(all, of("cpu", "a processor", func(r *row) *stats.Pressure {
		if r.CPU == nil {
			return nil
		}
		return r.CPU.Pressure
	})...)
	all = append(all, of("memory", "memory", func(r *row) *stats.Pressure {
		if r.Memory == nil {
			return nil
		}
		return r.Memory.Pressure
	})...)
	return append(all, of("io", "a block device", func(r *row) *stats.Pressure {
		if r.IO == nil {
			return nil
		}
		return r.IO.Pressure
	})...)
}
