package hang

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// What the kernel asks, by the numbers of linux/fuse.h.
const (
	opForget      = 2
	opGetattr     = 3
	opStatfs      = 17
	opRelease     = 18
	opInit        = 26
	opOpendir     = 27
	opReaddir     = 28
	opReleasedir  = 29
	opLookup      = 1
	opInterrupt   = 36
	opBatchForget = 42
	opReaddirplus = 44
)

const (
	inHeader  = 40      // bytes before what is asked
	outHeader = 16      // bytes before an answer
	bufferFor = 1 << 20 // bytes of the longest request, and more
	rootID    = 1
)

// FS is a mounted file system: one empty directory.
type FS struct {
	dir string
	dev *os.File

	mu      sync.Mutex
	answers bool
	waiting []request
	asked   chan struct{} // closed when somebody waits
	ended   chan struct{} // closed when the kernel asks nothing any more
}

// request is what the kernel asks and who has to be answered.
type request struct {
	op     uint32
	unique uint64
}

// Mount mounts the file system on a directory. It answers until it is told to hang.
func Mount(dir string) (*FS, error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/fuse (does the kernel have FUSE?): %w", err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd)
	if err := unix.Mount("hang", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return nil, errors.Join(fmt.Errorf("mount FUSE on %s: %w", dir, err), unix.Close(fd))
	}
	f := &FS{dir: dir, dev: os.NewFile(uintptr(fd), "/dev/fuse"), answers: true, asked: make(chan struct{}), ended: make(chan struct{})}
	go f.serve()
	return f, nil
}

// Hang makes all who ask from now on wait.
func (f *FS) Hang() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers = false
	f.asked = make(chan struct{})
}

// Asked is closed once somebody waits.
func (f *FS) Asked() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

// Waiting counts the requests that have no answer.
func (f *FS) Waiting() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.waiting)
}

// Answer answers all who wait, and from now on at once.
func (f *FS) Answer() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers = true
	for _, r := range f.waiting {
		f.answer(r)
	}
	f.waiting = nil
}

// Close unmounts the file system; who still waits is told that it is gone.
func (f *FS) Close() error {
	// Others may have it mounted, too: without its device it answers nobody.
	err := unix.Unmount(f.dir, unix.MNT_DETACH)
	f.Answer()
	err = errors.Join(err, f.dev.Close())
	<-f.ended
	if err != nil {
		return fmt.Errorf("unmount FUSE from %s: %w", f.dir, err)
	}
	return nil
}

func (f *FS) serve() {
	defer close(f.ended)
	buffer := make([]byte, bufferFor)
	for {
		n, err := f.dev.Read(buffer)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOENT) { // it is not asked any more
			continue
		}
		if err != nil || n < inHeader {
			return
		}
		f.take(request{binary.NativeEndian.Uint32(buffer[4:]), binary.NativeEndian.Uint64(buffer[8:])})
	}
}

func (f *FS) take(r request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case r.op == opForget, r.op == opBatchForget, r.op == opInterrupt: // nobody waits for an answer
	case f.answers, r.op == opInit, r.op == opRelease, r.op == opReleasedir:
		f.answer(r)
	default:
		f.waiting = append(f.waiting, r)
		if len(f.waiting) == 1 {
			close(f.asked)
		}
	}
}

// answer writes what the kernel wants to know. Who has given up waiting cannot be
// answered, which is no failure.
func (f *FS) answer(r request) {
	body, errno := reply(r.op)
	out := make([]byte, outHeader, outHeader+len(body))
	binary.NativeEndian.PutUint32(out, uint32(outHeader+len(body)))
	binary.NativeEndian.PutUint32(out[4:], uint32(-int32(errno)))
	binary.NativeEndian.PutUint64(out[8:], r.unique)
	_, _ = f.dev.Write(append(out, body...))
}

// reply is the answer to each question about an empty directory.
func reply(op uint32) ([]byte, unix.Errno) {
	switch op {
	case opInit:
		body := make([]byte, 64)
		binary.NativeEndian.PutUint32(body, 7)          // the protocol's version
		binary.NativeEndian.PutUint32(body[4:], 31)     //
		binary.NativeEndian.PutUint16(body[16:], 64)    // requests in the background
		binary.NativeEndian.PutUint16(body[18:], 48)    // when they are too many
		binary.NativeEndian.PutUint32(body[20:], 1<<16) // bytes of a write
		binary.NativeEndian.PutUint32(body[24:], 1)     // nanoseconds of a time
		return body, 0
	case opGetattr:
		body := make([]byte, 104)                                    // valid for no time: each look is a question
		binary.NativeEndian.PutUint64(body[16:], rootID)             // inode
		binary.NativeEndian.PutUint32(body[76:], unix.S_IFDIR|0o755) // mode
		binary.NativeEndian.PutUint32(body[80:], 2)                  // links
		binary.NativeEndian.PutUint32(body[96:], 4096)               // block size
		return body, 0
	case opOpendir:
		return make([]byte, 16), 0
	case opStatfs:
		return make([]byte, 80), 0
	case opReaddir, opReaddirplus, opRelease, opReleasedir:
		return nil, 0
	case opLookup:
		return nil, unix.ENOENT
	default:
		return nil, unix.ENOSYS
	}
}
