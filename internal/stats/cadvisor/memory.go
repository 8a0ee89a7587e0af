package cadvisor

import "nodeagent.dev/nodeagent/internal/stats"

func memoryFamilies() []family {
	of := func(name, help, kind string, value func(*stats.Memory) uint64) family {
		return family{name, help, kind, func(t *text, r *row) {
			if r.Memory != nil {
				t.number(r, value(r.Memory))
			}
		}}
	}
	return []family{
		of("container_memory_cache", "Pages of files, in bytes.", gauge, func(m *stats.Memory) uint64 { return m.Content.Cache }),
		of("container_memory_rss", "Anonymous memory, in bytes.", gauge, func(m *stats.Memory) uint64 { return m.Content.RSS }),
		of("container_memory_kernel_usage", "What the kernel holds for it, in bytes.", gauge, func(m *stats.Memory) uint64 { return m.Kernel }),
		of("container_memory_mapped_file", "Files mapped into memory, in bytes.", gauge, func(m *stats.Memory) uint64 { return m.Content.Mapped }),
		of("container_memory_swap", "What was swapped out, in bytes.", gauge, func(m *stats.Memory) uint64 { return m.Swap }),
		of("container_memory_failcnt", "How often the limit was hit.", counter, func(m *stats.Memory) uint64 { return m.Failures }),
		of("container_memory_usage_bytes", "All memory, whenever it was touched last, in bytes.", gauge, func(m *stats.Memory) uint64 { return m.Usage }),
		of("container_memory_max_usage_bytes", "The most memory there was, in bytes.", gauge, func(m *stats.Memory) uint64 { return m.Max }),
		of("container_memory_working_set_bytes", "Memory without inactive pages of files, in bytes.", gauge, func(m *stats.Memory) uint64 { return m.WorkingSet }),
		of("container_memory_total_active_file_bytes", "Active pages of files, in bytes.", gauge, func(m *stats.Memory) uint64 { return m.Content.ActiveFile }),
		of("container_memory_total_inactive_file_bytes", "Inactive pages of files, in bytes.", gauge, func(m *stats.Memory) uint64 { return m.Content.InactiveFile }),
		{"container_memory_failures_total", "Page faults; major ones had to read from a disk.", counter, failures},
		of("container_memory_events_high_total", "How often it was slowed down at memory.high.", counter, func(m *stats.Memory) uint64 { return m.Faults.EventsHigh }),
		of("container_memory_events_max_total", "How often it was about to pass memory.max.", counter, func(m *stats.Memory) uint64 { return m.Faults.EventsMax }),
		of("container_memory_file_dirty_bytes", "Pages of files that are to be written, in bytes.", gauge, func(m *stats.Memory) uint64 { return m.Content.Dirty }),
		of("container_memory_file_writeback_bytes", "Pages of files that are being written, in bytes.", gauge, func(m *stats.Memory) uint64 { return m.Content.Writeback }),
		of("container_memory_pgscan_total", "Pages looked at to get memory back.", counter, func(m *stats.Memory) uint64 { return m.Faults.Scanned }),
		of("container_memory_pgsteal_total", "Pages taken to get memory back.", counter, func(m *stats.Memory) uint64 { return m.Faults.Stolen }),
		of("container_memory_workingset_refault_file_total", "Pages of files that were needed again after they had been taken.", counter, func(m *stats.Memory) uint64 { return m.Faults.RefaultedFile }),
		of("container_memory_workingset_refault_anon_total", "Anonymous pages that were needed again after they had been taken.", counter, func(m *stats.Memory) uint64 { return m.Faults.RefaultedAnon }),
	}
}

// failures are four lines of two figures: cAdvisor shows the same for the cgroup and
// for its hierarchy.
func failures(t *text, r *row) {
	if r.Memory == nil {
		return
	}
	line := func(labels string, n uint64) {
		t.begin(r.labels)
		t.buf = append(t.buf, labels...)
		t.count(n)
		t.end(r.stamp)
	}
	f := &r.Memory.Faults
	line(`,failure_type="pgfault",scope="container"`, f.Page)
	line(`,failure_type="pgmajfault",scope="container"`, f.MajorPage)
	line(`,failure_type="pgfault",scope="hierarchy"`, f.Page)
	line(`,failure_type="pgmajfault",scope="hierarchy"`, f.MajorPage)
}
