package rotate

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Written says whether anybody has the regular file open for writing; not known,
// where the file system or the caller's rights do not let it be known. The kernel
// grants a read lease on files that nobody writes only. It is given back at once.
func Written(f *os.File) (yes, known bool) {
	fd := f.Fd()
	_, err := unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_RDLCK)
	switch {
	case err == nil:
		_, err = unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_UNLCK)
		return false, err == nil
	case errors.Is(err, unix.EAGAIN):
		return true, true
	}
	return false, false
}
