package podlogs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"
)

// openFiles counts the process' open files, its inotify instances, and their
// watches.
func openFiles(t *testing.T) (files, instances, watches int) {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	for _, n := range names {
		target, err := os.Readlink(filepath.Join("/proc/self/fd", n.Name()))
		if err != nil {
			continue // of the listing itself
		}
		files++
		if strings.Contains(target, "inotify") {
			instances++
			info, err := os.ReadFile(filepath.Join("/proc/self/fdinfo", n.Name()))
			must(t, err)
			watches += strings.Count(string(info), "inotify wd:")
		}
	}
	return files, instances, watches
}

// counter is a client that counts lines.
type counter struct{ lines atomic.Int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.lines.Add(int64(strings.Count(string(p), "\n")))
	return len(p), nil
}
func (c *counter) Flush() error { return nil }

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long: %s", what)
		}
	}
}

func TestAThousandFollowersShareAWatch(t *testing.T) {
	followers := 1000
	var limit unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	if most := (int(min(limit.Cur, 1<<20)) - 200) / 2; most < followers {
		t.Logf("only %d open files allowed", limit.Cur)
		followers = most
	}
	r, path := place(t, entry("a"))
	running(t, r)
	files, _, _ := openFiles(t)
	goroutines := runtime.NumGoroutine()
	e := newEnd()
	clients := make([]counter, followers)
	waits := make([]func() error, followers)
	for i := range waits {
		waits[i] = follow(t.Context(), r, &clients[i], path, e.ended)
	}
	eventually(t, "all are subscribed", func() bool { return watches(r) == followers })
	if _, instances, watches := openFiles(t); instances != 1 || watches != 1 {
		t.Errorf("%d inotify instances, %d watches", instances, watches)
	}
	if more := runtime.NumGoroutine() - goroutines - followers; more > 2 { // fanOut, and fsnotify's
		t.Errorf("%d more goroutines than followers", more)
	}
	for range 10 {
		add(t, path, entry("b"))
	}
	eventually(t, "all have all lines", func() bool {
		for i := range clients {
			if clients[i].lines.Load() != 11 {
				return false
			}
		}
		return true
	})
	e.now()
	for _, wait := range waits {
		must(t, wait())
	}
	eventually(t, "the watch is removed", func() bool { _, _, watches := openFiles(t); return watches == 0 })
	if after, _, _ := openFiles(t); after > files+4 { // the inotify instance, epoll and its pipe stay
		t.Errorf("%d files before, %d after", files, after)
	}
}

func TestAStuckFollowerStopsNobody(t *testing.T) {
	r, path := place(t, entry("0"))
	running(t, r)
	e, gate := newEnd(), make(chan struct{})
	stuck := &checker{t: t, gate: gate, first: make(chan struct{})}
	waitStuck := follow(t.Context(), r, stuck, path, e.ended)
	<-stuck.first
	c := newClient()
	wait := follow(t.Context(), r, c, path, e.ended)
	c.expect(t, "0\n")
	for i := 1; i <= 100; i++ {
		add(t, path, entry(fmt.Sprint(i)))
		c.expect(t, fmt.Sprintf("%d\n", i))
	}
	e.now()
	must(t, wait())
	close(gate)
	must(t, waitStuck())
	if stuck.next != 101 {
		t.Errorf("saw %d lines", stuck.next)
	}
}

// unwatched is a reader that cannot have an inotify instance.
func unwatched(t *testing.T, pods string) (*Reader, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zap.WarnLevel)
	r, err := NewReader(pods, zap.New(core))
	must(t, err)
	r.watcher.open = func() (*fsnotify.Watcher, error) { return nil, unix.EMFILE }
	return r, logs
}

func TestWithoutInotifyFollowersLook(t *testing.T) {
	_, path := place(t, entry("a"))
	pods := filepath.Dir(filepath.Dir(filepath.Dir(path)))
	synctest.Test(t, func(t *testing.T) {
		r, logs := unwatched(t, pods)
		running(t, r)
		c, e := newClient(), newEnd()
		wait := follow(t.Context(), r, c, path, e.ended)
		other := newClient()
		waitOther := follow(t.Context(), r, other, path, e.ended)
		c.expect(t, "a\n")
		for i := range 30 { // longer than a new instance is not asked for
			began := time.Now()
			add(t, path, entry(fmt.Sprint(i)))
			c.expect(t, fmt.Sprintf("%d\n", i))
			if d := time.Since(began); d > lookEvery {
				t.Errorf("seen after %v", d)
			}
		}
		e.now()
		must(t, wait())
		must(t, waitOther())
		if logs.Len() != 1 {
			t.Errorf("warnings: %v", logs.All())
		}
	})
}

