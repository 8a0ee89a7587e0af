package rotate

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// machine is a runtime, a container that writes to a log, and those who read.
type machine struct {
	pods, path string

	mu       sync.Mutex
	out      *os.File
	lines    int
	reopened int
	refuses  error                // answer of ReopenContainerLog
	creates  bool                 // it makes a new file nevertheless
	blocked  map[string]chan bool // calls for these containers wait

	watched map[string][]func() // by path
	refused error               // answer of Once
	behind  bool                // somebody has yet to read what was rotated
	held    int64
	cut     int64
	dead    context.CancelFunc // ends the rotator that was started last
}

func newMachine(t testing.TB) *machine {
	t.Helper()
	m := &machine{pods: t.TempDir(), watched: map[string][]func(){}, blocked: map[string]chan bool{}}
	m.path = filepath.Join(m.pods, "ns_web_uid-1", "app", "0.log")
	must(t, os.MkdirAll(filepath.Dir(m.path), 0o755))
	must(t, m.reopen())
	t.Cleanup(func() { _ = m.out.Close() })
	return m
}

func (m *machine) reopen() error {
	f, err := os.OpenFile(m.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err == nil {
		if m.out != nil {
			err = m.out.Close()
		}
		m.out = f
	}
	return err
}

// pathOf is the log of a container: "app" has ID app.
func (m *machine) pathOf(id string) string {
	return filepath.Join(filepath.Dir(filepath.Dir(m.path)), id, "0.log")
}

func (m *machine) LogPath(_ context.Context, id string) (string, error) { return m.pathOf(id), nil }

func (m *machine) ReopenContainerLog(ctx context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if wait := m.blocked[id]; wait != nil {
		m.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
		}
		m.mu.Lock()
		return context.Canceled
	}
	m.reopened++
	if m.refuses != nil {
		if m.creates {
			return errors.Join(m.refuses, os.WriteFile(m.path, nil, 0o640))
		}
		return m.refuses
	}
	if id != "app" {
		return os.WriteFile(m.pathOf(id), nil, 0o640)
	}
	return m.reopen()
}

func (m *machine) Once(_ context.Context, path string, wake func()) (func(), error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refused != nil {
		return nil, m.refused
	}
	m.watched[path] = []func(){wake}
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.watched, path)
	}, nil
}

func (m *machine) Unlink(_ string, f Removal) error { return f.Remove() }
func (m *machine) Behind(string, string) bool       { m.mu.Lock(); defer m.mu.Unlock(); return m.behind }
func (m *machine) Held(string) int64                { m.mu.Lock(); defer m.mu.Unlock(); return m.held }
func (m *machine) Cut(_ string, bytes int64)        { m.mu.Lock(); defer m.mu.Unlock(); m.cut += bytes }

// write writes numbered lines of 100 bytes.
func (m *machine) write(t testing.TB, lines int) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	var all strings.Builder
	for range lines {
		fmt.Fprintf(&all, "%06d %092d\n", m.lines, 0)
		m.lines++
	}
	_, err := m.out.WriteString(all.String())
	must(t, err)
	m.wake(m.path)
}

// wake is called with the lock held.
func (m *machine) wake(path string) {
	for _, wake := range m.watched[path] {
		wake()
	}
	delete(m.watched, path) // once
}

func (m *machine) reopens() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reopened
}

// names are the names of the files beside the log, in order.
func (m *machine) names(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(m.path))
	must(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// text is all that is kept, oldest first; a plain file counts, not its copy.
func (m *machine) text(t testing.TB) string {
	t.Helper()
	var all []byte
	names := m.names(t)
	slices.SortFunc(names, func(a, b string) int {
		if a == "0.log" || b == "0.log" {
			return strings.Compare(b, a) // last
		}
		return strings.Compare(a, b)
	})
	names = slices.DeleteFunc(names, func(n string) bool {
		return strings.HasSuffix(n, unfinished) || slices.Contains(names, strings.TrimSuffix(n, zipped)) && strings.HasSuffix(n, zipped)
	})
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(filepath.Dir(m.path), name))
		must(t, err)
		if strings.HasSuffix(name, zipped) {
			r, err := gzip.NewReader(bytes.NewReader(data))
			must(t, err)
			data, err = io.ReadAll(r)
			must(t, err)
		}
		all = append(all, data...)
	}
	return string(all)
}

// complete checks that all lines are kept, each once and in order.
func (m *machine) complete(t testing.TB) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	next := 0
	for line := range strings.Lines(m.text(t)) {
		if want := fmt.Sprintf("%06d ", next); !strings.HasPrefix(line, want) {
			t.Fatalf("the line after %d is %q; files: %v", next-1, line, m.names(t))
		}
		next++
	}
	if next != m.lines {
		t.Fatalf("%d lines are kept, want %d; files: %v", next, m.lines, m.names(t))
	}
}

// config is of logs of 10,000 bytes.
func (m *machine) config(files int) Config {
	return Config{PodsDir: m.pods, MaxSize: 10_000, MaxFiles: files, Workers: 1, MonitorInterval: 10 * time.Second}
}

// rotator starts a rotator that ends with the returned function.
func (m *machine) rotator(t testing.TB, cfg Config, at func(string)) (r *Rotator, logs *observer.ObservedLogs, end func()) {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	r, err := New(cfg, Deps{Runtime: m, Readers: m, Log: zap.New(core)})
	must(t, err)
	if at != nil {
		r.at = at
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.dead = cancel
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	return r, logs, func() {
		cancel()
		must(t, <-done)
	}
}
