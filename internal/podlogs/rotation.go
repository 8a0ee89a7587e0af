package podlogs

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// source is a file that is read from front to back.
type source struct {
	f   *os.File
	id  fileID
	pos int64        // of the next byte; of the plain file only
	zip *gzip.Reader // nil: the file is plain
	at  string       // when it was rotated, as in its name; "" while it is not known to be
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

// rotatedAt is the time in the file's present or last name.
func (s *source) rotatedAt(live string) string {
	if s.at == "" {
		// The kernel knows the name of an open file, also after its removal.
		if name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(s.f.Fd()))); err == nil {
			s.at, _ = rotationOf(live, strings.TrimSuffix(filepath.Base(name), " (deleted)"))
		}
	}
	return s.at
}

func (s *source) close() { _ = s.f.Close() }

// rotated are the names that rotation gives: the time, to be sorted by, and .gz
// when the file was compressed.
var rotated = regexp.MustCompile(`^\.(\d{8}-\d{6})(\.gz)?$`)

// rotationOf takes apart the name of a rotated file: 0.log.20260102-030405[.gz].
// The time is empty for others.
func rotationOf(live, name string) (at string, zipped bool) {
	end, ok := strings.CutPrefix(name, live)
	if !ok {
		return "", false
	}
	m := rotated.FindStringSubmatch(end)
	if m == nil {
		return "", false
	}
	return m[1], m[2] != ""
}

// openAttempts is how often a file may vanish between being listed and being
// opened. Rotation happens every few seconds at most.
const openAttempts = 8

// successor opens the file that goes on where cur ended, nil if there is none.
// When several rotations happened, it is the one after cur. present says whether
// there is a file that the runtime writes.
func (d *logDir) successor(cur *source) (next *source, present bool, err error) {
	id, present, err := d.liveID()
	if err != nil || present && id == cur.id {
		return nil, present, err
	}
	for range openAttempts {
		next, err = d.after(cur)
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
func (d *logDir) after(cur *source) (*source, error) {
	live, err := d.open(d.live)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	name, at, zipped, err := d.rotatedAfter(cur.rotatedAt(d.live))
	if err != nil || name != "" {
		if live != nil {
			live.close()
		}
	}
	if err != nil || name == "" {
		return live, err
	}
	next, err := d.open(name)
	if err != nil {
		return nil, err
	}
	next.at = at
	if zipped {
		if next.zip, err = gzip.NewReader(next.f); err != nil {
			next.close()
			return nil, fmt.Errorf("read rotated log %s/%s: %w", d.path, name, err)
		}
	}
	return next, nil
}

// rotatedAfter names the first file rotated after the given time. A plain file is
// preferred to its compressed copy, which may not be complete.
func (d *logDir) rotatedAfter(after string) (name, at string, zipped bool, err error) {
	if after == "" {
		return "", "", false, nil
	}
	if _, err := d.f.Seek(0, io.SeekStart); err != nil {
		return "", "", false, fmt.Errorf("list log directory %s: %w", d.path, err)
	}
	names, err := d.f.Readdirnames(-1)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // not there: removed
		return "", "", false, fmt.Errorf("list log directory %s: %w", d.path, err)
	}
	for _, n := range names {
		t, z := rotationOf(d.live, n)
		if t <= after || at != "" && (t > at || t == at && z) {
			continue
		}
		name, at, zipped = n, t, z
	}
	return name, at, zipped, nil
}
