package podlogs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"

	"nodeagent.dev/nodeagent/internal/pod"
)

// ErrFormat tells that there are lines, none of which is in the log format of CRI.
var ErrFormat = errors.New("the log has no line in the CRI format " +
	"(<RFC 3339 time> stdout|stderr P|F <text>); look at how the container runtime writes its logs")

// Ended says whether a container has ended: it will not write any more. If not,
// the channel is closed when it is worth asking again; nil means never. It is
// asked from the follower's goroutine, often, and should answer from memory.
type Ended = func() (bool, <-chan struct{})

// Reader reads and follows the logs below the directory of pods. One watcher
// serves all followers. It is safe for concurrent use.
type Reader struct {
	pods    string
	log     *zap.Logger
	watcher *watcher
	shelves shelves
	input   sync.Pool // of *[maxLine]byte
	output  sync.Pool // of *[outputSize]byte
}

// NewReader returns a reader of the logs below podsDir, which is absolute and may
// be a symlink. Following without looking once a second needs Run.
func NewReader(podsDir string, log *zap.Logger) (*Reader, error) {
	if podsDir == "" {
		podsDir = DefaultPodsDir
	}
	if !filepath.IsAbs(podsDir) {
		return nil, fmt.Errorf("log directory %q is not an absolute path", podsDir)
	}
	return &Reader{
		pods:    filepath.Clean(podsDir),
		log:     log,
		watcher: newWatcher(log),
		shelves: shelves{byPath: make(map[string]*shelf)},
		input:   sync.Pool{New: func() any { return new([maxLine]byte) }},
		output:  sync.Pool{New: func() any { return new([outputSize]byte) }},
	}, nil
}

// Run watches for the followers until ctx ends. They go on afterwards, but have to
// look for themselves.
func (r *Reader) Run(ctx context.Context) error { return r.watcher.run(ctx) }

// Read writes the log at path, which is absolute and as the runtime reports it, to
// w. A reader that follows flushes before there is any data, so that an HTTP
// client gets its header, and whenever it has caught up; others flush at the end.
// Errors of opening come before anything is written.
//
// A follower stays with the container through rotations and truncation. It returns
// nil when ended says so and all is written, or when the log was removed; ended
// may be nil and is not asked by readers that do not follow. When ctx ends, its
// error is returned. Other errors are fs.ErrNotExist, ErrNotALog, ErrFormat, and
// those of w and of the disk.
func (r *Reader) Read(ctx context.Context, w pod.LogWriter, path string, opts pod.LogOptions, ended Ended) error {
	dir, err := r.openDir(path)
	if err != nil {
		return err
	}
	defer dir.close()
	s := &reading{
		log: r.log, dir: dir, newLine: true, lines: -1,
		in:  lineBuffer{pool: &r.input},
		out: newOutput(w, &r.output, opts),
	}
	name := filepath.Join(dir.path, dir.live)
	err = r.begin(ctx, name, s, opts)
	defer func() { s.close(&r.shelves, name) }()
	switch {
	case errors.Is(err, errEnough):
		return s.out.flush()
	case err != nil:
		return err
	case opts.Follow:
		err = s.followUntil(ctx, r.watcher, ended)
	default:
		err = s.readAll(ctx)
	}
	return s.conclude(ctx, path, err)
}

// reading is one read: where it is, and what is between the file and the client.
type reading struct {
	log *zap.Logger
	dir *logDir
	src *source
	in  lineBuffer
	out output

	newLine bool  // the next record starts a line of the container
	lines   int64 // how many are still wanted; negative: all
	long    long  // what to do with the rest of a line longer than the buffer
	cut     bool  // the runtime has cut that line
	good    bool  // there was a record
	bad     int64 // lines that were passed over

	nextSeen  time.Time // when the file after the present one was seen first
	unwritten time.Time // when nobody wrote to the present one any more

	shelf *shelf    // guards changes of src, and all that follows
	queue []*source // what is read after src
	lost  bool      // what was to be read is gone
}

// long says what becomes of the rest of a line that is longer than the buffer.
type long uint8

const (
	none long = iota
	passing
	skipping
)

// pump writes what the source has, to its present end.
func (s *reading) pump(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := s.src.read(s.in.free())
		if err != nil && !errors.Is(err, io.EOF) && s.cutOff() {
			return ErrFellBehind
		}
		s.in.add(n)
		for line, whole := s.in.next(); line != nil; line, whole = s.in.next() {
			if err := s.line(line, whole); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read log %s: %w", s.src.f.Name(), err)
		}
	}
}

// line takes a line, or a piece of one when it is not whole.
func (s *reading) line(line []byte, whole bool) error {
	switch s.long {
	case skipping:
		if whole {
			s.long = none
			s.passedOver(line)
		}
		return nil
	case passing:
		return s.passOn(line, whole)
	case none:
	}
	rec, ok := parse(line)
	if !ok {
		if whole {
			s.passedOver(line)
		} else {
			s.long = skipping
		}
		return nil
	}
	s.good = true
	if err := s.out.record(rec, s.newLine); err != nil {
		return err
	}
	if !whole {
		s.long, s.cut = passing, rec.partial
		return nil
	}
	return s.lineDone(len(rec.text) == 0 || rec.text[len(rec.text)-1] == '\n')
}

// passedOver counts a malformed line, unless it may be one that is being written.
func (s *reading) passedOver(line []byte) {
	if line[len(line)-1] == '\n' {
		s.bad++
	}
}

// passOn writes a further piece of a long line.
func (s *reading) passOn(piece []byte, whole bool) error {
	if whole && s.cut && piece[len(piece)-1] == '\n' {
		piece = piece[:len(piece)-1]
	}
	if err := s.out.more(piece); err != nil {
		return err
	}
	if !whole {
		return nil
	}
	s.long = none
	return s.lineDone(!s.cut)
}

func (s *reading) lineDone(newLine bool) error {
	s.newLine = newLine
	if s.lines > 0 {
		if s.lines--; s.lines == 0 {
			return errEnough
		}
	}
	return nil
}

// finishLine takes what has no newline at the end of a file that will not grow.
func (s *reading) finishLine() error {
	rest := s.in.rest()
	if len(rest) == 0 {
		s.long = none
		return nil
	}
	err := s.line(rest, true)
	s.long = none
	return err
}

// conclude sends what is left and turns the end of the read into Read's result.
func (s *reading) conclude(ctx context.Context, path string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err() // nobody is there any more
	}
	if s.bad > 0 {
		s.log.Debug("lines of a log that are not in the CRI format were passed over",
			zap.String("path", path), zap.Int64("lines", s.bad))
	}
	if errors.Is(err, errEnough) {
		err = nil
	}
	if errors.Is(err, ErrFellBehind) {
		err = s.fellBehind(path, err)
	}
	if err == nil && !s.good && s.bad > 0 {
		err = fmt.Errorf("read log %q: %w", path, ErrFormat)
	}
	if err == nil || s.out.used > 0 {
		err = errors.Join(err, s.out.flush())
	}
	return err
}

// fellBehind tells the client that lines are missing. That it is told an error, too,
// does not mean that it shows one.
func (s *reading) fellBehind(path string, err error) error {
	text := "nodeagent: the log goes on, but not here: " + err.Error() + "\n"
	if !s.newLine {
		text = "\n" + text
	}
	if told := s.out.put([]byte(text)); told != nil && !errors.Is(told, errEnough) {
		return errors.Join(err, told)
	}
	return fmt.Errorf("read log %q: %w", path, err)
}

func (s *reading) close(b *shelves, path string) {
	b.leave(path, s)
	s.in.drop()
	s.out.park()
}
