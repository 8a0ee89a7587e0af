package podlogs

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"

	"nodeagent.dev/nodeagent/internal/podlogs/rotate"
)

// ErrFellBehind tells that a log was written faster than it was read for so long
// that files were removed which were not read yet.
var ErrFellBehind = errors.New("the log was rotated away before it was read: it is written faster than it is sent to the client")

// shelves has a shelf for each log that somebody reads.
type shelves struct {
	mu     sync.Mutex
	byPath map[string]*shelf
}

// shelf knows who reads a log, and keeps the rotated files that lose their name
// before they are read. How much that may be is up to who rotates, see
// [Reader.Cut].
type shelf struct {
	mu      sync.Mutex
	readers map[*reading]struct{}
	kept    []*source // without a name, oldest first; plain files, read by nobody
}

// join lets the reading use the shelf of its log. It opens what is read first.
func (b *shelves) join(path string, s *reading, begin func() error) error {
	b.mu.Lock()
	shared := b.byPath[path]
	if shared == nil {
		shared = &shelf{readers: make(map[*reading]struct{})}
		b.byPath[path] = shared
	}
	shared.mu.Lock()
	shared.readers[s] = struct{}{}
	s.shelf = shared
	b.mu.Unlock()
	defer shared.mu.Unlock()
	return begin()
}

// again opens once more what is read first.
func (s *reading) again(begin func() error) error {
	s.shelf.mu.Lock()
	defer s.shelf.mu.Unlock()
	return begin()
}

// leave ends the use.
func (b *shelves) leave(path string, s *reading) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.shelf.mu.Lock()
	defer s.shelf.mu.Unlock()
	delete(s.shelf.readers, s)
	s.closeAll()
	s.shelf.clear()
	if len(s.shelf.readers) == 0 {
		delete(b.byPath, path)
	}
}

// at returns the locked shelf of a log, nil if nobody reads it.
func (b *shelves) at(path string) *shelf {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.byPath[path]
	if s != nil {
		s.mu.Lock()
	}
	return s
}

// Unlink implements rotate.Readers.
func (r *Reader) Unlink(path string, f rotate.Removal) error {
	s := r.shelves.at(path)
	if s == nil {
		return f.Remove()
	}
	defer s.mu.Unlock()
	if f.At != "" && s.needs(filepath.Base(path), f.At) {
		file, err := f.Open()
		if err != nil {
			return fmt.Errorf("keep rotated log %s of %q for its readers: %w", f.At, path, err)
		}
		src := &source{f: file, at: f.At, zipped: f.Compressed}
		s.kept = append(s.kept, src)
		slices.SortFunc(s.kept, func(a, b *source) int { return cmp.Compare(a.at, b.at) })
	}
	return f.Remove()
}

// Behind implements rotate.Readers.
func (r *Reader) Behind(path, at string) bool {
	s := r.shelves.at(path)
	if s == nil {
		return false
	}
	defer s.mu.Unlock()
	return s.needs(filepath.Base(path), at)
}

// needs says whether there is somebody who has not come to a rotated file yet.
func (s *shelf) needs(live, at string) bool {
	for r := range s.readers {
		if pos := r.position(live); pos != "" && pos < at {
			return true
		}
	}
	return false
}

// clear lets go of what nobody needs any more.
func (s *shelf) clear() {
	s.kept = slices.DeleteFunc(s.kept, func(k *source) bool {
		for r := range s.readers {
			if !r.lost && r.position(r.dir.live) != "" && r.position(r.dir.live) < k.at {
				return false
			}
		}
		k.close()
		return true
	})
}

// after returns the oldest kept file that was rotated later.
func (s *shelf) after(at string) *source {
	for _, k := range s.kept {
		if k.at > at {
			return k
		}
	}
	return nil
}

// unnamed is a file without a name that is held open.
type unnamed struct {
	id   fileID
	at   string
	size int64
}

