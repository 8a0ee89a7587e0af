package filewatch

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// seen starts Run on a path and returns a channel with what each check read.
func seen(t *testing.T, path string, every time.Duration, hints <-chan struct{}) <-chan string {
	t.Helper()
	contents, ended := make(chan string, 100), make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		defer close(ended)
		Run(ctx, Config{Paths: []string{path}, Every: every, Hints: hints}, func() {
			text, err := os.ReadFile(path)
			if err != nil {
				text = []byte("none")
			}
			select {
			case contents <- string(text):
			case <-ctx.Done():
			}
		}, zap.NewNop())
	}()
	t.Cleanup(func() { stop(); <-ended })
	return contents
}

func await(t *testing.T, contents <-chan string, want string) {
	t.Helper()
	for deadline := time.After(patience); ; {
		select {
		case got := <-contents:
			if got == want {
				return
			}
		case <-deadline:
			t.Fatalf("no check read %q", want)
		}
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600))
}

// swap lets a link lead elsewhere in one step, as certificate tools do.
func swap(t *testing.T, target, link string) {
	t.Helper()
	must(t, os.Symlink(target, link+".new"), os.Rename(link+".new", link))
}

func TestChangesAreNoticed(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, dir string) (path string)
		change  func(t *testing.T, dir string)
	}{
		{
			"written in place",
			func(t *testing.T, dir string) string { write(t, dir+"/crt", "old"); return dir + "/crt" },
			func(t *testing.T, dir string) { write(t, dir+"/crt", "new") },
		},
		{
			"renamed over",
			func(t *testing.T, dir string) string { write(t, dir+"/crt", "old"); return dir + "/crt" },
			func(t *testing.T, dir string) {
				write(t, dir+"/tmp", "new")
				must(t, os.Rename(dir+"/tmp", dir+"/crt"))
			},
		},
		{
			"link to a file",
			func(t *testing.T, dir string) string {
				write(t, dir+"/1/crt", "old")
				write(t, dir+"/2/crt", "new")
				must(t, os.Mkdir(dir+"/live", 0o755))
				swap(t, "../1/crt", dir+"/live/crt")
				return dir + "/live/crt"
			},
			func(t *testing.T, dir string) { swap(t, "../2/crt", dir+"/live/crt") },
		},
		{
			"link in the middle, as in a mounted secret",
			func(t *testing.T, dir string) string {
				write(t, dir+"/..1/crt", "old")
				write(t, dir+"/..2/crt", "new")
				swap(t, "..1", dir+"/..data")
				swap(t, "..data/crt", dir+"/crt")
				return dir + "/crt"
			},
			func(t *testing.T, dir string) { swap(t, dir+"/..2", dir+"/..data") },
		},
		{
			"what the link leads to",
			func(t *testing.T, dir string) string {
				write(t, dir+"/far/crt", "old")
				swap(t, dir+"/far/crt", dir+"/crt")
				return dir + "/crt"
			},
			func(t *testing.T, dir string) { write(t, dir+"/far/crt", "new") },
		},
		{
			"made later, with its directories",
			func(_ *testing.T, dir string) string { return dir + "/a/b/crt" },
			func(t *testing.T, dir string) { write(t, dir+"/a/b/crt", "new") },
		},
		{
			"the directory replaced",
			func(t *testing.T, dir string) string {
				write(t, dir+"/pki/crt", "old")
				write(t, dir+"/pki.new/crt", "new")
				return dir + "/pki/crt"
			},
			func(t *testing.T, dir string) {
				must(t, os.Rename(dir+"/pki", dir+"/pki.old"), os.Rename(dir+"/pki.new", dir+"/pki"))
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := c.prepare(t, dir)
			contents := seen(t, path, time.Hour, nil)
			<-contents // the watches are set
			c.change(t, dir)
			await(t, contents, "new")
		})
	}
}

// A change after a change is noticed as well: the watches moved with the link.
func TestEveryChangeIsNoticed(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/1/crt", "one")
	write(t, dir+"/2/crt", "two")
	swap(t, "1", dir+"/live")
	contents := seen(t, dir+"/live/crt", time.Hour, nil)
	await(t, contents, "one")
	swap(t, "2", dir+"/live")
	await(t, contents, "two")
	write(t, dir+"/2/crt", "two, again")
	await(t, contents, "two, again")
	must(t, os.Remove(dir+"/2/crt"))
	await(t, contents, "none")
	swap(t, "1", dir+"/live")
	await(t, contents, "one")
}

// What no watch can tell, an ancestor that is renamed, is found at the interval.
func TestInterval(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/old/a/b/crt", "old")
	write(t, dir+"/new/a/b/crt", "new")
	must(t, os.Rename(dir+"/old", dir+"/top"))
	contents := seen(t, dir+"/top/a/b/crt", 10*time.Millisecond, nil)
	await(t, contents, "old")
	must(t, os.Rename(dir+"/top", dir+"/away"), os.Rename(dir+"/new", dir+"/top"))
	await(t, contents, "new")
}

func TestHint(t *testing.T) {
	hints := make(chan struct{})
	contents := seen(t, t.TempDir()+"/none", time.Hour, hints)
	await(t, contents, "none")
	hints <- struct{}{}
	await(t, contents, "none")
}

func TestChain(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/real/deep/crt", "x")
	swap(t, "real", dir+"/link")
	swap(t, dir+"/link/deep/../deep/crt", dir+"/crt")
	swap(t, "loop", dir+"/loop")
	for path, want := range map[string][]string{
		"/crt":           {"/crt", "/link", "/real/deep/crt"},
		"/link/./nope/x": {"/link", "/real/nope"},
		"/real/deep/crt": {"/real/deep/crt"},
	} {
		got := chain(dir + path)
		for i := range got {
			got[i] = got[i][len(dir):]
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s leads over %q, want %q", path, got, want)
		}
	}
	if got := chain(dir + "/loop"); len(got) != maxLinks+1 {
		t.Errorf("a loop of links is followed %d times", len(got))
	}
}
