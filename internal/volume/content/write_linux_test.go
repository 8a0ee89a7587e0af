package content

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// listing writes a volume as lines "path type mode uid:gid target", without the time
// in names.
func listing(t *testing.T, dir string) []string {
	t.Helper()
	var lines []string
	current, err := os.Readlink(dir + "/" + dataLink)
	must(t, err)
	must(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		must(t, unix.Lstat(path, &st))
		target, _ := os.Readlink(path)
		rel, err := filepath.Rel(dir, path)
		kind := map[uint32]string{unix.S_IFREG: "file", unix.S_IFDIR: "dir", unix.S_IFLNK: "link"}[st.Mode&unix.S_IFMT]
		line := fmt.Sprintf("%s %s %o %d:%d %s", rel, kind, st.Mode&unixPermissions, st.Uid, st.Gid, target)
		lines = append(lines, strings.TrimSpace(strings.ReplaceAll(line, current, "TIME")))
		return err
	}))
	slices.Sort(lines)
	return lines
}

func expect(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant:\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func text(data string, mode int32) File { return File{Data: []byte(data), Mode: mode} }

func TestLayout(t *testing.T) {
	needRoot(t)
	for _, umask := range []int{0o022, 0o077, 0} {
		old := unix.Umask(umask)
		dir := t.TempDir()
		must(t, os.Chmod(dir, 0o777))
		files := Files{"a": text("1", 0o644), "d/e/f": text("2", 0o400), "./d//g": text("", 0), "x": text("3", 0o7777), "y": {Owner: new(int64(1))}}
		changed, err := Write(t.Context(), dir, files, nil)
		unix.Umask(old)
		if !changed || err != nil {
			t.Fatalf("changed %t, %v", changed, err)
		}
		expect(t, fmt.Sprintf("umask %o", umask), listing(t, dir),
			". dir 777 0:0",
			"..data link 777 0:0 TIME",
			"TIME dir 755 0:0",
			"TIME/a file 644 0:0",
			"TIME/d dir 755 0:0",
			"TIME/d/e dir 755 0:0",
			"TIME/d/e/f file 400 0:0",
			"TIME/d/g file 0 0:0",
			"TIME/x file 777 0:0",
			"TIME/y file 0 1:0",
			"y link 777 1:0 ..data/y",
			"a link 777 0:0 ..data/a",
			"d link 777 0:0 ..data/d",
			"x link 777 0:0 ..data/x",
		)
	}
}

func TestGroupAndOwner(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o777))
	files := Files{"a": text("1", 0o644), "d/b": text("2", 0o400), "d/z": text("3", 0o777), "o": {Data: []byte("4"), Mode: 0o600, Owner: new(int64(1000))}, "p": {Owner: new(int64(1001))}}
	group := new(int64(4711))
	for _, again := range []bool{true, false} {
		if changed, err := Write(t.Context(), dir, files, group); changed != again || err != nil {
			t.Fatalf("changed %t, %v", changed, err)
		}
	}
	want := []string{
		". dir 2777 0:4711",
		"..data link 777 0:4711 TIME",
		"TIME dir 2755 0:4711",
		"TIME/a file 644 0:4711",
		"TIME/d dir 2755 0:4711",
		"TIME/d/b file 440 0:4711",
		"TIME/d/z file 777 0:4711",
		"TIME/o file 640 1000:4711",
		"TIME/p file 440 1001:4711",
		"p link 777 1001:4711 ..data/p",
		"a link 777 0:4711 ..data/a",
		"d link 777 0:4711 ..data/d",
		"o link 777 1000:4711 ..data/o",
	}
	expect(t, "with a group", listing(t, dir), want...)

	// What somebody else does to modes and owners is undone.
	spoil := map[string]func(path string) error{
		"a": func(p string) error { return os.Chmod(p, 0o666) }, "d/b": func(p string) error { return os.Chown(p, -1, 0) },
		"o": func(p string) error { return os.Chown(p, 0, -1) }, "d": func(p string) error { return os.Chmod(p, 0o700) },
		".": func(p string) error { return os.Chown(p, 1, 4711) }, "d/z": func(p string) error { return os.Truncate(p, 0) },
	}
	for name, do := range spoil {
		must(t, do(filepath.Join(dir, dataLink, name)))
		if changed, err := Write(t.Context(), dir, files, group); !changed || err != nil {
			t.Errorf("%s is otherwise: changed %t, %v", name, changed, err)
		}
		age(t, dir)
		if changed, err := Write(t.Context(), dir, files, group); changed || err != nil {
			t.Errorf("%s is right again: changed %t, %v", name, changed, err)
		}
		expect(t, name+" is right again", listing(t, dir), want...)
	}
}

