package content

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const compareChunk = 32 << 10

// errDiffers tells that something is not as it has to be.
var errDiffers = errors.New("differs")

// same reports whether a directory of the volume has these files and no others, with
// their modes and owners. An error says that this could not be found out.
func (w *writer) same(ctx context.Context, name string) (bool, error) {
	for _, dir := range w.order {
		if same, err := verdict(w.sameDir(name+"/"+dir, w.dirs[dir])); !same {
			return false, err
		}
	}
	buffer := make([]byte, compareChunk)
	for _, p := range w.paths {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if same, err := verdict(w.sameFile(name+"/"+p, w.files[p], buffer)); !same {
			return false, err
		}
	}
	return true, nil
}

// verdict tells what is otherwise from what cannot be looked at.
func verdict(err error) (same bool, failure error) {
	for _, otherwise := range []error{
		errDiffers, fs.ErrNotExist, unix.ENOTDIR, unix.ELOOP, unix.EXDEV, unix.EISDIR, fs.ErrPermission, unix.EAGAIN, unix.ESTALE,
	} {
		if errors.Is(err, otherwise) {
			return false, nil
		}
	}
	return err == nil, err
}

func (w *writer) sameDir(name string, want map[string]bool) error {
	dir, err := w.openDir(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	st, err := stat(dir)
	if err != nil {
		return w.failed("stat", name, err)
	}
	mode := dirMode(w.group)
	if st.Mode&mode != mode || st.Uid != uid(nil) || w.group != nil && st.Gid != uint32(*w.group) {
		return errDiffers
	}
	found := 0
	err = each(dir, func(name string) error {
		if !want[name] {
			return errDiffers
		}
		found++
		return nil
	})
	if err == nil && found != len(want) {
		return errDiffers
	}
	return err
}

func (w *writer) sameFile(name string, want File, buffer []byte) error {
	at, err := w.open(name, unix.O_PATH)
	if err != nil {
		return err
	}
	defer at.Close()
	st, err := stat(at)
	if err != nil {
		return w.failed("stat", name, err)
	}
	if st.Mode != unix.S_IFREG|fileMode(want, w.group) || st.Size != int64(len(want.Data)) ||
		st.Uid != uid(want.Owner) || w.group != nil && st.Gid != uint32(*w.group) {
		return errDiffers
	}
	if st.Size == 0 {
		return nil
	}
	// This is the file that was looked at, whatever has its name by now.
	f, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(int(at.Fd())), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return sameData(f, want.Data, buffer)
}

func sameData(f io.Reader, want, buffer []byte) error {
	for len(want) > 0 {
		n, err := f.Read(buffer[:min(len(buffer), len(want))])
		if !bytes.Equal(buffer[:n], want[:n]) {
			return errDiffers
		}
		want = want[n:]
		if err != nil && len(want) > 0 {
			if errors.Is(err, io.EOF) {
				return errDiffers
			}
			return err
		}
	}
	return nil
}
