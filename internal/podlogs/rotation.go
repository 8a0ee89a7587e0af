package podlogs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"nodeagent.dev/nodeagent/internal/podlogs/rotate"
)

// source is a file that is read from front to back.
type source struct {
	f   *os.File
	id  fileID
	pos int64     // of the next byte; of the plain file only
	zip io.Reader // nil: the file is plain, or not read yet
	at  string    // when it was rotated, as in its name; "" while it is not known to be
	// zipped says that the file is compressed. name is set before it is open.
	zipped bool
	name   string
}

// read is io.Reader's.
func (s *source) read(to []byte) (int, error) {
	if s.zip != nil {
		return s.zip.Read(to)
	}
	n, err := s.f.ReadAt(to, s.pos)
	s.pos += int64(n)
	return n, err
}

// state says whether the file is shorter than what was read of it, and whether it
// was removed.
func (s *source) state() (shrunk, removed bool, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(s.f.Fd()), &st); err != nil {
		return false, false, fmt.Errorf("look at log %s: %w", s.f.Name(), err)
	}
	return s.zip == nil && st.Size < s.pos, st.Nlink == 0, nil
}

// rotatedAt is the time in the file's present or last name. A file that is open for
// a reading is asked with its shelf locked.
func (s *source) rotatedAt(live string) string {
	if s.at == "" {
		// The kernel knows the name of an open file, also after its removal.
		if name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(s.f.Fd()))); err == nil {
			s.at, _, _ = rotate.Parse(live, strings.TrimSuffix(filepath.Base(name), " (deleted)"))
		}
	}
	return s.at
}

func (s *source) close() { _ = s.f.Close() }

// openAttempts is how often a file may vanish between being listed and being
// opened. Rotation happens every few seconds at most.
const openAttempts = 8

// successor opens the file that goes on where cur ended, nil if there is none.
// When several rotations happened, it is the one after cur. present says whether
// there is a file that the runtime writes.
func (d *logDir) successor(shelf *shelf, cur *source) (next *source, present bool, err error) {
	id, present, err := d.liveID()
	if err != nil || present && id == cur.id {
		return nil, present, err
	}
	shelf.mu.Lock() // nothing is removed meanwhile
	defer shelf.mu.Unlock()
	for range openAttempts {
		next, err = d.after(shelf, cur)
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil || next == nil {
		return nil, present, err
	}
	if next.id == cur.id { // the rotation was taken back
		next.close()
		return nil, true, nil
	}
	return next, true, nil
}

// after opens the live file before it looks for rotated ones: what was written
// before that file is found by then under the name rotation gave it.
func (d *logDir) after(shelf *shelf, cur *source) (*source, error) {
	live, err := d.open(d.live)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	at := cur.rotatedAt(d.live)
	name, next, zipped, err := d.rotatedAfter(at)
	kept := shelf.after(at)
	if err == nil && name == "" && (kept == nil || at == "") {
		return live, nil
	}
	if live != nil {
		live.close()
	}
	if err != nil {
		return nil, err
	}
	if kept != nil && (name == "" || kept.at < next) {
		return kept.copyOf()
	}
	return d.openRotated(name, next, zipped)
}

// openRotated opens a rotated file.
func (d *logDir) openRotated(name, at string, zipped bool) (*source, error) {
	src, err := d.open(name)
	if err != nil {
		return nil, err
	}
	src.at = at
	if zipped {
		return src, src.unzip()
	}
	return src, nil
}

// rotatedAfter names the first file rotated after the given time. A plain file is
// preferred to its compressed copy, which may not be complete.
func (d *logDir) rotatedAfter(after string) (name, at string, zipped bool, err error) {
	if after == "" {
		return "", "", false, nil
	}
	err = d.rotated(func(n, t string, z bool) {
		if t > after && (at == "" || t < at || t == at && !z) {
			name, at, zipped = n, t, z
		}
	})
	return name, at, zipped, err
}

// namesAtOnce is how many names of a directory are held in memory.
const namesAtOnce = 256

// rotated names all rotated files, in no order. The shelf is locked.
func (d *logDir) rotated(each func(name, at string, zipped bool)) error {
	if _, err := d.f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("list log directory %s: %w", d.path, err)
	}
	for {
		names, err := d.f.Readdirnames(namesAtOnce)
		for _, n := range names {
			if at, zipped, ok := rotate.Parse(d.live, n); ok {
				each(n, at, zipped)
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, fs.ErrNotExist) { // not there: removed
			return nil
		}
		if err != nil {
			return fmt.Errorf("list log directory %s: %w", d.path, err)
		}
	}
}
