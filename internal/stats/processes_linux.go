package stats

import (
	"bytes"
	"encoding/binary"
	"math"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxLooks bounds how many open files of a cgroup are looked at to find the sockets
// among them: a pod may open a million.
const maxLooks = 1 << 14

// files counts what the processes in a cgroup.procs have open. Those that end
// meanwhile are left out.
func (m *machine) files(s *scratch, procs []byte, to *Processes) {
	looks := maxLooks
	lines(procs, func(line []byte) {
		pid, ok := parse(line)
		if !ok || pid == 0 || pid > math.MaxInt32 {
			return // 0: it is in a namespace that we do not see
		}
		s.path = append(append(append(s.path[:0], m.proc...), '/'), line...)
		s.path = append(s.path, "/fd\x00"...)
		fd, err := unix.Open(unix.ByteSliceToString(s.path), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err != nil {
			return
		}
		defer unix.Close(fd)
		for {
			if s.entries == nil {
				s.entries = make([]byte, 8<<10)
			}
			n, err := unix.Getdents(fd, s.entries)
			if err != nil || n <= 0 {
				return
			}
			files, sockets := countEntries(fd, s.entries[:n], &looks)
			to.Files += files
			to.Sockets += sockets
		}
	})
}

// The parts of a struct linux_dirent64.
const (
	direntLength = 16
	direntName   = 19
)

// countEntries counts the entries of a directory of open files, and the sockets
// among them. Links are read and not followed: what is open may hang.
func countEntries(dir int, b []byte, looks *int) (files, sockets uint64) {
	var target [len("socket:")]byte
	for len(b) > direntName {
		length := int(binary.NativeEndian.Uint16(b[direntLength:]))
		if length <= direntName || length > len(b) {
			return files, sockets
		}
		name, _, _ := bytes.Cut(b[direntName:length], []byte{0})
		b = b[length:]
		if len(name) == 0 || name[0] == '.' {
			continue
		}
		files++
		if *looks == 0 {
			continue
		}
		*looks--
		if n, err := unix.Readlinkat(dir, string(name), target[:]); err == nil && string(target[:n]) == "socket:" {
			sockets++
		}
	}
	return files, sockets
}

// openFilesLimit is how many files a process may open; -1: as many as it likes, nil:
// it cannot be asked.
func (m *machine) openFilesLimit(s *scratch, pid int) *int64 {
	var limit unix.Rlimit
	if m.proc == procMount && unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &limit) == nil {
		return soft(limit.Cur)
	}
	b, err := s.read(m.proc, "/"+strconv.Itoa(pid), "limits")
	if err != nil {
		return nil
	}
	var found *int64
	lines(b, func(line []byte) {
		rest, ok := bytes.CutPrefix(line, []byte("Max open files"))
		if !ok {
			return
		}
		if fields := bytes.Fields(rest); len(fields) > 0 {
			if n, ok := parse(fields[0]); ok {
				found = soft(n)
			} else if string(fields[0]) == "unlimited" {
				found = soft(Unlimited)
			}
		}
	})
	return found
}

func soft(n uint64) *int64 {
	if n > math.MaxInt64 {
		return new(int64(-1))
	}
	return new(int64(n))
}
