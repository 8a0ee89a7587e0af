package podlogs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	criapi "k8s.io/cri-api/pkg/apis"         //nolint:depguard // what the library's reader asks for
	cri "k8s.io/cri-api/pkg/apis/runtime/v1" //nolint:depguard // as above
	library "k8s.io/cri-client/pkg/logs"     //nolint:depguard // the contract: its output is what users know
	"k8s.io/klog/v2"
	"pgregory.net/rapid"

	"nodeagent.dev/nodeagent/internal/pod"
)

// exited is a runtime all of whose containers have ended.
type exited struct{ criapi.RuntimeService }

func (exited) ContainerStatus(context.Context, string, bool) (*cri.ContainerStatusResponse, error) {
	return &cri.ContainerStatusResponse{Status: &cri.ContainerStatus{State: cri.ContainerState_CONTAINER_EXITED}}, nil
}

// readWithLibrary reads with k8s.io/cri-client, as the kubelet does.
func readWithLibrary(ctx context.Context, path string, opts pod.LogOptions, to io.Writer) error {
	var out, errs io.Writer
	if opts.Stdout {
		out = to
	}
	if opts.Stderr {
		errs = to
	}
	return library.ReadLogs(klog.NewContext(ctx, logr.Discard()), path, "id", &library.LogOptions{
		TailLines: opts.TailLines, LimitBytes: opts.LimitBytes, Since: opts.Since,
		Follow: opts.Follow, Timestamp: opts.Timestamps,
	}, exited{}, out, errs)
}

// The library ends with an error when the first line it reads is malformed, and
// passes over those that come later. Here all are passed over, also a beginning
// that a crash or a full disk has left: what follows is shown. So the library gets
// the content without its malformed beginning.
func oracle(t rapid.TB, dir, content string, opts pod.LogOptions) (want string, dropped int) {
	path := filepath.Join(dir, "library.log")
	for {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		err := readWithLibrary(context.Background(), path, opts, &out)
		if err == nil {
			return out.String(), dropped
		}
		if !strings.Contains(err.Error(), "unsupported log format") || out.Len() > 0 {
			t.Fatalf("library: %v", err)
		}
		content = content[tailOf(content, opts.TailLines):]
		_, rest, ended := strings.Cut(content, "\n")
		if ended {
			dropped++
		}
		content = rest
	}
}

// tailOf is where the last lines begin, said simply.
func tailOf(content string, n *int64) int {
	if n == nil {
		return 0
	}
	lines := strings.SplitAfter(content, "\n")
	drop := max(len(lines)-1-int(*n), 0)
	return len(strings.Join(lines[:drop], ""))
}

func compare(t rapid.TB, r *Reader, path, content string, opts pod.LogOptions) {
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	want, dropped := oracle(t, r.pods, content, opts)
	var out buffer
	err := r.Read(context.Background(), &out, path, opts, func() (bool, <-chan struct{}) { return true, nil })
	if out.String() != want {
		t.Fatalf("%+v\n%.2000q\nours:    %.2000q\nlibrary: %.2000q", opts, content, out.String(), want)
	}
	if err != nil && (!errors.Is(err, ErrFormat) || dropped == 0 || want != "") {
		t.Fatalf("%+v\n%.2000q\n%v", opts, content, err)
	}
}

func base() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

// lines draws the lines of a log, nearly all of them in order.
func lines() *rapid.Generator[string] {
	texts := rapid.OneOf(
		rapid.SampledFrom([]string{"", " ", "text", "two words", "F", "é\x00\xff", "ends in \r", `{"json":1}`, ":"}),
		rapid.StringMatching(`[ -~]{0,40}`),
		rapid.Map(rapid.IntRange(1000, 20_000), func(n int) string { return strings.Repeat("long ", n/5) }),
	)
	huge := rapid.Map(rapid.IntRange(maxLine-80, 3*maxLine), func(n int) string { return strings.Repeat("x", n) })
	stamps := rapid.Custom(func(t *rapid.T) string {
		at := base().Add(time.Duration(rapid.IntRange(0, 9_999).Draw(t, "ms")) * time.Millisecond)
		if rapid.IntRange(0, 4).Draw(t, "zone") == 0 {
			at = at.In(time.FixedZone("", rapid.SampledFrom([]int{0, 7200, -5400}).Draw(t, "offset")))
		}
		return at.Format(rapid.SampledFrom([]string{
			stampFormat, time.RFC3339Nano, time.RFC3339, "2006-01-02T15:04:05,000Z07:00", "2006-01-02T15:04:05.000-07:00",
		}).Draw(t, "format"))
	})
	malformed := rapid.SampledFrom([]string{
		"", " ", "garbage", "not a time stdout F text", stamp, stamp + " stdout", stamp + " stdout F",
		stamp + " stdin F text", stamp + "  F text", "2026-13-02T03:04:05Z stdout F text", "\x00\x00\x00",
	})
	return rapid.Custom(func(t *rapid.T) string {
		kind := rapid.IntRange(0, 99).Draw(t, "kind")
		if kind < 8 {
			return malformed.Draw(t, "malformed")
		}
		text := texts
		if kind < 10 {
			text = huge
			if rapid.IntRange(0, 4).Draw(t, "garbage") == 0 {
				return text.Draw(t, "garbage")
			}
		}
		return fmt.Sprintf("%s %s %s %s", stamps.Draw(t, "stamp"),
			rapid.SampledFrom([]string{"stdout", "stdout", "stderr"}).Draw(t, "stream"),
			rapid.SampledFrom([]string{"F", "F", "F", "P", "P", "P:x", "F:P", "X", ""}).Draw(t, "tag"),
			text.Draw(t, "text"))
	})
}

