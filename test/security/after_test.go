//go:build e2e

package security

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// figures are what must not grow by being attacked.
type figures struct {
	goroutines, fds  int
	heapKiB, rssAnon int // after a collection; kibibytes
}

func (a figures) String() string {
	return fmt.Sprintf("%d goroutines, %d files, %d KiB heap, %d KiB private memory", a.goroutines, a.fds, a.heapKiB, a.rssAnon)
}

var (
	goroutineTotal = regexp.MustCompile(`(?m)^goroutine profile: total (\d+)`)
	heapAlloc      = regexp.MustCompile(`(?m)^# HeapAlloc = (\d+)`)
	rssAnon        = regexp.MustCompile(`(?m)^RssAnon:\s+(\d+) kB`)
)

// measure asks the agent and the kernel; asking for the heap collects it.
func (f *fixture) measure(ctx context.Context) (figures, error) {
	var got figures
	heap, err := f.page(ctx, "/debug/pprof/heap?debug=1&gc=1")
	if err != nil {
		return got, err
	}
	goroutines, err := f.page(ctx, "/debug/pprof/goroutine?debug=1")
	if err != nil {
		return got, err
	}
	pid, err := f.bed.Component("agent").PID(ctx)
	if err != nil {
		return got, err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return got, err
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return got, err
	}
	got.fds = len(fds)
	if got.heapKiB, err = number(heapAlloc, heap); err != nil {
		return got, err
	}
	got.heapKiB /= 1024
	if got.goroutines, err = number(goroutineTotal, goroutines); err != nil {
		return got, err
	}
	got.rssAnon, err = number(rssAnon, string(status))
	return got, err
}

func number(pattern *regexp.Regexp, text string) (int, error) {
	m := pattern.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("%s is not in %q", pattern, clip(text, 200))
	}
	return strconv.Atoi(m[1])
}

func (f *fixture) page(ctx context.Context, path string) (string, error) {
	client, err := f.bed.AgentClient()
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.bed.AgentURL()+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s: %s", path, resp.Status, clip(string(body), 200))
	}
	return string(body), err
}

// calm waits until the agent's figures are near where they were, and says what
// they are when they do not come down.
func (f *fixture) calm(ctx context.Context, before figures, limit time.Duration) (figures, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var last figures
	for {
		got, err := f.measure(ctx)
		if err == nil {
			last = got
			if got.goroutines <= before.goroutines+30 && got.fds <= before.fds+15 &&
				got.heapKiB <= before.heapKiB+16<<10 && got.rssAnon <= before.rssAnon+64<<10 {
				return got, nil
			}
		}
		select {
		case <-ctx.Done():
			return last, fmt.Errorf("it does not calm down: now %s, before %s (last error: %w)", last, before, err)
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// leaks compares the agent with what it was before the first attack.
func (f *fixture) leaks(ctx context.Context) error {
	if f.start.goroutines == 0 {
		return nil // it was never ready
	}
	got, err := f.calm(ctx, f.start, time.Minute)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "the agent before: %s\nthe agent after:  %s\n", f.start, got)
	return nil
}

// secretsInLog looks for what tests showed to the agent in its log.
func (f *fixture) secretsInLog() error {
	log := f.bed.Component("agent").Log()
	if log == "" {
		return fmt.Errorf("the agent has no log at %s", f.bed.Component("agent").LogPath())
	}
	for _, s := range secrets.all {
		// The middle of a token or key is enough to be worth something.
		part := s
		if len(s) > 64 {
			part = s[len(s)/2 : len(s)/2+32]
		}
		if i := strings.Index(log, part); i >= 0 {
			return fmt.Errorf("the agent's log has a secret of a test: ...%s", clip(log[max(0, i-200):], 400))
		}
	}
	return nil
}
