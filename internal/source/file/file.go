package file

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Config says where the manifests are.
type Config struct {
	// Path is a directory of manifests or one manifest (staticPodPath). It need
	// not exist yet.
	Path string
	// NodeName becomes part of the pods' names and UIDs.
	NodeName string
	// CheckFrequency is the time between rescans (fileCheckFrequency); events
	// make a change visible at once.
	CheckFrequency time.Duration
}

func (c Config) validate() error {
	switch {
	case !filepath.IsAbs(c.Path):
		return fmt.Errorf("static pod path %q: it must be absolute", c.Path)
	case c.NodeName == "":
		return errors.New("static pods: the node's name is empty")
	case c.CheckFrequency <= 0:
		return fmt.Errorf("static pods: check frequency %s must be more than 0", c.CheckFrequency)
	}
	return nil
}

// Problem is what is wrong with a manifest.
type Problem struct {
	// Text says what it is, and what to do where that is not plain.
	Text string
	// Warning: the manifest is used all the same, as the kubelet would use it.
	Warning bool
}

// Source reads static pods from files. It implements source.Source.
type Source struct {
	cfg     Config
	log     *zap.Logger
	decoder runtime.Decoder
	// problems is replaced after each scan, never changed.
	problems atomic.Pointer[map[string]Problem]
}

// New returns a source that reads nothing until Run is called.
func New(cfg Config, log *zap.Logger) (*Source, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	decoder, err := newDecoder()
	if err != nil {
		return nil, err
	}
	cfg.Path = filepath.Clean(cfg.Path)
	return &Source{cfg: cfg, log: log, decoder: decoder}, nil
}

// Name implements source.Source.
func (s *Source) Name() pod.SourceName { return pod.SourceFile }

// Problems says what is wrong with which path, as of the last scan. It may be
// called at any time.
func (s *Source) Problems() map[string]Problem {
	if p := s.problems.Load(); p != nil {
		return maps.Clone(*p)
	}
	return map[string]Problem{}
}

// Run implements source.Source. It scans at once, after each event and after
// each period, and sends a set when it differs from the one before.
func (s *Source) Run(ctx context.Context, out chan<- []*corev1.Pod) error {
	w := newWatch(s.cfg.Path, s.log)
	defer w.close()
	period := time.NewTicker(s.cfg.CheckFrequency)
	defer period.Stop()

	state := newScan(s)
	var unsent chan<- []*corev1.Pod // nil, hence never chosen, while nothing is unsent
	var set []*corev1.Pod
	for {
		w.ensure() // before the scan: what changes after it is an event
		if pods, changed := state.run(); changed {
			set, unsent = pods, out
		}
		s.report(state.problems)
		for waiting := true; waiting; {
			select {
			case unsent <- set:
				unsent = nil
			case <-w.hints:
				w.settle(ctx)
				waiting = false
			case <-state.expiry():
				waiting = false
			case <-period.C:
				waiting = false
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// report publishes the problems and logs those that are new. A problem's text
// depends on nothing but the file's content, so that it is logged once.
func (s *Source) report(problems map[string]Problem) {
	before := s.Problems()
	s.problems.Store(&problems)
	for path, problem := range problems {
		switch {
		case before[path] == problem:
		case problem.Warning:
			s.log.Warn("static pod manifest has fields that have no effect", zap.String("path", path), zap.String("problem", problem.Text))
		default:
			s.log.Error("static pod manifest has a problem", zap.String("path", path), zap.String("problem", problem.Text))
		}
	}
	for path := range before {
		if _, still := problems[path]; !still {
			s.log.Info("static pod manifest is fine again or gone", zap.String("path", path))
		}
	}
}
