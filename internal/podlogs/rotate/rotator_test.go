package rotate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// shapes are the names with p for those without compression and z for the others.
func shapes(names []string) string {
	var all []string
	for _, n := range names {
		switch {
		case n == "0.log":
			all = append(all, "log")
		case strings.HasSuffix(n, zipped):
			all = append(all, "z")
		case strings.HasSuffix(n, unfinished):
			all = append(all, "tmp")
		default:
			all = append(all, "p")
		}
	}
	return strings.Join(all, " ")
}

func TestRotationAtTheSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		r, logs, end := m.rotator(t, m.config(4), nil)
		defer end()
		r.Follow("uid-1", []string{"app"})
		synctest.Wait()
		m.write(t, 99)
		time.Sleep(time.Minute)
		if got := shapes(m.names(t)); got != "log" {
			t.Errorf("below the size: %s", got)
		}
		for i, want := range []string{"log p", "log z p", "log z z p", "log z z p", "log z z p"} {
			m.write(t, 101)
			time.Sleep(2 * time.Minute)
			if got := shapes(m.names(t)); got != want {
				t.Errorf("after %d rotations: %s, want %s", i+1, got, want)
			}
		}
		name := regexp.MustCompile(`^0\.log(\.\d{8}-\d{6}(\.gz)?)?$`)
		for _, n := range m.names(t) {
			if !name.MatchString(n) {
				t.Errorf("a file is called %s", n)
			}
		}
		info, err := os.Stat(filepath.Join(filepath.Dir(m.path), m.names(t)[1]))
		must(t, err)
		if info.Mode() != 0o640 {
			t.Errorf("a compressed file has mode %s", info.Mode())
		}
		if n := m.reopens(); n != 5 || logs.Len() != 0 {
			t.Errorf("the runtime was asked %d times; said: %v", n, logs.All())
		}
	})
}

// A log is rotated within the shortest pause after it is full, however it was
// before.
func TestRotationIsPrompt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		r, _, end := m.rotator(t, m.config(100), nil)
		defer end()
		r.Follow("uid-1", []string{"app"})
		for range 10 { // now and then
			time.Sleep(time.Second)
			m.write(t, 1)
		}
		for range 2 { // then fast
			began := time.Now()
			before := m.reopens()
			for range 100 {
				m.write(t, 1)
				time.Sleep(time.Millisecond)
			}
			for m.reopens() == before {
				time.Sleep(time.Millisecond)
			}
			if took := time.Since(began); took > 100*time.Millisecond+2*soonest {
				t.Errorf("rotated after %s", took)
			}
			time.Sleep(time.Minute)
		}
		m.complete(t)
	})
}

// Twenty rotations a second, which is 200 MB/s by the default size: their names
// differ and are in order, and nothing is compressed before it is over.
func TestManyRotationsInASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		r, _, end := m.rotator(t, m.config(1000), nil)
		defer end()
		r.Follow("uid-1", []string{"app"})
		for range 200 {
			m.write(t, 100)
			time.Sleep(50 * time.Millisecond)
		}
		synctest.Wait()
		names := m.names(t)
		if len(names) < 90 {
			t.Errorf("only %d files", len(names))
		}
		if strings.Contains(shapes(names), "z") {
			t.Error("files are compressed although there are always new ones")
		}
		time.Sleep(time.Minute)
		if got := strings.Count(shapes(m.names(t)), "p"); got != 1 {
			t.Errorf("%d files are not compressed afterwards", got)
		}
		m.complete(t)
	})
}

// What somebody has yet to read is compressed at once: it takes less of the limit.
func TestWhatIsYetToBeReadIsCompressedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		m.behind = true
		r, _, end := m.rotator(t, m.config(1000), nil)
		defer end()
		r.Follow("uid-1", []string{"app"})
		const n = 50
		for range n {
			m.write(t, 100)
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		if got := shapes(m.names(t)); strings.Count(got, "z") < n/2 {
			t.Errorf("the files are %s while there are always new ones", got)
		}
		m.complete(t)
	})
}

func TestTheSumIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		r, _, end := m.rotator(t, m.config(5), nil)
		defer end()
		r.Follow("uid-1", []string{"app"})
		for i, lines := range []int{100, 100, 100, 100, 300, 100, 350, 350, 350, 100, 100} {
			m.write(t, lines)
			time.Sleep(60 * time.Millisecond) // no time for compressing
			sum := int64(0)
			for _, n := range m.names(t) {
				info, err := os.Stat(filepath.Join(filepath.Dir(m.path), n))
				must(t, err)
				sum += info.Size()
			}
			if sum > 100_000 {
				t.Errorf("write %d: %d bytes in %v", i, sum, m.names(t))
			}
		}
		m.mu.Lock()
		m.held = 75_000
		m.mu.Unlock()
		m.write(t, 100)
		time.Sleep(time.Second)
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.cut != 5_000 {
			t.Errorf("readers were made to let go of %d bytes, want what they hold too much", m.cut)
		}
	})
}

func TestTheRuntimeRefuses(t *testing.T) {
	for _, creates := range []bool{false, true} {
		t.Run(fmt.Sprintf("creates=%v", creates), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine(t)
				r, logs, end := m.rotator(t, m.config(100), nil)
				defer end()
				r.Follow("uid-1", []string{"app"})
				m.refuses, m.creates = errors.New("not now"), creates
				m.write(t, 150)
				time.Sleep(time.Second)
				m.write(t, 50)
				m.complete(t)
				if !creates && shapes(m.names(t)) != "log" {
					t.Errorf("the log has not got its name back: %v", m.names(t))
				}
				time.Sleep(20 * time.Second)
				if logs.FilterMessageSnippet("cannot be rotated").Len() != 1 {
					t.Errorf("said: %v", logs.All())
				}
				m.mu.Lock()
				m.refuses = nil
				m.mu.Unlock()
				time.Sleep(20 * time.Second)
				m.write(t, 150)
				time.Sleep(time.Minute)
				m.complete(t)
				if n := len(m.names(t)); n < 2 {
					t.Errorf("not rotated: %v", m.names(t))
				}
			})
		})
	}
}

// A log for which the runtime does not answer holds up no other.
func TestLogsDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		r, _, end := m.rotator(t, m.config(5), nil)
		defer end()
		ids := []string{"app"}
		for i := range asksAtOnce - 1 {
			id := fmt.Sprintf("stuck-%d", i)
			m.blocked[id] = make(chan bool)
			must(t, os.MkdirAll(filepath.Dir(m.pathOf(id)), 0o755))
			must(t, os.WriteFile(m.pathOf(id), make([]byte, 20_000), 0o640))
			ids = append(ids, id)
		}
		r.Follow("uid-1", ids)
		time.Sleep(time.Second)
		m.write(t, 150)
		time.Sleep(time.Second)
		if got := shapes(m.names(t)); got != "log p" {
			t.Errorf("the files are %s", got)
		}
	})
}

func TestWithoutWatchTheIntervalCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		m.refused = errors.New("no space left on device")
		r, _, end := m.rotator(t, m.config(5), nil)
		defer end()
		r.Follow("uid-1", []string{"app"})
		m.write(t, 50)
		time.Sleep(11 * time.Second)
		m.write(t, 100)
		time.Sleep(11 * time.Second)
		if got := shapes(m.names(t)); got != "log p" {
			t.Errorf("the files are %s", got)
		}
	})
}

// A container that has ended is not asked about any more; what was rotated last is
// put in order.
func TestContainersThatEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		r, logs, end := m.rotator(t, m.config(5), nil)
		defer end()
		r.Follow("uid-1", []string{"app"})
		m.write(t, 150)
		time.Sleep(200 * time.Millisecond)
		m.write(t, 150)
		time.Sleep(200 * time.Millisecond)
		r.Follow("uid-1", nil)
		time.Sleep(time.Second)
		m.write(t, 150) // nobody looks
		time.Sleep(time.Minute)
		if got := shapes(m.names(t)); got != "log z p" {
			t.Errorf("the files are %s", got)
		}
		if n := m.reopens(); n != 2 || logs.Len() != 0 || len(r.pods) != 0 || len(m.watched) != 0 {
			t.Errorf("asked %d times, said %v, %d pods, %d watches", n, logs.All(), len(r.pods), len(m.watched))
		}
	})
}

