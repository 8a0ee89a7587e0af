package nodelogs

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// parse reads a query that is in order.
func parse(t *testing.T, query string) *Query {
	t.Helper()
	values, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	q, errs := Parse(values)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return q
}

func TestNoQuery(t *testing.T) {
	for _, query := range []string{"", "tailLines=", "other=1", "sinceTime=&boot="} {
		if q := parse(t, query); q != nil {
			t.Errorf("%q: %+v", query, q)
		}
	}
}

// TestWrong: the words are the kubelet's.
func TestWrong(t *testing.T) {
	exists := func(name string) error {
		if name != "dir/file.log" {
			return &fs.PathError{Op: "statat", Path: name, Err: syscall.ENOENT}
		}
		return nil
	}
	long := strings.Repeat("x", 257)
	for query, want := range map[string]string{
		"query=":                                  `query: Invalid value: [""]: may not be empty`,
		"query=+&query=%20":                       `query: Invalid value: [" "," "]: may not be empty`,
		"sinceTime=yesterday":                     `sinceTime: Invalid value: "yesterday": invalid time format`,
		"untilTime=2020-01-01":                    `untilTime: Invalid value: "2020-01-01": invalid time format`,
		"boot=x":                                  `boot: Invalid value: "x": strconv.Atoi: parsing "x": invalid syntax`,
		"tailLines=1e3":                           `tailLines: Invalid value: "1e3": strconv.Atoi: parsing "1e3": invalid syntax`,
		"boot=1&query=a&sinceTime=1&boot=x":       `sinceTime: Invalid value: "1": invalid time format`,
		"tailLines=5":                             `query: Required value: cannot be empty with options`,
		"query=a&tailLines=-1":                    `tailLines: Invalid value: -1: must be between 0 and 100000, inclusive`,
		"query=a&tailLines=100001":                `tailLines: Invalid value: 100001: must be between 0 and 100000, inclusive`,
		"query=a&boot=1":                          `boot: Invalid value: 1: must be less than 1`,
		"query=a&pattern=(":                       "pattern: Invalid value: \"(\": error parsing regexp: missing closing ): `(`",
		"query=dir/file.log&query=a":              `query: Invalid value: "[dir/file.log], [a]": cannot specify a file and service`,
		"query=dir/file.log&query=b/c":            `query: Invalid value: ["dir/file.log","b/c"]: cannot specify more than one file`,
		"query=dir/file.log&pattern=x":            `query: Invalid value: ["dir/file.log"]: cannot specify file with options`,
		"query=dir/none":                          `query: Invalid value: ["dir/none"]: statat dir/none: no such file or directory`,
		"query=a%0Ab":                             `query: Invalid value: "a\nb": input contains unsupported characters`,
		"query=a+b":                               `query: Invalid value: "a b": input contains unsupported characters`,
		"query=$(id)":                             `query: Invalid value: "$(id)": input contains unsupported characters`,
		"query=%C3%A4":                            `query: Invalid value: "ä": input contains unsupported characters`,
		"query=" + long:                           `query: Invalid value: "` + long + `": length must be less than 256`,
		"query=a&query=b&query=c&query=d&query=e": `query: Too many: 5: must have at most 4 items`,
		"query=a&sinceTime=2021-01-01T00:00:00Z&untilTime=2020-01-01T00:00:00Z": "untilTime: Invalid value: \"2020-01-01T00:00:00Z\": must be after `sinceTime`",
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		q, errs := Parse(values)
		if len(errs) == 0 {
			errs = q.Check(exists)
		}
		if len(errs) == 0 || errs.ToAggregate().Error() != want {
			t.Errorf("%s:\ngot  %v\nwant %s", query, errs.ToAggregate(), want)
		}
	}
	for _, query := range []string{"query=dir/file.log", "query=a&query=b&query=c&query=d", "query=a-_.:@Z9&boot=-3&tailLines=0&pattern=x|y"} {
		if errs := parse(t, query).Check(exists); len(errs) > 0 {
			t.Errorf("%s: %v", query, errs)
		}
	}
}

