//go:build e2e

package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
	"nodeagent.dev/nodeagent/test/diff"
)

// run is one run of the test: a bed, its pods, and what was found.
type run struct {
	bed      *bed.Bed
	board    *bedtest.Board
	journals string
	kinds    []kind

	mu       sync.Mutex
	problems []string
	quiet    map[string][]diff.Facts // by kind: how pods end when nobody disturbs
	lives    map[string]int          // by kind
	starts   int
	hooks    map[string]int // "poststart 2": how many containers had so many
	deletes  []time.Duration
}

func newRun(t *testing.T, b *bed.Bed) *run {
	t.Helper()
	// The folder goes with the bed: processes write to it until then.
	journals := filepath.Join(b.Dir, "journals")
	must(t, "making a folder for journals", os.Mkdir(journals, 0o755))
	r := &run{bed: b, board: bedtest.WatchPods(t, b, patience), journals: journals,
		quiet: map[string][]diff.Facts{}, lives: map[string]int{}, hooks: map[string]int{}}
	for _, k := range kinds() {
		if why := pod.Unsupported(k.pod("any", r.journals)); why != "" && b.Agent() == bed.Nodeagent {
			t.Logf("left out: pods of kind %s: %s", k.name, why)
			continue
		}
		r.kinds = append(r.kinds, k)
	}
	return r
}

func (r *run) problem(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// live leads one pod of a kind through its life and judges it. The first lives
// are undisturbed and show what the others are compared with.
func (r *run) live(ctx context.Context, k *kind, name string, undisturbed bool) {
	pods := r.bed.Client().CoreV1().Pods(namespace)
	if _, err := pods.Create(ctx, k.pod(name, r.journals), metav1.CreateOptions{}); err != nil {
		r.problem("creating pod %s: %v", name, err)
		return
	}
	if _, err := r.board.Await(ctx, name, "where it stays", k.settled); err != nil {
		r.problem("%v", err)
	}
	began := time.Now()
	if err := pods.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		r.problem("deleting pod %s: %v", name, err)
		return
	}
	seen, err := r.board.Await(ctx, name, "gone", bedtest.Gone)
	if err != nil {
		r.problem("%v", err)
		return
	}
	last, took := seen.Pod, time.Since(began)
	j, err := readJournal(r.journals, name)
	if err != nil {
		r.problem("%v", err)
		return
	}
	for _, wrong := range k.check(last, j) {
		r.problem("%s", wrong)
	}
	facts, err := r.facts(last)
	if err != nil {
		r.problem("%v", err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lives[k.name]++
	r.deletes = append(r.deletes, took)
	r.count(k, j)
	if k.phase == "" {
		return // how far it was when it was deleted depends on the moment
	}
	if undisturbed {
		r.quiet[k.name] = append(r.quiet[k.name], facts)
	} else if different := differs(facts, r.quiet[k.name]); different != "" {
		r.problems = append(r.problems, fmt.Sprintf("pod %s ended otherwise than undisturbed pods of its kind:\n%s", name, different))
	}
}

// count takes in what was started.
func (r *run) count(k *kind, j journal) {
	for what, times := range j {
		if strings.HasSuffix(what, " "+started) {
			r.starts += len(times)
		}
	}
	for _, s := range k.main {
		for _, hook := range []string{postStarted, preStopped} {
			if s.hooks {
				r.hooks[fmt.Sprintf("%s %d times", hook, len(j[s.name+" "+hook]))]++
			}
		}
	}
}

// facts are the last status of a pod without what is another in every run.
func (r *run) facts(p *corev1.Pod) (diff.Facts, error) {
	n := &diff.Normaliser{}
	n.Name(p.Name, "$POD")
	n.Name(r.bed.NodeName, "$NODE")
	n.Word(p.Status.PodIP, "$PODIP")
	facts := diff.Facts{}
	if err := facts.Add("status", p.Status); err != nil {
		return nil, fmt.Errorf("compare pod %s: %w", p.Name, err)
	}
	return facts.Normalised(n), nil
}

// differs compares with each of the undisturbed and tells the least difference;
// empty when one is equal.
func differs(got diff.Facts, quiet []diff.Facts) string {
	var least []string
	for i, want := range quiet {
		var lines []string
		for path, value := range want {
			if other, ok := got[path]; !ok || other != value {
				lines = append(lines, fmt.Sprintf("  %s is %q, undisturbed %q", path, other, value))
			}
		}
		for path, value := range got {
			if _, ok := want[path]; !ok {
				lines = append(lines, fmt.Sprintf("  %s is %q, undisturbed it is not there", path, value))
			}
		}
		if len(lines) == 0 {
			return ""
		}
		if i == 0 || len(lines) < len(least) {
			least = lines
		}
	}
	slices.Sort(least)
	if len(least) > shownFacts {
		least = append(least[:shownFacts], fmt.Sprintf("  and %d more", len(least)-shownFacts))
	}
	return strings.Join(least, "\n")
}

// undisturbed leads two pods of each kind through their lives.
func (r *run) undisturbed(ctx context.Context) {
	var lives sync.WaitGroup
	for i := range r.kinds {
		for n := range 2 {
			lives.Go(func() { r.live(ctx, &r.kinds[i], fmt.Sprintf("quiet-%s-%d", r.kinds[i].name, n), true) })
		}
	}
	lives.Wait()
}

// disturbed leads pods of every kind through their lives, one after the other,
// until it is told to stop and the last ones are gone.
func (r *run) disturbed(ctx context.Context, stop <-chan struct{}) {
	var lives sync.WaitGroup
	for i := range r.kinds {
		lives.Go(func() {
			for n := 0; ; n++ {
				next := time.After(*cycle)
				r.live(ctx, &r.kinds[i], fmt.Sprintf("%s-%d", r.kinds[i].name, n), false)
				select {
				case <-stop:
					return
				case <-ctx.Done():
					return
				case <-next:
				}
			}
		})
	}
	lives.Wait()
}
