package file

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// manifest is what is known of one file.
type manifest struct {
	digest [sha256.Size]byte
	// pod is the last good version, nil when there was none or its time is over.
	pod *corev1.Pod
	// problem is why the present content is not used, or a warning about it.
	problem Problem
	// brokenSince is when the present trouble began; zero when there is none.
	brokenSince time.Time
}

// scan owns what one Run knows of the files. It is used by one goroutine.
type scan struct {
	source   *Source
	files    map[string]*manifest
	problems map[string]Problem
	// known is set once the path has been read, or found not to exist.
	known bool
	sent  []*corev1.Pod
}

func newScan(s *Source) *scan {
	return &scan{source: s, files: map[string]*manifest{}}
}

// run reads everything and returns the pods, and whether they differ from what
// the last call that said so returned.
func (s *scan) run() ([]*corev1.Pod, bool) {
	problems := map[string]Problem{}
	paths, err := s.list(problems)
	if err != nil {
		// What cannot be listed is not known to be gone: the last set stays.
		problems[s.source.cfg.Path] = Problem{Text: fmt.Sprintf("reading the static pod path: %v; "+
			"check that it exists, is a directory or a file, and may be read by the agent", err)}
		s.problems = problems
		return nil, false
	}
	now := time.Now()
	files := make(map[string]*manifest, len(paths))
	for _, path := range paths {
		if m := s.readOne(path, now); m != nil {
			files[path] = m
			if m.problem.Text != "" {
				problems[path] = m.problem
			}
		}
	}
	s.files = files
	pods := s.collect(problems)
	s.problems = problems
	if s.known && slices.Equal(pods, s.sent) {
		return nil, false
	}
	s.known, s.sent = true, pods
	return pods, true
}

// list returns the paths of the manifests, sorted. A missing path is an empty
// set: nobody is waiting for it to appear.
func (s *scan) list(problems map[string]Problem) ([]string, error) {
	root := s.source.cfg.Path
	info, err := os.Stat(root)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case info.Mode().IsRegular():
		return []string{root}, nil
	case !info.IsDir():
		return nil, fmt.Errorf("%s is a %s", root, describe(info.Mode()))
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		path := filepath.Join(root, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), "."):
		case e.IsDir():
			problems[path] = Problem{Text: "it is a directory; manifests are only read from " + root + " itself: move them there"}
		default:
			paths = append(paths, path)
		}
	}
	return paths, nil
}

// readOne brings what is known of one file up to date; nil means it is gone.
func (s *scan) readOne(path string, now time.Time) *manifest {
	before := s.files[path]
	if before == nil {
		before = &manifest{}
	}
	data, err := readManifest(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return s.broken(before, sha256.Sum256([]byte(err.Error())), err, now)
	}
	digest := sha256.Sum256(data)
	if digest == before.digest && before.brokenSince.IsZero() {
		return before
	}
	p, warning, err := s.source.parse(data, path, now)
	if err != nil {
		return s.broken(before, digest, err, now)
	}
	if before.pod != nil && before.pod.UID == p.UID {
		p.Annotations[annotationSeen] = before.pod.Annotations[annotationSeen]
	}
	return &manifest{digest: digest, pod: p, problem: Problem{Text: warning, Warning: true}}
}

// broken keeps the last good version for one period: most broken files are
// files that somebody is writing.
func (s *scan) broken(before *manifest, digest [sha256.Size]byte, err error, now time.Time) *manifest {
	m := &manifest{digest: digest, pod: before.pod, problem: Problem{Text: err.Error()}, brokenSince: before.brokenSince}
	if m.brokenSince.IsZero() {
		m.brokenSince = now
	}
	if now.Sub(m.brokenSince) >= s.source.cfg.CheckFrequency {
		m.pod = nil
	}
	return m
}

// expiry fires when the next last good version of a broken file ends.
func (s *scan) expiry() <-chan time.Time {
	var next time.Time
	for _, m := range s.files {
		if m.pod == nil || m.brokenSince.IsZero() {
			continue
		}
		if end := m.brokenSince.Add(s.source.cfg.CheckFrequency); next.IsZero() || end.Before(next) {
			next = end
		}
	}
	if next.IsZero() {
		return nil
	}
	return time.After(time.Until(next))
}

// collect returns the pods in order of their paths. Of two files that describe
// the same pod the last one counts.
func (s *scan) collect(problems map[string]Problem) []*corev1.Pod {
	owner := map[string]string{}
	pods := map[string]*corev1.Pod{}
	for _, path := range slices.Sorted(maps.Keys(s.files)) {
		p := s.files[path].pod
		if p == nil {
			continue
		}
		name := pod.RefOf(p).FullName()
		if other, taken := owner[name]; taken {
			problems[other] = Problem{Text: fmt.Sprintf("%s describes the same pod %s and is used instead; remove one of the two or rename its pod",
				path, pod.RefOf(p))}
			delete(pods, other)
		}
		owner[name] = path
		pods[path] = p
	}
	set := make([]*corev1.Pod, 0, len(pods))
	for _, path := range slices.Sorted(maps.Keys(pods)) {
		set = append(set, pods[path])
	}
	return set
}