// journalctl puts a program of that name into PATH, a shell script.
func journalctl(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	text := "#!/bin/sh\n" + script + "\n"
	if err := os.WriteFile(filepath.Join(dir, journal), []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// units is what a journalctl does that knows of some services.
const units = `case "$1" in --field) [ "$*" = "--field _SYSTEMD_UNIT" ] || exit 3; printf 'a.service\nb@1.service\nc.service\n'; exit;; esac
`

// copied is what a query comes to.
func copied(t *testing.T, query string, files Files) string {
	t.Helper()
	var out strings.Builder
	parse(t, query).Copy(t.Context(), &out, files)
	return out.String()
}

func none(string) (fs.File, error) { return nil, fs.ErrNotExist }

func TestArguments(t *testing.T) {
	journalctl(t, units+`for a in "$@"; do printf '<%s>' "$a"; done; echo complaint >&2; exit 1`)
	const always = "<--utc><--no-pager><--output=short-precise>"
	for query, want := range map[string]string{
		"query=a":          "<--unit=a>",
		"query=b@1":        "<--unit=b@1>",
		"query=a&query=c":  "<--unit=a><--unit=c>",
		"query=a&boot=-2":  "<--unit=a><--boot><-2>",
		"query=a&boot=0":   "<--unit=a><--boot><0>",
		"query=a&pattern=": "<--unit=a>",
		"query=a&tailLines=7&sinceTime=2020-02-03T04:05:06%2B02:00&untilTime=2021-12-13T14:15:16.9Z&pattern=--file=/etc/shadow": "<--since=2020-2-3 04:5:6><--until=2021-12-13 14:15:16><--pager-end><--lines=7><--unit=a><--grep=--file=/etc/shadow>",
	} {
		if got := copied(t, query, none); got != always+want+"complaint\n" {
			t.Errorf("%s:\ngot  %q\nwant %q", query, got, always+want)
		}
	}
}

func TestNoOptionIsInjected(t *testing.T) {
	journalctl(t, `case "$1" in --field) printf -- '--file.service\n-D.service\n'; exit;; esac
for a in "$@"; do printf '<%s>' "$a"; done`)
	got := copied(t, "query=--file&query=-D", none)
	if want := "<--utc><--no-pager><--output=short-precise><--unit=--file><--unit=-D>"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFiles(t *testing.T) {
	files := fstest.MapFS{
		"x": {Data: []byte("plain x\n")}, "x.log": {Data: []byte("no\n")}, "y.log": {Data: []byte("y.log\n")},
		"z/z.log": {Data: []byte("z/z.log\n")}, "a": {Data: []byte("in the journal")},
	}
	open := func(name string) (fs.File, error) {
		if name == "secret" {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
		}
		return files.Open(name)
	}
	journalctl(t, units+`echo journal`)
	for query, want := range map[string]string{
		"query=x":                   "plain x\n",
		"query=x&query=y&query=z":   "plain x\ny.log\nz/z.log\n",
		"query=none":                "\nlog not found for none\n",
		"query=secret":              "\nerror getting log for secret: open secret: permission denied\n",
		"query=x&tailLines=3":       "\noptions present and query resolved to log files for [x]\ntry without specifying options\n",
		"query=a&query=x":           "journal\nplain x\n",
		"query=a&query=x&pattern=y": "journal\n\noptions present and query resolved to log files for [x]\ntry without specifying options\n",
	} {
		if got := copied(t, query, open); got != want {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
}

func TestWithoutJournal(t *testing.T) {
	files := fstest.MapFS{"x.log": {Data: []byte("text")}}
	t.Setenv("PATH", t.TempDir())
	if got := copied(t, "query=x", files.Open); got != "text" {
		t.Errorf("no journalctl: %q", got)
	}
	journalctl(t, "echo x.service; exit 1")
	if got := copied(t, "query=x", files.Open); got != "text" {
		t.Errorf("a broken journalctl: %q", got)
	}
	journalctl(t, units+"sleep 0")
	if got := copied(t, "query=a&pattern=%00", none); got != "\nerror: journal output not available\n" {
		t.Errorf("a journalctl that cannot be started: %q", got)
	}
}

// TestTheEnd: a query ends with its request, and what it has started with it,
// children included; so it does when nobody reads.
func TestTheEnd(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	journalctl(t, units+fmt.Sprintf(`sleep 1000 & echo $$ $! > %s.new; mv %s.new %s; wait`, pids, pids, pids))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan string)
	go func() {
		var out strings.Builder
		parse(t, "query=a").Copy(ctx, &out, none)
		done <- out.String()
	}()
	var first, second int
	for deadline := time.Now().Add(30 * time.Second); second == 0; time.Sleep(time.Millisecond) {
		raw, _ := os.ReadFile(pids)
		_, _ = fmt.Sscan(string(raw), &first, &second)
		if time.Now().After(deadline) {
			t.Fatal("journalctl is not started")
		}
	}
	cancel()
	select {
	case got := <-done:
		if got != "" {
			t.Errorf("got %q", got)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the query does not end")
	}
	if err := syscall.Kill(first, 0); err == nil {
		t.Error("journalctl is still there")
	}
	// Its child is not ours to wait for: it is dead, or dying.
	for deadline := time.Now().Add(30 * time.Second); alive(second); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("its child is still there")
		}
	}
	journalctl(t, units+"exec yes")
	parse(t, "query=a").Copy(t.Context(), closed{}, none)
}

// alive reports whether a process runs, and is no zombie.
func alive(pid int) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(raw), ") Z ")
}

type closed struct{}

func (closed) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// FuzzQuery: whatever is asked, each argument is one of ours.
func FuzzQuery(f *testing.F) {
	f.Add("query=a&boot=0&pattern=x")
	f.Add("query=--x&sinceTime=2020-02-03T04:05:06Z")
	f.Fuzz(func(t *testing.T, query string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		q, errs := Parse(values)
		if q == nil || len(errs)+len(q.Check(func(string) error { return nil })) > 0 {
			return
		}
		args := q.arguments(q.Services)
		for i, arg := range args {
			name, _, _ := strings.Cut(arg, "=")
			switch name {
			case "--utc", "--no-pager", "--output", "--since", "--until", "--pager-end", "--lines", "--unit", "--grep", "--boot":
			default:
				if i == 0 || args[i-1] != "--boot" {
					t.Errorf("%q became %q", query, args)
				}
			}
		}
	})
}