func TestFollowersOutliveTheWatcher(t *testing.T) {
	_, path := place(t, entry("a"))
	pods := filepath.Dir(filepath.Dir(filepath.Dir(path)))
	synctest.Test(t, func(t *testing.T) {
		r, _ := unwatched(t, pods) // and nobody calls Run
		c, e := newClient(), newEnd()
		wait := follow(t.Context(), r, c, path, e.ended)
		c.expect(t, "a\n")
		add(t, path, entry("b"))
		c.expect(t, "b\n")
		e.now()
		must(t, wait())
	})
}

// A runtime that reopens its log makes the new file first, and only then gives
// the last of its lines to the old one.
func TestLinesWrittenToTheOldFileWhileTheNewOneExists(t *testing.T) {
	_, path := place(t, entry("a"))
	pods := filepath.Dir(filepath.Dir(filepath.Dir(path)))
	synctest.Test(t, func(t *testing.T) {
		r, _ := unwatched(t, pods)
		running(t, r)
		c, e := newClient(), newEnd()
		wait := follow(t.Context(), r, c, path, e.ended)
		c.expect(t, "a\n")
		synctest.Wait() // from here on it looks each full second
		old := path + ".20260101-000000"
		runtime, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		must(t, err)
		must(t, os.Rename(path, old))
		add(t, path, entry("c"))
		time.Sleep(lookEvery + patience/2)
		_, err = runtime.WriteString(entry("b"))
		must(t, errors.Join(err, runtime.Close()))
		c.expect(t, "b\nc\n")
		e.now()
		must(t, wait())
	})
}

func TestWhereTheWatchFailsFollowersLook(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	_, path := place(t, entry("a"))
	r, err := NewReader(filepath.Dir(filepath.Dir(filepath.Dir(path))), zap.New(core))
	must(t, err)
	full := make(chan struct{})
	r.watcher.add = func(w *fsnotify.Watcher, path string) error {
		select {
		case <-full:
			return w.Add(path)
		default:
			return unix.ENOSPC
		}
	}
	running(t, r)
	c, e := newClient(), newEnd()
	wait := follow(t.Context(), r, c, path, e.ended)
	c.expect(t, "a\n")
	add(t, path, entry("b"))
	c.expect(t, "b\n")
	if watches(r) != 0 || logs.Len() != 1 {
		t.Errorf("%d watches, warnings: %v", watches(r), logs.All())
	}
	close(full) // there is space again
	eventually(t, "it is watched", func() bool { return watches(r) == 1 })
	add(t, path, entry("c"))
	c.expect(t, "c\n")
	e.now()
	must(t, wait())
	if logs.Len() != 1 {
		t.Errorf("warnings: %v", logs.All())
	}
}

func TestLostEventsWakeEverybody(t *testing.T) {
	r, path := place(t, entry("a"))
	var instance *fsnotify.Watcher
	r.watcher.open = func() (w *fsnotify.Watcher, err error) {
		instance, err = fsnotify.NewWatcher()
		return instance, err
	}
	r.watcher.add = func(*fsnotify.Watcher, string) error { return nil } // no event ever comes
	running(t, r)
	c, e := newClient(), newEnd()
	asked := make(chan struct{}, 100)
	wait := follow(t.Context(), r, c, path, func() (bool, <-chan struct{}) {
		asked <- struct{}{}
		return e.ended()
	})
	c.expect(t, "a\n")
	<-asked
	<-asked // it has looked after the watch was there
	add(t, path, entry("b"))
	instance.Errors <- fsnotify.ErrEventOverflow
	c.expect(t, "b\n")
	e.now()
	must(t, wait())
}

func TestADirectoryThatIsMovedAwayIsLookedAt(t *testing.T) {
	r, path := place(t, entry("a"))
	running(t, r)
	c, e := newClient(), newEnd()
	var looks atomic.Int64 // of both, who must not drive each other out of the watch
	ended := func() (bool, <-chan struct{}) {
		looks.Add(1)
		return e.ended()
	}
	wait := follow(t.Context(), r, c, path, ended)
	c.expect(t, "a\n")
	eventually(t, "it is watched", func() bool { return watches(r) == 1 })
	must(t, os.Rename(filepath.Dir(path), filepath.Dir(path)+"-away"))
	put(t, path, entry("another"))
	moved := &logDir{path: filepath.Dir(path)} // for whom the directory at its path is another one
	if sub, err := r.watcher.subscribe(t.Context(), moved, nil); !errors.Is(err, errMoved) {
		t.Errorf("%v, %v; want no share in the watch of another directory", sub, err)
	}
	other := newClient()
	waitOther := follow(t.Context(), r, other, path, ended)
	other.expect(t, "another\n")
	add(t, filepath.Dir(path)+"-away/0.log", entry("b"))
	c.expect(t, "b\n")
	add(t, path, entry("one"))
	other.expect(t, "one\n")
	e.now()
	must(t, wait())
	must(t, waitOther())
	if n := looks.Load(); n > 100 {
		t.Errorf("%d looks in a few seconds", n)
	}
}
