package content

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
)

// updates is how often the readers' volume changes.
const updates = 2000

// reader reads two keys that always change together, and says what it saw wrong.
type reader struct {
	dir          string
	laps         *laps
	number       int
	pairs, reads int
	highest      int
}

// laps counts how often each reader has read everything.
type laps struct {
	mu    sync.Mutex
	more  *sync.Cond
	count []int
	ended bool
}

// add ends a lap of a reader, and says whether there is to be another.
func (l *laps) add(reader int) (again bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count[reader]++
	l.more.Broadcast()
	return !l.ended
}

// end makes this lap the last one of all readers.
func (l *laps) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.more.Broadcast()
}

// snapshot says how far each reader is.
func (l *laps) snapshot() []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.count)
}

// await waits until every reader has begun a lap after a snapshot, and ended it.
func (l *laps) await(before []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range before {
		for l.count[i] < before[i]+2 && !l.ended {
			l.more.Wait()
		}
	}
}

func (r *reader) read(path string) (int, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	if len(data) != len(pairText(0)) {
		return 0, errors.New("torn file: " + string(data))
	}
	return strconv.Atoi(string(data[:8]))
}

// pair reads both keys of one generation. A generation that goes away meanwhile is
// none: the kubelet's layout promises no more.
func (r *reader) pair() error {
	shown, err := os.Readlink(filepath.Join(r.dir, dataLink))
	if err != nil {
		return err
	}
	a, errA := r.read(filepath.Join(r.dir, shown, "a"))
	b, errB := r.read(filepath.Join(r.dir, shown, "dir/b"))
	if err := errors.Join(errA, errB); err != nil {
		if now, _ := os.Readlink(filepath.Join(r.dir, dataLink)); now != shown && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	if a != b {
		return errors.New("torn pair: " + strconv.Itoa(a) + " and " + strconv.Itoa(b))
	}
	r.pairs++
	return nil
}

// once reads as programs do: each key by its name, which is there always, and never
// goes back in time.
func (r *reader) once() error {
	for _, name := range []string{"a", "dir/b"} {
		n, err := r.read(filepath.Join(r.dir, name))
		if err != nil {
			return err
		}
		if n < r.highest {
			return errors.New(name + " went back to " + strconv.Itoa(n) + " from " + strconv.Itoa(r.highest))
		}
		r.highest = n
		r.reads++
	}
	return nil
}

func (r *reader) run() error {
	for {
		if err := errors.Join(r.pair(), r.once()); err != nil {
			r.laps.end()
			return err
		}
		if !r.laps.add(r.number) {
			return nil
		}
	}
}

// memoryDir is a directory that many changes are quick in, where there is one.
func memoryDir(t *testing.T) string {
	t.Helper()
	const memory = "/dev/shm"
	if info, err := os.Stat(memory); err == nil && info.IsDir() {
		t.Setenv("TMPDIR", memory)
	}
	return t.TempDir()
}

func pairText(n int) string {
	text := strconv.Itoa(100000000 + n)[1:]
	for len(text) < 5000 {
		text += text
	}
	return text
}

func pairFiles(n int) Files {
	text := []byte(pairText(n))
	return Files{"a": {Data: text, Mode: 0o644}, "dir/b": {Data: text, Mode: 0o600}}
}

func TestReadersSeeAllOrNothing(t *testing.T) {
	dir := memoryDir(t)
	if _, err := Write(t.Context(), dir, pairFiles(0), nil); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	readers := make([]*reader, 8)
	failed := make([]error, len(readers))
	l := &laps{count: make([]int, len(readers))}
	l.more = sync.NewCond(&l.mu)
	for i := range readers {
		readers[i] = &reader{dir: dir, laps: l, number: i}
		all.Go(func() { failed[i] = readers[i].run() })
	}
	rounds := updates
	if testing.Short() {
		rounds /= 20
	}
	var past [maxRetired][]int
	for n := range rounds {
		// What was replaced maxRetired updates ago may be removed now: a reader that
		// a busy machine has held up since then is none that a volume waits for.
		l.await(past[n%maxRetired])
		changed, err := Write(t.Context(), dir, pairFiles(n), nil)
		if err != nil || changed == (n == 0) {
			t.Errorf("update %d: changed %t, %v", n, changed, err)
			break
		}
		past[n%maxRetired] = l.snapshot()
	}
	l.end()
	all.Wait()
	pairs, reads := 0, 0
	for i, r := range readers {
		if failed[i] != nil {
			t.Errorf("reader %d: %v", i, failed[i])
		}
		pairs, reads = pairs+r.pairs, reads+r.reads
	}
	t.Logf("%d pairs, %d reads by name", pairs, reads)
	if pairs == 0 || reads == 0 {
		t.Error("nothing was read")
	}
}
