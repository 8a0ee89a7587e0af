package cadvisor

import (
	"bufio"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/sys/mountinfo"
	"github.com/prometheus/procfs/blockdevice"
	"golang.org/x/sys/unix"
)

const (
	// mountPatience is how long a scrape waits for file systems to answer.
	mountPatience = 500 * time.Millisecond
	// maxMounts bounds how many are shown.
	maxMounts = 512
)

// filesystem is a file system of the machine; sizes are bytes.
type filesystem struct {
	name                               string
	capacity, used, inodes, inodesFree uint64
	disk                               diskFigures
	point                              string
	major, minor                       int
}

// diskFigures is what the kernel counts of a disk or partition since it booted. Times
// are milliseconds.
type diskFigures struct {
	reads, readsMerged, readSectors, readTime       uint64
	writes, writesMerged, writtenSectors, writeTime uint64
	underWay, time, weightedTime                    uint64
}

// mounts looks at the machine's file systems. One that hangs is left out until it
// answers, and holds up one goroutine, not one per scrape.
type mounts struct {
	root, pods string
	statfs     func(path string, st *unix.Statfs_t) error

	mu   sync.Mutex
	busy map[string]bool

	// at is the time of the rows that last was read for.
	reading sync.Mutex
	at      time.Time
	last    []filesystem
}

func newMounts(root, pods string) *mounts {
	return &mounts{root: root, pods: strings.TrimSuffix(pods, "/") + "/", statfs: unix.Statfs, busy: map[string]bool{}}
}

// of is what file systems held when rows were read: pages that show the same rows, with
// their time, must show the same figures beside it.
func (m *mounts) of(ctx context.Context, at time.Time) []filesystem {
	m.reading.Lock()
	defer m.reading.Unlock()
	if m.last == nil || !m.at.Equal(at) {
		// Others get it, too, also when the first client goes away.
		m.at, m.last = at, m.read(context.WithoutCancel(ctx))
	}
	return m.last
}

// read lists the file systems that have answered in time.
func (m *mounts) read(ctx context.Context) []filesystem {
	all := m.list()
	ctx, cancel := context.WithTimeout(ctx, mountPatience)
	defer cancel()
	type answer struct {
		index int
		st    unix.Statfs_t
		err   error
	}
	answers := make(chan answer, len(all))
	asked := 0
	for i := range all {
		point := all[i].point
		if !m.enter(point) {
			continue
		}
		asked++
		go func() {
			defer m.leave(point)
			a := answer{index: i}
			a.err = m.statfs(point, &a.st)
			answers <- a
		}()
	}
	ok := make([]bool, len(all))
	for ; asked > 0; asked-- {
		select {
		case a := <-answers:
			if ok[a.index] = a.err == nil; ok[a.index] {
				all[a.index].measure(&a.st)
			}
		case <-ctx.Done():
			asked = 1 // the others are too late
		}
	}
	kept := all[:0]
	for i := range all {
		if ok[i] {
			kept = append(kept, all[i])
		}
	}
	m.disks(kept)
	return kept
}

func (m *mounts) enter(point string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.busy[point] {
		return false
	}
	m.busy[point] = true
	return true
}

func (m *mounts) leave(point string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.busy, point)
}

func (f *filesystem) measure(st *unix.Statfs_t) {
	size := uint64(max(st.Frsize, 0))
	f.capacity, f.used = size*st.Blocks, size*(st.Blocks-min(st.Bfree, st.Blocks))
	f.inodes, f.inodesFree = st.Files, st.Ffree
}

// list names the file systems as cAdvisor does: the device, or what else is unique,
// and of a device the first place where it is mounted, or "/".
func (m *mounts) list() []filesystem {
	file, err := os.Open(filepath.Join(m.root, "proc/self/mountinfo"))
	if err != nil {
		return nil
	}
	defer file.Close()
	var all []filesystem
	_, _ = mountinfo.GetMountsFromReader(bufio.NewReader(file), func(info *mountinfo.Info) (skip, stop bool) {
		name, shown := m.shown(info)
		if !shown {
			return true, false
		}
		at := slices.IndexFunc(all, func(f filesystem) bool { return f.name == name })
		switch f := (filesystem{name: name, point: info.Mountpoint, major: info.Major, minor: info.Minor}); {
		case at < 0:
			all = append(all, f)
		case info.Mountpoint == "/" || info.FSType == "tmpfs":
			all[at] = f
		}
		return true, len(all) >= maxMounts
	})
	return all
}

// shown names a mount that is the machine's. What is made for pods is theirs: a kubelet
// that was started before its pods does not show it either.
func (m *mounts) shown(info *mountinfo.Info) (string, bool) {
	ofPods := strings.HasPrefix(info.Mountpoint, m.pods) || ofContainer(info.Mountpoint)
	switch t := info.FSType; {
	case t == "tmpfs":
		return info.Mountpoint, !ofPods
	case t == "overlay" && info.Mountpoint == "/":
		return info.Source, true
	case t == "overlay":
		return info.Source + "_" + strconv.Itoa(info.Major) + "-" + strconv.Itoa(info.Minor), !ofPods
	case strings.HasPrefix(t, "nfs"):
		return info.Source, !ofPods
	case strings.HasPrefix(t, "ext"), slices.Contains(onDisks(), t):
		return info.Source, true
	default:
		return "", false
	}
}

// onDisks are types of file systems that cAdvisor shows.
func onDisks() []string {
	return []string{
		"btrfs", "exfat", "f2fs", "fat", "hfs", "hfsplus", "iso9660", "jfs", "msdos", "ntfs", "reiserfs", "squashfs", "udf", "vfat", "xfs", "zfs",
	}
}

// ofContainer reports whether a runtime has mounted it for a container: a folder is
// named by an ID.
func ofContainer(path string) bool {
	for part := range strings.SplitSeq(path, "/") {
		if len(part) == 64 && strings.Trim(part, "0123456789abcdef") == "" {
			return true
		}
	}
	return false
}

// disks adds what the kernel counts of the devices.
func (m *mounts) disks(all []filesystem) {
	fs, err := blockdevice.NewFS(filepath.Join(m.root, "proc"), filepath.Join(m.root, "sys"))
	if err != nil {
		return
	}
	disks, err := fs.ProcDiskstats()
	if err != nil {
		return
	}
	for i := range all {
		f := &all[i]
		for j := range disks {
			d := &disks[j]
			if f.name == "/dev/"+d.DeviceName || f.major == int(d.MajorNumber) && f.minor == int(d.MinorNumber) {
				f.disk = diskFigures{
					reads: d.ReadIOs, readsMerged: d.ReadMerges, readSectors: d.ReadSectors, readTime: d.ReadTicks,
					writes: d.WriteIOs, writesMerged: d.WriteMerges, writtenSectors: d.WriteSectors, writeTime: d.WriteTicks,
					underWay: d.IOsInProgress, time: d.IOsTotalTicks, weightedTime: d.WeightedIOTicks,
				}
				break
			}
		}
	}
}
