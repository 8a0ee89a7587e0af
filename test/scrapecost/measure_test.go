//go:build e2e

package scrapecost

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sync/errgroup"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// endpoints are what is fetched, and how many bytes at most.
var endpoints = []string{"metrics", "metrics/cadvisor", "metrics/resource", "metrics/probes", "stats/summary"}

const mostBytes = 256 << 20

// taken is the processor time that the agent, the runtime and its shims took.
type taken struct{ agent, runtime, shims time.Duration }

func (x taken) String() string {
	return fmt.Sprintf("agent %s, containerd %s, shims %s", x.agent, x.runtime, x.shims)
}

// during measures what is taken while something is done.
func during(ctx context.Context, b *bed.Bed, do func()) (taken, error) {
	before, err := measure(ctx, b)
	if err != nil {
		return taken{}, err
	}
	do()
	after, err := measure(ctx, b)
	return taken{after.agent - before.agent, after.runtime - before.runtime, after.shims - before.shims}, err
}

// measure asks the kernel what has been taken so far.
func measure(ctx context.Context, b *bed.Bed) (taken, error) {
	var x taken
	for name, into := range map[string]*time.Duration{"agent": &x.agent, "containerd": &x.runtime} {
		pid, err := b.Component(name).PID(ctx)
		if err != nil {
			return x, fmt.Errorf("find the process of %s: %w", name, err)
		}
		process, err := procfs.NewProc(pid)
		if err != nil {
			return x, fmt.Errorf("find the process of %s: %w", name, err)
		}
		if *into, err = processorTime(process); err != nil {
			return x, err
		}
	}
	all, err := procfs.AllProcs()
	if err != nil {
		return x, fmt.Errorf("list processes: %w", err)
	}
	for _, p := range all {
		argv, err := p.CmdLine()
		if err != nil || len(argv) == 0 || filepath.Base(argv[0]) != "containerd-shim-runc-v2" || !slices.Contains(argv, b.CRISocket) {
			continue // ended meanwhile, or somebody else
		}
		one, err := processorTime(p)
		if err != nil {
			return x, err
		}
		x.shims += one
	}
	return x, nil
}

func processorTime(p procfs.Proc) (time.Duration, error) {
	stat, err := p.Stat()
	if err != nil {
		return 0, fmt.Errorf("read what process %d used: %w", p.PID, err)
	}
	return time.Duration(stat.CPUTime() * float64(time.Second)), nil
}

// answers are how long an endpoint took each time, and its longest answer.
type answers struct {
	took  []time.Duration
	bytes int
}

// scraper asks as Prometheus does: it stays connected and takes gzip.
type scraper struct {
	client *http.Client
	base   string
}

func newScraper(t *testing.T, b *bed.Bed) *scraper {
	t.Helper()
	client, err := b.AgentClient()
	must(t, "connecting to the agent", err)
	if transport, ok := client.Transport.(*http.Transport); ok {
		transport.DisableKeepAlives = false
		t.Cleanup(transport.CloseIdleConnections)
	}
	return &scraper{client, b.AgentURL() + "/"}
}

// get fetches an endpoint and returns the length of its text.
func (s *scraper) get(ctx context.Context, endpoint string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+endpoint, nil)
	if err != nil {
		return 0, fmt.Errorf("make a request: %w", err)
	}
	req.Header.Set("Accept", "text/plain;version=0.0.4;q=0.5,*/*;q=0.1")
	resp, err := s.client.Do(req) // takes gzip and undoes it
	if err != nil {
		return 0, fmt.Errorf("ask for %s: %w", endpoint, err)
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, io.LimitReader(resp.Body, mostBytes))
	if err != nil || resp.StatusCode != http.StatusOK {
		return 0, errors.Join(fmt.Errorf("ask for %s: %s", endpoint, resp.Status), err)
	}
	return int(n), nil
}

// once asks everything once.
func (s *scraper) once(ctx context.Context) error {
	for _, endpoint := range endpoints {
		if _, err := s.get(ctx, endpoint); err != nil {
			return err
		}
	}
	return nil
}

// scrape asks every endpoint every so often, each at a moment of its own, as those
// who ask do not know of each other.
func (s *scraper) scrape(ctx context.Context, limit time.Duration) (map[string]*answers, error) {
	all := map[string]*answers{}
	var mu sync.Mutex
	var g errgroup.Group
	for i, endpoint := range endpoints {
		g.Go(func() error {
			bedtest.Pause(ctx, *askEvery*time.Duration(i)/time.Duration(len(endpoints)))
			a := &answers{}
			for range int(limit / *askEvery) {
				began := time.Now()
				n, err := s.get(ctx, endpoint)
				if err != nil {
					return err
				}
				a.took, a.bytes = append(a.took, time.Since(began)), max(a.bytes, n)
				bedtest.Pause(ctx, *askEvery-time.Since(began))
			}
			mu.Lock()
			defer mu.Unlock()
			all[endpoint] = a
			return nil
		})
	}
	ended := make(chan error, 1)
	go func() { ended <- g.Wait() }()
	bedtest.Pause(ctx, limit)
	return all, <-ended
}

// profiled takes a profile of the agent's processor time, and what is most of it.
func profiled(ctx context.Context, b *bed.Bed, d time.Duration) (profile []byte, top string, err error) {
	client, err := b.AgentClient()
	if err != nil {
		return nil, "", err
	}
	client.Timeout = d + time.Minute
	url := fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", b.AgentURL(), int(d.Seconds()))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, "", fmt.Errorf("make a request: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, "", fmt.Errorf("ask for a profile: %w", err)
	}
	defer resp.Body.Close()
	packed, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil, "", fmt.Errorf("read a profile: %s: %w", resp.Status, err)
	}
	file := filepath.Join(b.Dir, "idle.pprof")
	if err := os.WriteFile(file, packed, 0o600); err != nil {
		return nil, "", fmt.Errorf("keep a profile: %w", err)
	}
	show := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", "-cum", "-nodecount=40", file)
	show.Dir = b.Dir
	text, err := show.CombinedOutput()
	if err != nil {
		return nil, "", fmt.Errorf("show a profile: %w: %s", err, text)
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, "", fmt.Errorf("read a profile: %w", err)
	}
	profile, err = io.ReadAll(io.LimitReader(unpacked, mostBytes))
	if err != nil {
		return nil, "", fmt.Errorf("read a profile: %w", err)
	}
	return profile, string(text), nil
}

// within lists the functions of a package that a profile names. It has the names
// of functions with samples only.
func within(profile []byte, pkg string) []string {
	names := regexp.MustCompile(regexp.QuoteMeta(pkg)+`[/.][\w./()*\[\]-]+`).FindAll(profile, -1)
	var all []string
	for _, name := range names {
		if text := string(name); !strings.HasSuffix(text, ".go") {
			all = append(all, text)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
