package content

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var errKilled = errors.New("killed")

// writeUntil writes, and is killed before the step of that number: from there on
// nothing is done any more, no tidying up either. It says how many steps there were.
func writeUntil(t *testing.T, dir string, files Files, group *int64, step int) (steps int, changed bool, err error) {
	t.Helper()
	tr, err := openTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.close()
	tr.step = func(string) error {
		if steps == step {
			return errKilled
		}
		steps++
		return nil
	}
	changed, _, err = write(t.Context(), tr, files, group)
	return steps, changed, err
}

// generations are what a volume is changed between. "both" always is in it.
func generations() map[string]Files {
	file := func(text string) File { return File{Data: []byte(text), Mode: 0o440} }
	return map[string]Files{
		"one":   {"both": file("1"), "deep/er/both": file("1"), "old": file("1"), "gone/x": file("1"), "swap": file("1")},
		"two":   {"both": file("2"), "deep/er/both": file("2"), "new": file("2"), "come/x": file("2"), "swap/in": file("2")},
		"empty": {},
	}
}

// shown says which generation a reader finds, "" when it is none of them in whole.
func shown(t *testing.T, dir string) string {
	t.Helper()
	for name, files := range generations() {
		if len(files) == 0 {
			continue
		}
		whole := true
		for p, file := range files {
			data, err := os.ReadFile(filepath.Join(dir, dataLink, p))
			whole = whole && err == nil && string(data) == string(file.Data)
		}
		if whole {
			return name
		}
	}
	if entries, err := os.ReadDir(filepath.Join(dir, dataLink)); err == nil && len(entries) == 0 {
		return "empty"
	}
	return ""
}

// age makes all replaced directories older than the grace.
func age(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		if timed.MatchString(e.Name()) {
			past := time.Now().Add(-time.Hour)
			must(t, os.Chtimes(filepath.Join(dir, e.Name()), past, past))
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// clean checks that a volume has these files and nothing else.
func clean(t *testing.T, dir string, files Files) {
	t.Helper()
	l, err := files.layOut()
	must(t, err)
	entries, err := os.ReadDir(dir)
	must(t, err)
	target, err := os.Readlink(filepath.Join(dir, dataLink))
	must(t, err)
	var wrong []string
	found := 0
	for _, e := range entries {
		name := e.Name()
		_, top := l.top[name]
		link, _ := os.Readlink(filepath.Join(dir, name))
		switch {
		case name == dataLink, name == target && e.IsDir():
		case top && link == dataLink+"/"+name:
			found++
		default:
			wrong = append(wrong, name+" -> "+link)
		}
	}
	if found != len(l.top) || len(wrong) > 0 {
		t.Errorf("%d of %d links; what should not be there: %q", found, len(l.top), wrong)
	}
	tr, err := openTree(dir)
	must(t, err)
	defer tr.close()
	if same, err := (&writer{tree: tr, layout: l}).same(t.Context(), target); err != nil || !same {
		t.Errorf("the files are other ones: %v", err)
	}
}

func TestKilledBeforeEachStep(t *testing.T) {
	all := generations()
	for _, change := range [][2]string{{"", "one"}, {"one", "two"}, {"two", "one"}, {"one", "empty"}, {"empty", "two"}} {
		from, to := change[0], change[1]
		t.Run(from+" to "+to, func(t *testing.T) {
			for step := 0; ; step++ {
				dir := t.TempDir()
				if from != "" {
					_, err := Write(t.Context(), dir, all["empty"], nil) // so that there is something to remove
					must(t, err)
					_, err = Write(t.Context(), dir, all[from], nil)
					must(t, err)
					age(t, dir)
				}
				_, _, err := writeUntil(t, dir, all[to], nil, step)
				if now := shown(t, dir); now != to && (now != from || err == nil) {
					t.Fatalf("killed before step %d: readers find %q", step, now)
				}
				if err == nil {
					if step < 10 {
						t.Fatalf("all was done in %d steps", step)
					}
					break
				}
				if !errors.Is(err, errKilled) {
					t.Fatalf("killed before step %d: %v", step, err)
				}
				age(t, dir)
				// The next one may be killed at the same place.
				_, _, err = writeUntil(t, dir, all[to], nil, step)
				if err != nil && !errors.Is(err, errKilled) {
					t.Fatalf("killed before step %d once more: %v", step, err)
				}
				age(t, dir)
				_, err = Write(t.Context(), dir, all[to], nil)
				must(t, err)
				age(t, dir)
				_, err = Write(t.Context(), dir, all[to], nil)
				must(t, err)
				clean(t, dir, all[to])
				if changed, err := Write(t.Context(), dir, all[to], nil); changed || err != nil {
					t.Fatalf("killed before step %d: not at rest: %t, %v", step, changed, err)
				}
			}
		})
	}
}

// TestStepFails is for what fails and lets the agent go on.
func TestStepFails(t *testing.T) {
	all := generations()
	for step := 0; ; step++ {
		dir := t.TempDir()
		_, err := Write(t.Context(), dir, all["one"], nil)
		must(t, err)
		age(t, dir)
		tr, err := openTree(dir)
		must(t, err)
		n, what := 0, ""
		tr.step = func(op string) error {
			n++
			if n != step+1 {
				return nil
			}
			what = op
			return unix.EIO
		}
		changed, _, err := write(t.Context(), tr, all["two"], nil)
		tr.close()
		if n <= step {
			if err != nil || step < 10 {
				t.Fatalf("%d steps, %v", step, err)
			}
			return
		}
		tolerated := strings.HasPrefix(what, "touch ")
		if !tolerated && !errors.Is(err, unix.EIO) {
			t.Errorf("%s failed: %v", what, err)
		}
		want := "one"
		if changed {
			want = "two"
		}
		if now := shown(t, dir); now != want {
			t.Errorf("%s failed: changed %t, and readers find %q", what, changed, now)
		}
		// The files that are not shown are not left behind.
		entries, err := os.ReadDir(dir)
		must(t, err)
		dirs := 0
		for _, e := range entries {
			if timed.MatchString(e.Name()) {
				dirs++
			}
		}
		if !changed && dirs != 1 && !strings.HasPrefix(what, "unlink ") {
			t.Errorf("%s failed: %d directories are left", what, dirs)
		}
	}
}
