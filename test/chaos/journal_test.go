//go:build e2e

package chaos

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// What processes note.
const (
	started     = "started"
	postStarted = "poststart"
	preStopped  = "prestop"
)

// journal is what the processes of a pod have noted: the moments of each kind,
// in order, by "container what".
type journal map[string][]time.Time

func readJournal(dir, pod string) (journal, error) {
	j := journal{}
	text, err := os.ReadFile(filepath.Join(dir, pod))
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the journal of pod %s: %w", pod, err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return nil, fmt.Errorf("read the journal of pod %s: line %q", pod, line)
		}
		micros, err := strconv.ParseInt(strings.Replace(fields[2], ".", "", 1), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read the journal of pod %s: %w", pod, err)
		}
		key := fields[0] + " " + fields[1]
		j[key] = append(j[key], time.UnixMicro(micros))
	}
	return j, nil
}

// check compares a journal with what the kind has to do and what the API said
// last. It returns what is wrong.
func (k *kind) check(p *corev1.Pod, j journal) []string {
	var wrong []string
	add := func(format string, args ...any) {
		wrong = append(wrong, fmt.Sprintf("pod %s: ", p.Name)+fmt.Sprintf(format, args...))
	}
	for _, s := range slices.Concat(k.init, k.main) {
		starts, restarts := len(j[s.name+" "+started]), restartsOf(p, s.name)
		want := s.starts
		if want == many {
			want = restarts + 1
		}
		if starts != want {
			add("container %s was started %d times, want %d; the API says %d restarts", s.name, starts, want, restarts)
		} else if starts > 0 && restarts != starts-1 {
			add("container %s was started %d times, but the API says %d restarts", s.name, starts, restarts)
		}
		if s.starts == many {
			for i, d := range early(j[s.name+" "+started]) {
				add("container %s: restart %d came %s after the one before, too soon", s.name, i, d)
			}
		}
		if s.hooks && len(j[s.name+" "+preStopped]) == 0 {
			add("container %s: its preStop hook was never run", s.name)
		}
	}
	if k.phase != "" && p.Status.Phase != k.phase {
		add("its phase is %s, want %s", p.Status.Phase, k.phase)
	}
	return wrong
}

// early returns the restarts of a crash loop that came before their time: the
// first comes at once, the second after 10 s, and each takes twice as long as the
// one before.
func early(starts []time.Time) map[int]time.Duration {
	const slack = time.Second // the API and the runtime's clock have seconds
	found := map[int]time.Duration{}
	want := 10 * time.Second
	for i := 2; i < len(starts); i++ {
		if d := starts[i].Sub(starts[i-1]); d < want-slack {
			found[i] = d
		}
		want *= 2
	}
	return found
}

func restartsOf(p *corev1.Pod, container string) int {
	for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if s.Name == container {
			return int(s.RestartCount)
		}
	}
	return 0
}
