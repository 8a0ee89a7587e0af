package podlogs

import (
	"bytes"
	"sync"
)

// maxLine is the longest line that is held as a whole, in bytes. Runtimes cut the
// lines of containers at 16 KiB. What is longer is passed on in pieces.
const maxLine = 64 << 10

// lineBuffer cuts what is read into lines. Its memory goes back to the pool while
// it holds nothing: a follower that waits costs next to nothing.
type lineBuffer struct {
	pool       *sync.Pool // of *[maxLine]byte
	buf        *[maxLine]byte
	start, end int // what is in the buffer
}

// free is the space to read to; add says how much of it was used. Both end the
// life of the lines that next returned.
func (b *lineBuffer) free() []byte {
	if b.buf == nil {
		b.buf = b.pool.Get().(*[maxLine]byte)
	}
	if b.start > 0 {
		b.end = copy(b.buf[:], b.buf[b.start:b.end])
		b.start = 0
	}
	return b.buf[b.end:]
}

func (b *lineBuffer) add(n int) { b.end += n }

// next returns a line with its newline, whole, or a piece of one that fills the
// buffer, or nil when more has to be read first.
func (b *lineBuffer) next() (line []byte, whole bool) {
	if b.start == b.end {
		return nil, false
	}
	held := b.buf[b.start:b.end]
	if i := bytes.IndexByte(held, '\n'); i >= 0 {
		b.start += i + 1
		return held[:i+1], true
	}
	if len(held) < maxLine {
		return nil, false
	}
	b.start = b.end
	return held, false
}

// rest takes out what has no newline.
func (b *lineBuffer) rest() []byte {
	if b.start == b.end {
		return nil
	}
	held := b.buf[b.start:b.end]
	b.start = b.end
	return held
}

// park gives the memory back if nothing is in it.
func (b *lineBuffer) park() {
	if b.buf != nil && b.start == b.end {
		b.pool.Put(b.buf)
		b.buf, b.start, b.end = nil, 0, 0
	}
}

// drop forgets what is held.
func (b *lineBuffer) drop() {
	b.start, b.end = 0, 0
	b.park()
}