func options(t *rapid.T, lines, size int) pod.LogOptions {
	opts := pod.LogOptions{
		Follow:     rapid.IntRange(0, 4).Draw(t, "follow") == 0,
		Timestamps: rapid.Bool().Draw(t, "timestamps"),
		Stdout:     rapid.IntRange(0, 4).Draw(t, "stdout") > 0,
		Stderr:     rapid.IntRange(0, 4).Draw(t, "stderr") > 0,
	}
	if rapid.Bool().Draw(t, "since") {
		opts.Since = base().Add(time.Duration(rapid.IntRange(0, 10_000).Draw(t, "since ms")) * time.Millisecond)
	}
	if rapid.Bool().Draw(t, "tail") {
		n := int64(rapid.IntRange(0, lines+2).Draw(t, "tail lines"))
		opts.TailLines = &n
	}
	if rapid.Bool().Draw(t, "limit") {
		n := int64(rapid.IntRange(0, size+2).Draw(t, "limit bytes"))
		opts.LimitBytes = &n
	}
	return opts
}

func TestSameAsLibrary(t *testing.T) {
	r, path := place(t, "")
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(lines(), 0, 30).Draw(t, "lines")
		content := strings.Join(all, "\n")
		if len(all) > 0 && rapid.Bool().Draw(t, "terminated") {
			content += "\n"
		} else if rapid.Bool().Draw(t, "torn") {
			content = content[:rapid.IntRange(0, len(content)).Draw(t, "length")]
		}
		opts := options(t, len(all), len(content))
		if opts.Follow {
			// A follower of the library never shows a last line without a newline, a
			// reader that does not follow does. Here both do.
			content = content[:strings.LastIndexByte(content, '\n')+1]
		}
		compare(t, r, path, content, opts)
	})
}

// Every combination of options on a log with everything in it.
func TestSameAsLibraryOnACorpus(t *testing.T) {
	line := func(ms int, rest string) string {
		return base().Add(time.Duration(ms)*time.Millisecond).Format(stampFormat) + " " + rest
	}
	content := line(0, "stdout F first\n") + line(100, "stdout P part ") + "\n" + line(200, "stderr F between\n") +
		line(300, "stdout F end\n") + "garbage\n" + line(400, "stdout F \n") + line(500, "stderr P \n") +
		line(600, "stderr F:x tags\n") + "\n" + line(50, "stdout F late\n") + line(700, "stdout P cut\n") + line(800, "stdout F no newline")
	r, path := place(t, "")
	tails, limits := []int64{-1, 0, 1, 3, 7, 12}, []int64{-1, 0, 6, 30, 37, 1000}
	for bits := range 1 << 4 {
		for _, tail := range tails {
			for _, limit := range limits {
				opts := pod.LogOptions{Stdout: bits&1 > 0, Stderr: bits&2 > 0, Timestamps: bits&4 > 0}
				if bits&8 > 0 {
					opts.Since = base().Add(200 * time.Millisecond)
				}
				if tail >= 0 {
					opts.TailLines = &tail
				}
				if limit >= 0 {
					opts.LimitBytes = &limit
				}
				compare(t, r, path, content, opts)
			}
		}
	}
}

// The library also reads the format of Docker's json-file driver. No CRI runtime
// writes it, so it is garbage here.
func TestDockersFormatIsNotRead(t *testing.T) {
	r, path := place(t, `{"log":"a\n","stream":"stdout","time":"2026-01-02T03:04:05Z"}`+"\n")
	var theirs bytes.Buffer
	must(t, readWithLibrary(t.Context(), path, both(), &theirs))
	var ours buffer
	if err := r.Read(t.Context(), &ours, path, both(), nil); theirs.String() != "a\n" || !errors.Is(err, ErrFormat) || ours.Len() > 0 {
		t.Errorf("library %q, ours %q, %v", theirs.String(), ours.String(), err)
	}
}
