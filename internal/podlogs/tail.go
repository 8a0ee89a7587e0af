package podlogs

import (
	"bytes"
	"context"
	"fmt"
	"os"
)

// tailBlock is how much of a file is looked at at once, in bytes.
const tailBlock = 32 << 10

// tailStart is where the last n lines of a file begin, counted from its end: a
// line without a newline is not counted, and comes on top. missing is how many lines
// the file has too few.
func tailStart(ctx context.Context, f *os.File, n int64) (start, missing int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, 0, fmt.Errorf("look at log: %w", err)
	}
	block := make([]byte, min(tailBlock, info.Size()))
	for right := info.Size(); right > 0; {
		if err := ctx.Err(); err != nil {
			return 0, 0, err
		}
		left := max(right-int64(len(block)), 0)
		got, err := f.ReadAt(block[:right-left], left)
		if int64(got) < right-left {
			// A file that shrinks is read from its beginning by whoever follows it.
			return 0, 0, fmt.Errorf("look for the last %d lines of a log: %w", n, err)
		}
		held := block[:got]
		for i := bytes.LastIndexByte(held, '\n'); i >= 0; i = bytes.LastIndexByte(held[:i], '\n') {
			if n == 0 {
				return left + int64(i) + 1, 0, nil
			}
			n--
		}
		right = left
	}
	return 0, n, nil
}
