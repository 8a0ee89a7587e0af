package reading

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// dataDir is the symlink to the newest generation.
const dataDir = "..data"

// pause is between two reads: readers must not take the machine from the agent.
const pause = 300 * time.Microsecond

// Tally counts what a reader saw.
type Tally struct {
	// Reads are the pairs that were read whole; States those that were new.
	Reads, States int
	// Torn are pairs of two states, and files that were no state at all. Back
	// counts states that were older than one seen before.
	Torn, Back int
	// Missing are files that were not there: by name, or in the newest generation.
	Missing int
	// Overtaken counts generations that were deleted while they were read.
	Overtaken int
	// First is what was wrong first.
	First string
	// Last is the number of the last state seen.
	Last int
}

// Add sums up what two readers saw.
func (t Tally) Add(o Tally) Tally {
	t.Reads += o.Reads
	t.States += o.States
	t.Torn += o.Torn
	t.Back += o.Back
	t.Missing += o.Missing
	t.Overtaken += o.Overtaken
	t.Last = max(t.Last, o.Last)
	if t.First == "" {
		t.First = o.First
	}
	return t
}

func (t *Tally) wrong(format string, args ...any) {
	if t.First == "" {
		t.First = fmt.Sprintf(format, args...)
	}
}

// Value is the content of a file in state n: long enough that it is not written
// in one piece, and checkable.
func Value(n int) string { return strings.Repeat(fmt.Sprintf("%08d\n", n), 512) }

// State is the number of a value; an error says that it is not whole.
func State(value string) (int, error) {
	if len(value) < 9 {
		return 0, fmt.Errorf("a value of %d bytes", len(value))
	}
	n, err := strconv.Atoi(value[:8])
	if err != nil || value != Value(n) {
		return 0, fmt.Errorf("a value of %d bytes that begins with %.8q and is not whole", len(value), value)
	}
	return n, nil
}

// Pairs reads files a and b of a volume again and again until ctx ends.
func Pairs(ctx context.Context, dir, a, b string) Tally {
	var t Tally
	for ctx.Err() == nil {
		t.pair(dir, a, b)
		t.plain(dir, a)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return t
}

// plain opens a file by the name that users see.
func (t *Tally) plain(dir, name string) {
	data, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		t.Missing++
		t.wrong("after state %d: %v", t.Last, err)
		return
	}
	if err != nil {
		t.Torn++
		t.wrong("after state %d: %v", t.Last, err)
		return
	}
	if _, err := State(string(data)); err != nil {
		t.Torn++
		t.wrong("after state %d: %s has %v", t.Last, name, err)
	}
}

// pair resolves the newest generation once and reads both files from it.
func (t *Tally) pair(dir, a, b string) {
	at, err := unix.Open(filepath.Join(dir, dataDir), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Missing++
		t.wrong("after state %d: open %s: %v", t.Last, dataDir, err)
		return
	}
	defer func() { _ = unix.Close(at) }()
	var states [2]int
	for i, name := range []string{a, b} {
		value, err := readAt(at, name)
		if errors.Is(err, unix.ENOENT) {
			if newest(dir, at) {
				t.Missing++
				t.wrong("after state %d: %s is not in the newest generation", t.Last, name)
			} else {
				t.Overtaken++
			}
			return
		}
		if err == nil {
			states[i], err = State(value)
		}
		if err != nil {
			t.Torn++
			t.wrong("after state %d: %s: %v", t.Last, name, err)
			return
		}
	}
	if states[0] != states[1] {
		t.Torn++
		t.wrong("after state %d: %s has state %d, %s has state %d", t.Last, a, states[0], b, states[1])
		return
	}
	t.Reads++
	if states[0] < t.Last {
		t.Back++
		t.wrong("state %d came after state %d", states[0], t.Last)
	}
	if states[0] != t.Last {
		t.States++
	}
	t.Last = states[0]
}

// newest reports whether an open directory is still what ..data leads to.
func newest(dir string, at int) bool {
	var open, now unix.Stat_t
	return unix.Fstat(at, &open) == nil && unix.Stat(filepath.Join(dir, dataDir), &now) == nil &&
		open.Dev == now.Dev && open.Ino == now.Ino
}

func readAt(at int, name string) (string, error) {
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(f)
	if err != nil {
		return "", fmt.Errorf("read: %w", err)
	}
	return string(data), nil
}
