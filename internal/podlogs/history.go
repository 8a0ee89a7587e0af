package podlogs

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"go.uber.org/zap"

	"nodeagent.dev/nodeagent/internal/pod"
)

const (
	// oldest is how many rotated files of a log are looked at, the newest ones.
	oldest = 64
	// reopening is how long a log may be missing while the runtime is told to make a
	// new one, and reopeningLook how often it is looked for.
	reopening     = time.Second
	reopeningLook = 10 * time.Millisecond
)

// begin opens what is to be read. Who asks for a number of lines or for those since
// a time gets them from rotated files, too, as far as these are kept; who does not
// gets the log alone, as the kubelet has it.
func (r *Reader) begin(ctx context.Context, path string, s *reading, opts pod.LogOptions) error {
	lines := opts.TailLines
	if lines != nil && *lines < 0 {
		lines = nil
	}
	back := lines != nil && *lines > 0 || lines == nil && !opts.Since.IsZero()
	err := r.shelves.join(path, s, func() error { return s.open(back) })
	for end := time.Now().Add(reopening); errors.Is(err, fs.ErrNotExist) && time.Now().Before(end) && s.dir.isRotated(); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(reopeningLook):
		}
		err = s.again(func() error { return s.open(back) })
	}
	switch {
	case err != nil:
		return err
	case lines != nil && *lines == 0 && !opts.Follow:
		return errEnough
	case lines != nil:
		if !opts.Follow {
			s.lines = *lines
		}
		return s.fromLine(ctx, *lines)
	case back:
		return s.fromTime(ctx, opts.Since)
	}
	return nil
}

// isRotated says whether there are rotated files.
func (d *logDir) isRotated() (yes bool) {
	_ = d.rotated(func(string, string, bool) { yes = true })
	return yes
}

// open opens the log, and with back what was rotated before, in the order in which
// it is to be read. The shelf is locked.
func (s *reading) open(back bool) error {
	live, err := s.dir.open(s.dir.live)
	if err != nil {
		return err
	}
	s.src, s.queue = live, nil
	if !back {
		return nil
	}
	var all []*source
	err = s.dir.rotated(func(name, at string, zipped bool) {
		all = append(all, &source{name: name, at: at, zipped: zipped})
		if len(all) > 2*oldest {
			all = newestOf(all)
		}
	})
	if err != nil {
		return err
	}
	for _, old := range newestOf(all) {
		src, err := s.dir.openRotated(old.name, old.at, old.zipped)
		if err != nil {
			s.log.Debug("a rotated log is left out", zap.String("log", s.dir.path+"/"+old.name), zap.Error(err))
			continue
		}
		if src.id == live.id { // renamed just now
			src.close()
			continue
		}
		s.queue = append(s.queue, src)
	}
	if len(s.queue) > 0 {
		s.queue = append(s.queue, live)
		s.src, s.queue = s.queue[0], s.queue[1:]
	}
	return nil
}

// newestOf puts rotated files in order and leaves out copies and the oldest ones.
func newestOf(all []*source) []*source {
	slices.SortFunc(all, func(a, b *source) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.name, b.name)) // the plain one first
	})
	all = slices.CompactFunc(all, func(a, b *source) bool { return a.at == b.at })
	return all[max(len(all)-oldest, 0):]
}

// files are all that is to be read, oldest first. Only the reading itself changes
// them, so it needs no lock to look.
func (s *reading) files() []*source { return append([]*source{s.src}, s.queue...) }

// skip leaves out files before the one that is to be read first.
func (s *reading) skip(first *source) {
	for s.src != first && len(s.queue) > 0 {
		s.proceed(s.queue[0])
	}
}

// fromLine goes to the first of the last n lines.
func (s *reading) fromLine(ctx context.Context, n int64) error {
	files := s.files()
	for i := len(files) - 1; ; i-- {
		src := files[i]
		var err error
		if src.zipped {
			n, err = src.lastLines(ctx, n)
		} else {
			src.pos, n, err = tailStart(ctx, src.f, n)
		}
		if err != nil {
			return s.orFellBehind(err)
		}
		if n == 0 || i == 0 {
			s.skip(src)
			return nil
		}
	}
}

// fromTime goes to the file that has the first line since a time.
func (s *reading) fromTime(ctx context.Context, since time.Time) error {
	files := s.files()
	for i := len(files) - 1; i > 0; i-- {
		if err := ctx.Err(); err != nil {
			return err
		}
		first, found, err := files[i].firstTime()
		if err != nil {
			return s.orFellBehind(err)
		}
		if found && first.Before(since) {
			s.skip(files[i])
			return nil
		}
	}
	return nil
}

// orFellBehind explains why a file could not be read.
func (s *reading) orFellBehind(err error) error {
	if s.cutOff() {
		return ErrFellBehind
	}
	return err
}

// readAll reads to the end of the last file.
func (s *reading) readAll(ctx context.Context) error {
	for {
		if err := s.pump(ctx); err != nil {
			return err
		}
		if err := s.finishLine(); err != nil || len(s.queue) == 0 {
			return err
		}
		s.proceed(s.queue[0])
	}
}

// firstTime is when the first line of a file was written; false: there is no line
// that says so.
func (s *source) firstTime() (time.Time, bool, error) {
	block := make([]byte, 4<<10)
	var from io.Reader = io.NewSectionReader(s.f, 0, int64(len(block)))
	if s.zipped {
		if err := s.unzip(); err != nil {
			return time.Time{}, false, err
		}
		from = s.zip
	}
	n, err := io.ReadFull(from, block)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return time.Time{}, false, fmt.Errorf("read the beginning of log %s: %w", s.f.Name(), err)
	}
	if s.zipped {
		err = s.unzip()
	} else {
		err = nil
	}
	stamp, _, ok := bytes.Cut(block[:n], []byte{' '})
	at, malformed := time.Parse(time.RFC3339Nano, string(stamp))
	return at, ok && malformed == nil, err
}

// lastLines goes to the first of the last n lines of a compressed file. missing is
// how many lines it has too few.
func (s *source) lastLines(ctx context.Context, n int64) (missing int64, err error) {
	count, err := s.pass(ctx, -1)
	if err != nil {
		return 0, err
	}
	if err := s.unzip(); err != nil {
		return 0, err
	}
	if count < n {
		return n - count, nil
	}
	_, err = s.pass(ctx, count-n)
	return 0, err
}

// pass reads past lines of a compressed file, all if most is negative, and returns
// how many there were.
func (s *source) pass(ctx context.Context, most int64) (count int64, err error) {
	block := make([]byte, tailBlock)
	for most < 0 || count < most {
		if err := ctx.Err(); err != nil {
			return count, err
		}
		n, err := s.zip.Read(block)
		rest := block[:n]
		for most < 0 || count < most {
			i := bytes.IndexByte(rest, '\n')
			if i < 0 {
				rest = nil
				break
			}
			rest = rest[i+1:]
			count++
		}
		if len(rest) > 0 {
			s.zip = io.MultiReader(bytes.NewReader(bytes.Clone(rest)), s.zip)
		}
		if errors.Is(err, io.EOF) {
			return count, nil
		}
		if err != nil {
			return count, fmt.Errorf("read rotated log %s: %w", s.f.Name(), err)
		}
	}
	return count, nil
}
