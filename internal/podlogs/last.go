package podlogs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"nodeagent.dev/nodeagent/internal/pod"
)

const (
	// lastWindow is how far from its end a log is looked at by Last, in bytes: many
	// lines of the 16 KiB at which runtimes cut them.
	lastWindow = 16 << 20
	// lastTime ends a Last that somebody keeps busy by writing to the log.
	lastTime = 10 * time.Second
)

// Last returns what a container wrote last to either of its streams, in the log at
// path: no more than maxBytes bytes of the last maxLines lines of the file. Lines
// count as pod.LogOptions.TailLines does; one without a newline at the end of the
// file is left out if there are maxLines before it. Errors are those of
// [Reader.Read].
func (r *Reader) Last(ctx context.Context, path string, maxBytes, maxLines int64) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, lastTime)
	defer cancel()
	dir, err := r.openDir(path)
	if err != nil {
		return "", err
	}
	defer dir.close()
	src, err := dir.open(dir.live)
	if err != nil {
		return "", err
	}
	end := &ending{max: max(maxBytes, 0)}
	s := &reading{
		log: r.log, dir: dir, src: src, newLine: true, lines: maxLines,
		in:  lineBuffer{pool: &r.input},
		out: newOutput(end, &r.output, pod.LogOptions{Stdout: true, Stderr: true}),
	}
	defer s.drop()
	if maxLines <= 0 {
		return "", nil
	}
	if s.src.pos, err = lastStart(ctx, src.f, maxLines); err != nil {
		return "", err
	}
	if err = s.pump(ctx); err == nil {
		err = s.finishLine()
	}
	if err := s.conclude(ctx, path, err); err != nil {
		return "", err
	}
	return string(end.held), nil
}

// drop ends a reading that has no shelf.
func (s *reading) drop() {
	s.src.close()
	s.in.drop()
	s.out.park()
}

// lastStart is tailStart for a file that may be of any size and hold anything: it
// does not look further back than the window, where a line may be cut.
func lastStart(ctx context.Context, f *os.File, n int64) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("look at log: %w", err)
	}
	floor := max(info.Size()-lastWindow, 0)
	if floor == 0 {
		start, _, err := tailStart(ctx, f, n)
		return start, err
	}
	block := make([]byte, tailBlock)
	for right := info.Size(); right > floor; right -= tailBlock {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		left := max(right-tailBlock, floor)
		held := block[:right-left]
		if _, err := f.ReadAt(held, left); err != nil {
			return 0, fmt.Errorf("look for the last %d lines of a log: %w", n, err)
		}
		if count := int64(bytes.Count(held, []byte{'\n'})); count <= n {
			n -= count
			continue
		}
		for ; n >= 0; n-- {
			held = held[:bytes.LastIndexByte(held, '\n')]
		}
		return left + int64(len(held)) + 1, nil
	}
	return floor, nil
}

// ending keeps the last bytes that are written to it.
type ending struct {
	max  int64
	held []byte
}

// Write implements io.Writer.
func (e *ending) Write(p []byte) (int, error) {
	e.held = append(e.held, p...)
	if over := int64(len(e.held)) - e.max; over > 0 {
		e.held = e.held[:copy(e.held, e.held[over:])]
	}
	return len(p), nil
}

// Flush implements pod.LogWriter.
func (e *ending) Flush() error { return nil }
