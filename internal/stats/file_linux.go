package stats

import (
	"bytes"
	"math"

	"golang.org/x/sys/unix"
)

// maxFile bounds what is read of a file: each line of a cgroup's file is the
// kernel's, but how many there are (devices, processes) may be a pod's to say.
const maxFile = 256 << 10

// wholeRead is what a read has to return for there to be more. The kernel makes
// these files in pages of records: a read ends before the end of the file only when
// the next record, far smaller than the rest of a page, did not fit.
const wholeRead = 3 << 10

// scratch is what one goroutine reads into. What it returns is overwritten by the
// next read.
type scratch struct {
	buf  []byte
	path []byte
	// entries are those of a directory.
	entries []byte
	// open are the directories called dir, one in each hierarchy that was read from.
	dir  string
	open []openDir
}

// openDir is a directory that files are opened in: walking the whole path for each
// costs as much as all the rest.
type openDir struct {
	mount string
	fd    int
}

func newScratch() *scratch { return &scratch{buf: make([]byte, 8<<10), path: make([]byte, 0, 256)} }

// close is to be called when nothing more is read.
func (s *scratch) close() {
	for _, d := range s.open {
		_ = unix.Close(d.fd)
	}
	s.dir, s.open = "", s.open[:0]
}

// read returns the content of a file, at most [maxFile] bytes. Files of cgroups and
// of /proc are made when they are read; os.File would ask the poller first, and take
// twice as long.
func (s *scratch) read(mount, dir, file string) ([]byte, error) {
	at, err := s.directory(mount, dir)
	if err != nil {
		return nil, err
	}
	fd, err := openAt(at, file, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	n := 0
	for {
		got, err := unix.Read(fd, s.buf[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n += got; got < wholeRead || n >= maxFile {
			return s.buf[:n], nil
		}
		if n == len(s.buf) {
			s.buf = append(s.buf, make([]byte, min(len(s.buf), maxFile-len(s.buf)))...)
		}
	}
}

// directory opens a directory of a hierarchy, unless it is open. Those of another
// name are closed.
func (s *scratch) directory(mount, dir string) (int, error) {
	if s.dir != dir {
		s.close()
		s.dir = dir
	}
	for _, d := range s.open {
		if d.mount == mount {
			return d.fd, nil
		}
	}
	s.path = append(append(s.path[:0], mount...), dir...)
	fd, err := openAt(unix.AT_FDCWD, string(s.path), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return -1, err
	}
	s.open = append(s.open, openDir{mount, fd})
	return fd, nil
}

func openAt(at int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(at, name, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// number reads a file that holds one number; "max" is [Unlimited].
func (s *scratch) number(mount, dir, file string) (uint64, bool) {
	b, err := s.read(mount, dir, file)
	if err != nil {
		return 0, false
	}
	return parse(bytes.TrimSpace(b))
}

// parse reads a decimal number or "max"; a negative one is none.
func parse(b []byte) (uint64, bool) {
	if string(b) == "max" {
		return Unlimited, true
	}
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		d := uint64(c - '0')
		if n > (math.MaxUint64-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}

// lines calls f for each line.
func lines(b []byte, f func(line []byte)) {
	for len(b) > 0 {
		line, rest, _ := bytes.Cut(b, []byte{'\n'})
		f(line)
		b = rest
	}
}

// flat calls f for each line "key value" whose value is a number.
func flat(b []byte, f func(key []byte, value uint64)) {
	lines(b, func(line []byte) {
		key, rest, ok := bytes.Cut(line, []byte{' '})
		if !ok {
			return
		}
		if n, ok := parse(rest); ok {
			f(key, n)
		}
	})
}

// less is a-b, or 0 where that would be less: figures that belong together are not
// read at the same instant.
func less(a, b uint64) uint64 {
	if a < b {
		return 0
	}
	return a - b
}