// unnamed lists the files that exist for readers alone, oldest first.
func (s *shelf) unnamed() []unnamed {
	var list []unnamed
	add := func(src *source, live string) {
		var st unix.Stat_t
		if src == nil || unix.Fstat(int(src.f.Fd()), &st) != nil || st.Nlink > 0 {
			return
		}
		id := idOf(&st)
		if !slices.ContainsFunc(list, func(u unnamed) bool { return u.id == id }) {
			list = append(list, unnamed{id: id, at: src.rotatedAt(live), size: st.Size})
		}
	}
	for _, k := range s.kept {
		add(k, "")
	}
	for r := range s.readers {
		add(r.src, r.dir.live)
		for _, src := range r.queue {
			add(src, r.dir.live)
		}
	}
	slices.SortFunc(list, func(a, b unnamed) int { return cmp.Compare(a.at, b.at) })
	return list
}

// Held implements rotate.Readers.
func (r *Reader) Held(path string) (bytes int64) {
	s := r.shelves.at(path)
	if s == nil {
		return 0
	}
	defer s.mu.Unlock()
	for _, u := range s.unnamed() {
		bytes += u.size
	}
	return bytes
}

// Cut implements rotate.Readers. A reading that is cut ends with [ErrFellBehind],
// whatever its client does.
func (r *Reader) Cut(path string, bytes int64) {
	s := r.shelves.at(path)
	if s == nil {
		return
	}
	defer s.mu.Unlock()
	for _, u := range s.unnamed() {
		if bytes <= 0 {
			break
		}
		bytes -= u.size
		for reader := range s.readers {
			pos := reader.position(reader.dir.live)
			if reader.holds(u.id) || u.at != "" && pos != "" && pos < u.at {
				reader.lost = true
				reader.closeAll()
			}
		}
	}
	s.clear()
}

// holds says whether the reading has the file open. The shelf is locked.
func (s *reading) holds(id fileID) bool {
	if s.src != nil && s.src.id == id {
		return true
	}
	return slices.ContainsFunc(s.queue, func(src *source) bool { return src.id == id })
}

// position is when the file that is read was rotated; empty: it was not, or its
// reading has not begun or is over. The shelf is locked.
func (s *reading) position(live string) string {
	if s.src == nil || s.lost {
		return ""
	}
	return s.src.rotatedAt(live)
}

// closeAll closes the files. The shelf is locked. Their reading may go on, and
// fails.
func (s *reading) closeAll() {
	if s.src != nil {
		s.src.close()
	}
	for _, src := range s.queue {
		src.close()
	}
}

// proceed goes on to the next file.
func (s *reading) proceed(next *source) {
	s.shelf.mu.Lock()
	defer s.shelf.mu.Unlock()
	if s.lost {
		next.close()
		return
	}
	s.src.close()
	s.src, s.unwritten = next, time.Time{}
	if len(s.queue) > 0 && s.queue[0] == next {
		s.queue = s.queue[1:]
	}
	s.shelf.clear()
}

// cutOff says whether the reading has lost what it wanted to read.
func (s *reading) cutOff() bool {
	if s.shelf == nil {
		return false
	}
	s.shelf.mu.Lock()
	defer s.shelf.mu.Unlock()
	return s.lost
}

// copyOf opens a kept file once more.
func (s *source) copyOf() (*source, error) {
	fd, err := unix.FcntlInt(s.f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open rotated log %s once more: %w", s.f.Name(), err)
	}
	next := &source{f: os.NewFile(uintptr(fd), s.f.Name()), at: s.at}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		next.close()
		return nil, fmt.Errorf("look at rotated log %s: %w", s.f.Name(), err)
	}
	next.id = idOf(&st)
	if s.zipped {
		err = next.unzip()
	}
	return next, err
}

// unzip makes a compressed source readable. On failure the source is closed.
func (s *source) unzip() error {
	s.zipped = true
	zip, err := gzip.NewReader(io.NewSectionReader(s.f, 0, math.MaxInt64))
	if err != nil {
		s.close()
		return fmt.Errorf("read rotated log %s: %w", s.f.Name(), err)
	}
	s.zip = zip
	return nil
}
