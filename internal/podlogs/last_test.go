package podlogs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLast(t *testing.T) {
	numbers := func(from, to int) (file, text string) {
		for i := from; i < to; i++ {
			file += entry(fmt.Sprint(i))
			text += fmt.Sprintln(i)
		}
		return file, text
	}
	hundred, _ := numbers(0, 100)
	_, eighty := numbers(20, 100)
	for _, c := range []struct {
		name, file         string
		maxBytes, maxLines int64
		want               string
		wantErr            error
		missing            bool
	}{
		{name: "empty", maxBytes: 10, maxLines: 10},
		{name: "missing", maxBytes: 10, maxLines: 10, missing: true, wantErr: fs.ErrNotExist},
		{name: "short", file: entry("why"), maxBytes: 10, maxLines: 10, want: "why\n"},
		{name: "both streams", file: entry("out") + stamp + " stderr F err\n", maxBytes: 100, maxLines: 10, want: "out\nerr\n"},
		{name: "lines", file: hundred, maxBytes: 2048, maxLines: 80, want: eighty},
		{name: "bytes", file: hundred, maxBytes: 7, maxLines: 80, want: "\n98\n99\n"},
		{name: "no bytes", file: hundred, maxLines: 80},
		{name: "no lines", file: hundred, maxBytes: 80},
		{name: "negative", file: hundred, maxBytes: -1, maxLines: -1},
		{name: "parts of a line", file: stamp + " stdout P a\n" + stamp + " stdout P b\n" + stamp + " stdout F c\n", maxBytes: 10, maxLines: 2, want: "bc\n"},
		{name: "without newline", file: entry("a") + stamp + " stdout F cut", maxBytes: 10, maxLines: 5, want: "a\ncut"},
		{name: "long line", file: entry(strings.Repeat("x", 1<<20) + "end"), maxBytes: 6, maxLines: 5, want: "xxend\n"},
		{name: "rubbish", file: "rubbish\n" + strings.Repeat("\x00", 1000) + "\n", maxBytes: 10, maxLines: 5, wantErr: ErrFormat},
		{name: "rubbish between", file: entry("a") + "rubbish\n" + entry("b"), maxBytes: 10, maxLines: 5, want: "a\nb\n"},
	} {
		r, path := place(t, c.file)
		if c.missing {
			must(t, os.Remove(path))
		}
		got, err := r.Last(t.Context(), path, c.maxBytes, c.maxLines)
		if got != c.want || !errors.Is(err, c.wantErr) {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}

func TestLastReadsOnlyRegularFiles(t *testing.T) {
	r, path := place(t, entry("fine"))
	dir := filepath.Dir(path)
	must(t, errors.Join(os.Symlink(path, dir+"/link.log"), unix.Mkfifo(dir+"/fifo.log", 0o600)))
	for _, bad := range []string{dir + "/link.log", dir + "/fifo.log", "/etc/passwd", "", dir + "/../app/0.log"} {
		if got, err := r.Last(t.Context(), bad, 100, 100); got != "" || !errors.Is(err, ErrNotALog) {
			t.Errorf("%q: %q, %v", bad, got, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Last(ctx, path, 100, 100); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A huge file costs no more than the window, whatever is in it.
func TestLastOfAHugeFile(t *testing.T) {
	r, path := place(t, "")
	grow := func(hole int64, end string) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_RDWR|os.O_TRUNC, 0)
		must(t, err)
		defer f.Close()
		must(t, f.Truncate(hole))
		_, err = f.WriteAt([]byte(end), hole)
		must(t, err)
	}
	grow(1<<40, "\n"+entry("end"))
	got, err := r.Last(t.Context(), path, 100, 80)
	if got != "end\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	grow(1<<40, "")
	if got, err := r.Last(t.Context(), path, 100, 80); got != "" || err != nil && !errors.Is(err, ErrFormat) {
		t.Errorf("%q, %v", got, err)
	}
	lines := strings.Repeat(entry("more"), 5000)
	grow(1<<40, "\n"+entry("no")+lines)
	if got, err := r.Last(t.Context(), path, 1<<20, 5000); got != strings.Repeat("more\n", 5000) || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// The windowed search finds what the search in the whole file finds.
func TestLastStartIsTailStart(t *testing.T) {
	var content bytes.Buffer
	rnd := rand.New(rand.NewPCG(1, 2))
	for content.Len() < lastWindow+tailBlock {
		content.WriteString(strings.Repeat("x", rnd.IntN(3*tailBlock)) + strings.Repeat("\n", rnd.IntN(3)))
	}
	path := filepath.Join(t.TempDir(), "log")
	must(t, os.WriteFile(path, content.Bytes(), 0o600))
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	for n := int64(0); n < 200; n += 23 {
		want, _, err := tailStart(t.Context(), f, n)
		must(t, err)
		if got, err := lastStart(t.Context(), f, n); got != want || err != nil {
			t.Fatalf("last %d lines: from %d, %v, want %d", n, got, err, want)
		}
	}
}
