package podlogs

import (
	"errors"
	"fmt"
	"math"
	"sync"

	"nodeagent.dev/nodeagent/internal/pod"
)

const (
	outputSize = 32 << 10 // bytes
	// stampFormat is RFC3339Nano in a fixed width, as clients of the log API know it.
	stampFormat = "2006-01-02T15:04:05.000000000Z07:00"
)

// errEnough ends a read that has written all that was asked for.
var errEnough = errors.New("all that was asked for is written")

// output writes the wanted records in batches.
type output struct {
	to     pod.LogWriter
	pool   *sync.Pool // of *[outputSize]byte
	opts   pod.LogOptions
	left   int64 // bytes that may still be written
	buf    *[outputSize]byte
	used   int
	wanted bool // the last record was written, so its further pieces are too
}

func newOutput(to pod.LogWriter, pool *sync.Pool, opts pod.LogOptions) output {
	o := output{to: to, pool: pool, opts: opts, left: math.MaxInt64}
	if opts.LimitBytes != nil {
		o.left = max(*opts.LimitBytes, 0)
	}
	return o
}

// record writes a record if it is wanted. Only at the start of a container's
// line there is a timestamp.
func (o *output) record(rec record, start bool) error {
	o.wanted = !rec.at.Before(o.opts.Since) &&
		(rec.stream == stdout && o.opts.Stdout || rec.stream == stderr && o.opts.Stderr)
	if !o.wanted {
		return nil
	}
	if o.opts.Timestamps && start {
		var space [len(stampFormat) + 8]byte
		if err := o.put(append(rec.at.AppendFormat(space[:0], stampFormat), ' ')); err != nil {
			return err
		}
	}
	return o.put(rec.text)
}

// more writes a further piece of the last record.
func (o *output) more(text []byte) error {
	if !o.wanted {
		return nil
	}
	return o.put(text)
}

func (o *output) put(text []byte) error {
	last := int64(len(text)) >= o.left
	if last {
		text = text[:o.left]
	}
	o.left -= int64(len(text))
	for len(text) > 0 {
		if o.buf == nil {
			o.buf = o.pool.Get().(*[outputSize]byte)
		}
		n := copy(o.buf[o.used:], text)
		o.used += n
		text = text[n:]
		if o.used == outputSize {
			if err := o.send(); err != nil {
				return err
			}
		}
	}
	if last {
		return errEnough
	}
	return nil
}

func (o *output) send() error {
	if o.used == 0 {
		return nil
	}
	held := o.buf[:o.used]
	o.used = 0
	if _, err := o.to.Write(held); err != nil {
		return fmt.Errorf("send log: %w", err)
	}
	return nil
}

// flush sends all there is and gives the memory back.
func (o *output) flush() error {
	defer o.park()
	if err := o.send(); err != nil {
		return err
	}
	if err := o.to.Flush(); err != nil {
		return fmt.Errorf("flush log: %w", err)
	}
	return nil
}

func (o *output) park() {
	if o.buf != nil {
		o.pool.Put(o.buf)
		o.buf, o.used = nil, 0
	}
}
