package cadvisor

import (
	"strconv"

	"nodeagent.dev/nodeagent/internal/stats"
)

// nanos is by what cAdvisor divides the kernel's milliseconds of disks to show them as
// seconds. The values are a million times too small; who reads them is used to that.
const nanos = 9

// mountFamilies are about the file systems of the machine: the root's row has them.
func mountFamilies() []family {
	space := func(name, help string, value func(*filesystem) uint64) family {
		return family{name, help, gauge, func(t *text, r *row) {
			for _, m := range r.mounts {
				t.named(r, "device", m.name, value(m))
			}
		}}
	}
	count := func(name, help string, value func(*diskFigures) uint64) family {
		return family{name, help, counter, func(t *text, r *row) {
			for _, m := range r.mounts {
				t.named(r, "device", m.name, value(&m.disk))
			}
		}}
	}
	seconds := func(name, help string, value func(*diskFigures) uint64) family {
		return family{name, help, counter, func(t *text, r *row) {
			for _, m := range r.mounts {
				t.begin(r.labels)
				t.label("device", m.name)
				t.value()
				t.buf = appendDecimal(t.buf, value(&m.disk), nanos)
				t.end(r.stamp)
			}
		}}
	}
	current := count("container_fs_io_current", "I/Os under way.", func(d *diskFigures) uint64 { return d.underWay })
	current.kind = gauge
	return []family{
		space("container_fs_inodes_free", "Inodes that are free.", func(m *filesystem) uint64 { return m.inodesFree }),
		space("container_fs_inodes_total", "Inodes.", func(m *filesystem) uint64 { return m.inodes }),
		space("container_fs_limit_bytes", "Size of the file system, in bytes.", func(m *filesystem) uint64 { return m.capacity }),
		space("container_fs_usage_bytes", "What is used of the file system, in bytes.", func(m *filesystem) uint64 { return m.used }),
		count("container_fs_sector_reads_total", "Sectors read.", func(d *diskFigures) uint64 { return d.readSectors }),
		count("container_fs_reads_merged_total", "Reads merged with others.", func(d *diskFigures) uint64 { return d.readsMerged }),
		seconds("container_fs_read_seconds_total", "Time spent reading.", func(d *diskFigures) uint64 { return d.readTime }),
		count("container_fs_sector_writes_total", "Sectors written.", func(d *diskFigures) uint64 { return d.writtenSectors }),
		count("container_fs_writes_merged_total", "Writes merged with others.", func(d *diskFigures) uint64 { return d.writesMerged }),
		seconds("container_fs_write_seconds_total", "Time spent writing.", func(d *diskFigures) uint64 { return d.writeTime }),
		current,
		seconds("container_fs_io_time_seconds_total", "Time with I/O under way.", func(d *diskFigures) uint64 { return d.time }),
		seconds("container_fs_io_time_weighted_seconds_total", "Time of all I/Os together.", func(d *diskFigures) uint64 { return d.weightedTime }),
	}
}

// deviceFamilies are about what passed through block devices.
func deviceFamilies() []family {
	bytes := func(name, help string, value func(*stats.Device) uint64) family {
		return family{name, help, counter, func(t *text, r *row) {
			for _, d := range r.devices {
				t.named(r, "device", d.Name, value(d))
			}
		}}
	}
	count := func(name, help string, value func(*stats.Device) uint64, ofDisk func(*diskFigures) uint64) family {
		return family{name, help, counter, func(t *text, r *row) {
			for _, d := range r.devices {
				t.named(r, "device", d.Name, value(d))
			}
			for _, m := range r.idle {
				t.named(r, "device", m.name, ofDisk(&m.disk))
			}
		}}
	}
	return []family{
		bytes("container_fs_reads_bytes_total", "Bytes read.", func(d *stats.Device) uint64 { return d.ReadBytes }),
		count("container_fs_reads_total", "Reads completed.", func(d *stats.Device) uint64 { return d.Reads }, func(d *diskFigures) uint64 { return d.reads }),
		bytes("container_fs_writes_bytes_total", "Bytes written.", func(d *stats.Device) uint64 { return d.WriteBytes }),
		count("container_fs_writes_total", "Writes completed.", func(d *stats.Device) uint64 { return d.Writes }, func(d *diskFigures) uint64 { return d.writes }),
		{"container_blkio_device_usage_total", "Bytes by device and operation.", counter, operations},
	}
}

// operations writes what the kernel has of a device: reads and writes, and on cgroup
// v1 more.
func operations(t *text, r *row) {
	if r.IO == nil {
		return
	}
	for i := range r.IO.Devices {
		d := &r.IO.Devices[i]
		line := func(operation string, n uint64) {
			t.begin(r.labels)
			t.label("device", d.Name)
			t.buf = append(t.buf, `,major="`...)
			t.buf = strconv.AppendUint(t.buf, d.Major, 10)
			t.buf = append(t.buf, `",minor="`...)
			t.buf = strconv.AppendUint(t.buf, d.Minor, 10)
			t.buf = append(t.buf, `",operation="`...)
			t.buf = append(t.buf, operation...)
			t.buf = append(t.buf, '"')
			t.count(n)
			t.end(r.stamp)
		}
		line("Read", d.ReadBytes)
		line("Write", d.WriteBytes)
		if d.TotalBytes != 0 || d.Total != 0 {
			line("Sync", d.SyncBytes)
			line("Async", d.AsyncBytes)
			line("Discard", d.DiscardBytes)
			line("Total", d.TotalBytes)
		}
	}
}
