package rotate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/klauspost/compress/gzip"
)

// blockSize is how much is compressed between two looks at whether it is still
// wanted, in bytes.
const blockSize = 256 << 10

// errWritten tells that a rotated file is still written to.
var errWritten = errors.New("the runtime still writes to it")

// compress makes x.gz of x. What cuts it off leaves x as it is, and perhaps x.tmp;
// x goes only when x.gz is complete and on the disk.
func (r *Rotator) compress(ctx context.Context, l *log, p *place, name string, level int) error {
	from, err := p.file(name)
	if err != nil {
		return err
	}
	defer from.Close()
	before, err := from.Stat()
	if err != nil {
		return err
	}
	if written, _ := Written(from); written {
		return fmt.Errorf("compress rotated log %s beside %q: %w", name, p.path, errWritten)
	}
	temporary := name + unfinished
	l.names.Lock()
	l.busy = temporary
	err = p.dir.Remove(temporary)
	l.names.Unlock()
	defer func() {
		l.names.Lock()
		l.busy = ""
		l.names.Unlock()
	}()
	if err != nil {
		return err
	}
	r.at("compress: begin")
	to, err := p.dir.File(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, before.Mode())
	if err != nil {
		return err
	}
	r.at("compress: created")
	err = errors.Join(pack(ctx, to, from, before.ModTime(), level), to.Close())
	r.at("compress: written")
	if err == nil {
		err = r.exchange(l, p, name, before)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("compress rotated log %s beside %q: %w", name, p.path, err), p.dir.Remove(temporary))
	}
	return nil
}

// pack writes all of from to to, compressed, onto the disk.
func pack(ctx context.Context, to, from *os.File, modified time.Time, level int) error {
	w, err := gzip.NewWriterLevel(to, level)
	if err != nil {
		return err
	}
	w.ModTime = modified
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		_, err := io.CopyN(w, from, blockSize)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return to.Sync()
}

// exchange lets the compressed file take the place of the plain one, unless that
// has gone or has changed.
func (r *Rotator) exchange(l *log, p *place, name string, before fs.FileInfo) error {
	l.names.Lock()
	defer l.names.Unlock()
	from, err := p.file(name)
	if err != nil {
		return err
	}
	now, err := from.Stat()
	_ = from.Close()
	if err != nil {
		return err
	}
	if !os.SameFile(now, before) || now.Size() != before.Size() {
		return errWritten
	}
	if err := p.dir.Rename(name+unfinished, name+zipped); err != nil {
		return err
	}
	r.at("compress: renamed")
	if err := p.dir.Sync(); err != nil {
		return err
	}
	err = p.dir.Remove(name)
	r.at("compress: removed")
	return err
}