func TestWhatChangesIsSeen(t *testing.T) {
	dir := t.TempDir()
	big := strings.Repeat("0123456789abcdef", compareChunk/8)
	for i, c := range []struct {
		files   Files
		changed bool
	}{
		{Files{}, true},
		{Files{}, false},
		{nil, false},
		{Files{"a": text("1", 0o644)}, true},
		{Files{"./a": text("1", 0o644)}, false},
		{Files{"a": text("1", 0o600)}, true},
		{Files{"a": text("2", 0o600)}, true},
		{Files{"a": text("2", 0o600), "b": text("", 0o600)}, true},
		{Files{"a": text("2", 0o600), "b/c": text("", 0o600)}, true},
		{Files{"a": text("2", 0o600), "b/d": text("", 0o600)}, true},
		{Files{"a/b": text("2", 0o600)}, true},
		{Files{"a": text(big+"x", 0o600)}, true},
		{Files{"a": text(big+"x", 0o600)}, false},
		{Files{"a": text(big+"y", 0o600)}, true},
		{Files{}, true},
	} {
		changed, err := Write(t.Context(), dir, c.files, nil)
		if changed != c.changed || err != nil {
			t.Errorf("%d: changed %t, %v", i, changed, err)
		}
		age(t, dir)
		if changed, err := Write(t.Context(), dir, c.files, nil); changed || err != nil {
			t.Errorf("%d again: changed %t, %v", i, changed, err)
		}
		clean(t, dir, c.files)
	}
}

func TestWrongPathsWriteNothing(t *testing.T) {
	dir := t.TempDir()
	if changed, err := Write(t.Context(), dir, Files{"a": {}, "../b": {}}, nil); changed || err == nil {
		t.Errorf("changed %t, %v", changed, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v", entries, err)
	}
}

// TestDeepPath is for as many directories as a path can name.
func TestDeepPath(t *testing.T) {
	dir := t.TempDir()
	files := Files{strings.Repeat("d/", 2000) + "f": text("1", 0o644)}
	for range 2 {
		_, err := Write(t.Context(), dir, files, nil)
		must(t, err)
	}
	clean(t, dir, files)
	_, err := Write(t.Context(), dir, Files{}, nil)
	must(t, err)
	age(t, dir)
	_, err = Write(t.Context(), dir, Files{}, nil)
	must(t, err)
	clean(t, dir, Files{})
}

func TestReplacedFilesStayForAMoment(t *testing.T) {
	dir := t.TempDir()
	timedDirs := func() (n int) {
		entries, err := os.ReadDir(dir)
		must(t, err)
		for _, e := range entries {
			if timed.MatchString(e.Name()) {
				n++
			}
		}
		return n
	}
	put := func(n int) (due time.Time) {
		tr, err := openTree(dir)
		must(t, err)
		defer tr.close()
		_, due, err = write(t.Context(), tr, Files{"a": text(fmt.Sprint(n), 0o600)}, nil)
		must(t, err)
		return due
	}
	if due := put(0); !due.IsZero() || timedDirs() != 1 {
		t.Errorf("the first: due %v, %d directories", due, timedDirs())
	}
	before := time.Now()
	due := put(1)
	if timedDirs() != 2 || due.Before(before.Add(grace-time.Second)) || due.After(time.Now().Add(grace)) {
		t.Errorf("the second: due %v, %d directories", due, timedDirs())
	}
	for n := 2; n < 10; n++ {
		put(n)
	}
	if n := timedDirs(); n > 1+maxRetired {
		t.Errorf("%d directories", n)
	}
	age(t, dir)
	if due := put(9); !due.IsZero() || timedDirs() != 1 {
		t.Errorf("later: due %v, %d directories", due, timedDirs())
	}
	// A clock that was set back keeps nothing for longer.
	put(10)
	future := time.Now().Add(time.Hour)
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		if timed.MatchString(e.Name()) {
			must(t, os.Chtimes(filepath.Join(dir, e.Name()), future, future))
		}
	}
	if due := put(10); !due.IsZero() || timedDirs() != 1 {
		t.Errorf("from the future: due %v, %d directories", due, timedDirs())
	}
}

// TestNamesCarryTheTime is for those who read the names, and for the pattern that
// finds them again.
func TestNamesCarryTheTime(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		_, err := Write(t.Context(), dir, Files{}, nil)
		must(t, err)
		target, err := os.Readlink(dir + "/" + dataLink)
		must(t, err)
		if !strings.HasPrefix(target, "..2000_01_01_00_00_00.") || !timed.MatchString(target) {
			t.Error(target)
		}
	})
}