// What a container that mounts the logs may put beside one of them.
func TestWhatElseLiesThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		dir := filepath.Dir(m.path)
		secret := filepath.Join(t.TempDir(), "secret")
		must(t, os.WriteFile(secret, []byte("secret"), 0o600))
		must(t, os.Symlink(secret, m.path+".20260101-000000"))
		must(t, os.Symlink(secret, m.path+".20260101-000001.tmp"))
		must(t, os.WriteFile(m.path+".20260101-000002.tmp", []byte("half"), 0o600))
		must(t, os.WriteFile(m.path+".99991231-235959", []byte("future"), 0o600))
		must(t, os.WriteFile(m.path+".mine", []byte("mine"), 0o600))
		must(t, os.Mkdir(m.path+".20260101-000003", 0o700))
		must(t, os.WriteFile(filepath.Join(dir, "other"), []byte("other"), 0o600))
		r, logs, end := m.rotator(t, m.config(3), nil)
		defer end()
		r.Follow("uid-1", []string{"app"})
		for range 3 {
			m.write(t, 150)
			time.Sleep(10 * time.Second)
		}
		var left []string
		for _, n := range m.names(t) {
			if at, _, ok := Parse("0.log", n); !ok || at < "20260102" {
				left = append(left, n)
			} else if at > "20991231" {
				t.Errorf("a rotated log is called %s", n)
			}
		}
		if got := strings.Join(left, " "); !strings.HasPrefix(got, "0.log ") || !strings.Contains(got, "other") ||
			strings.Contains(got, "tmp") || strings.Contains(got, "mine") {
			t.Errorf("left are %s", got)
		}
		if data, err := os.ReadFile(secret); err != nil || string(data) != "secret" {
			t.Errorf("a file elsewhere is %q, %v", data, err)
		}
		if logs.Len() != 0 {
			t.Errorf("said: %v", logs.All())
		}
	})
}

// A symlink in the place of a log or its directory is not followed.
func TestSymlinks(t *testing.T) {
	for _, which := range []string{"log", "container", "pod"} {
		t.Run(which, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine(t)
				elsewhere := filepath.Join(t.TempDir(), "ns_web_uid-1", "app")
				must(t, os.MkdirAll(elsewhere, 0o755))
				victim := filepath.Join(elsewhere, "0.log")
				must(t, os.WriteFile(victim, make([]byte, 50_000), 0o600))
				from, to := m.path, victim
				if which != "log" {
					from, to = filepath.Dir(from), filepath.Dir(to)
				}
				if which == "pod" {
					from, to = filepath.Dir(from), filepath.Dir(to)
				}
				must(t, os.RemoveAll(from))
				must(t, os.Symlink(to, from))
				r, _, end := m.rotator(t, m.config(3), nil)
				defer end()
				r.Follow("uid-1", []string{"app"})
				time.Sleep(time.Minute)
				entries, err := os.ReadDir(elsewhere)
				must(t, err)
				if len(entries) != 1 || m.reopens() != 0 {
					t.Errorf("%d files elsewhere, the runtime was asked %d times", len(entries), m.reopens())
				}
			})
		})
	}
}

func TestNewRefuses(t *testing.T) {
	good := Config{PodsDir: "/p", MaxSize: 1, MaxFiles: 2, Workers: 1, MonitorInterval: time.Second}
	for name, change := range map[string]func(*Config){
		"path": func(c *Config) { c.PodsDir = "p" }, "size": func(c *Config) { c.MaxSize = 0 }, "files": func(c *Config) { c.MaxFiles = 1 },
		"workers": func(c *Config) { c.Workers = 0 }, "interval": func(c *Config) { c.MonitorInterval = 0 },
	} {
		cfg := good
		change(&cfg)
		if _, err := New(cfg, Deps{}); err == nil {
			t.Errorf("a wrong %s is taken", name)
		}
	}
	if _, err := New(good, Deps{}); err != nil {
		t.Error(err)
	}
}

func TestNegativeSizeIsNever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		cfg := m.config(3)
		cfg.MaxSize = -1
		r, _, end := m.rotator(t, cfg, nil)
		defer end()
		r.Follow("uid-1", []string{"app"})
		m.write(t, 1000)
		time.Sleep(time.Hour)
		if got := shapes(m.names(t)); got != "log" {
			t.Errorf("the files are %s", got)
		}
	})
}
