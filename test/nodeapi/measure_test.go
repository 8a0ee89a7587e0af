//go:build e2e

package nodeapi

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"nodeagent.dev/nodeagent/test/bed"
)

// What may stay with the agent after a load.
const (
	goroutinesMore = 20
	filesMore      = 20
	anonMore       = 30 << 10 // KiB
)

// figures are what the agent takes of the machine.
type figures struct {
	rss, anon         int // KiB
	files, goroutines int
}

func (f figures) String() string {
	return fmt.Sprintf("RSS %d MiB, RssAnon %d MiB, %d files, %d goroutines", f.rss>>10, f.anon>>10, f.files, f.goroutines)
}

// within says whether the agent takes about what it took before.
func (f figures) within(before figures) bool {
	return f.goroutines <= before.goroutines+goroutinesMore && f.files <= before.files+filesMore && f.anon <= before.anon+anonMore
}

// measure asks the kernel and the agent itself.
func measure(ctx context.Context, b *bed.Bed) (figures, error) {
	pid, err := b.Component("agent").PID(ctx)
	if err != nil {
		return figures{}, fmt.Errorf("find the agent's process: %w", err)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return figures{}, fmt.Errorf("read the agent's memory: %w", err)
	}
	var f figures
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		for name, value := range map[string]*int{"VmRSS:": &f.rss, "RssAnon:": &f.anon} {
			if len(fields) > 1 && fields[0] == name {
				if *value, err = strconv.Atoi(fields[1]); err != nil {
					return f, fmt.Errorf("read the agent's memory: %w", err)
				}
			}
		}
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return f, fmt.Errorf("count the agent's files: %w", err)
	}
	f.files = len(files)
	stacks, err := goroutines(ctx, b)
	if err != nil {
		return f, err
	}
	if _, err := fmt.Sscanf(stacks, "goroutine profile: total %d", &f.goroutines); err != nil {
		return f, fmt.Errorf("count the agent's goroutines: %w", err)
	}
	return f, nil
}

// goroutines is the agent's profile of its goroutines.
func goroutines(ctx context.Context, b *bed.Bed) (string, error) {
	return profile(ctx, b, "goroutine?debug=1")
}

// heap is what the agent's Go runtime says about its memory. With gc it collects
// garbage before.
func heap(ctx context.Context, b *bed.Bed, gc bool) (string, error) {
	query := "heap?debug=1"
	if gc {
		query += "&gc=1"
	}
	text, err := profile(ctx, b, query)
	if err != nil {
		return "", err
	}
	var figures []string
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "# "), " = ")
		if n, err := strconv.Atoi(value); err == nil && slices.Contains([]string{"HeapAlloc", "HeapIdle", "HeapInuse", "HeapReleased", "Stack"}, name) {
			figures = append(figures, fmt.Sprintf("%s %d MiB", name, n>>20))
		}
	}
	return strings.Join(figures, ", "), nil
}

func profile(ctx context.Context, b *bed.Bed, query string) (string, error) {
	client, err := b.AgentClient()
	if err != nil {
		return "", err
	}
	client.Timeout = patience
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.AgentURL()+"/debug/pprof/"+query, nil)
	if err != nil {
		return "", fmt.Errorf("make a request: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask the agent for profile %s: %w", query, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("read the agent's profile %s: %w", query, err)
	}
	return string(text), nil
}

// sampled measures the agent every two seconds until the returned function is
// called.
func sampled(t *testing.T, b *bed.Bed, into *[]figures) func() {
	t.Helper()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			f, err := measure(t.Context(), b)
			if err != nil {
				t.Errorf("measuring the agent under load: %v", err)
				return
			}
			*into = append(*into, f)
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Second):
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
	}
}

// highest is the most of each figure.
func highest(all []figures) figures {
	var most figures
	for _, f := range all {
		most = figures{max(most.rss, f.rss), max(most.anon, f.anon), max(most.files, f.files), max(most.goroutines, f.goroutines)}
	}
	return most
}

// summary shows durations.
func summary(all []time.Duration) string {
	sorted := slices.Sorted(slices.Values(all))
	return fmt.Sprintf("%s (median of %d, slowest %s)", sorted[len(sorted)/2].Round(time.Millisecond), len(sorted),
		sorted[len(sorted)-1].Round(time.Millisecond))
}

// awaitReturn waits until the agent takes about what it took before.
func awaitReturn(t *testing.T, b *bed.Bed, before figures) {
	t.Helper()
	for began := time.Now(); ; {
		f, err := measure(t.Context(), b)
		must(t, "measuring the agent", err)
		took := time.Since(began).Round(time.Second)
		if f.within(before) {
			t.Logf("after %s: %s", took, f)
			return
		}
		if took > *loadReturn {
			t.Errorf("%s after the load: %s; before it: %s", took, f, before)
			tellWhy(t, b)
			return
		}
		select {
		case <-t.Context().Done():
		case <-time.After(time.Second):
		}
	}
}

// tellWhy shows what the agent still has.
func tellWhy(t *testing.T, b *bed.Bed) {
	t.Helper()
	at, err := heap(t.Context(), b, false)
	must(t, "asking for the heap", err)
	collected, err := heap(t.Context(), b, true)
	must(t, "asking for the heap", err)
	f, err := measure(t.Context(), b)
	must(t, "measuring the agent", err)
	stacks, err := goroutines(t.Context(), b)
	must(t, "asking for goroutines", err)
	t.Logf("its heap: %s; after a collection: %s, which left %s; most goroutines are at\n%.1500s", at, collected, f, stacks)
}
