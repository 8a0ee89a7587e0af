package rotate

import (
	"context"
	"errors"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"go.uber.org/zap"

	"nodeagent.dev/nodeagent/internal/safedir"
)

// pack compresses the older files of a log, beside everything else.
func (r *Rotator) pack(ctx context.Context, work *sync.WaitGroup, l *log) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.packs || l.seen.path == "" || l.seen.packAt.IsZero() {
		return
	}
	l.packs, l.seen.packAt = true, time.Time{}
	path, level := l.seen.path, gzip.DefaultCompression
	if l.seen.hurried {
		level = gzip.BestSpeed
	}
	work.Go(func() {
		again := r.packAll(ctx, l, path, level)
		r.mu.Lock()
		defer r.mu.Unlock()
		l.packs = false
		if again && !l.over {
			l.repack = true
			r.call(l)
		}
	})
}

// packAll returns true when something has to wait.
func (r *Rotator) packAll(ctx context.Context, l *log, path string, level int) (again bool) {
	if err := r.packs.Acquire(ctx, 1); err != nil {
		return false
	}
	defer r.packs.Release(1)
	p, err := open(r.cfg.PodsDir, path)
	if err != nil {
		return false // gone with its pod, or the next look tells
	}
	defer p.close()
	l.names.Lock()
	kept, leftover, err := p.list("")
	if err == nil {
		err = p.remove(leftover)
	}
	l.names.Unlock()
	for _, f := range uncompressed(kept) {
		packed := r.compress(ctx, l, p, f.name, level)
		switch {
		case errors.Is(packed, errWritten):
			again = true
		case errors.Is(packed, fs.ErrNotExist): // there was no room for it
		default:
			err = errors.Join(err, packed)
		}
	}
	if err != nil && ctx.Err() == nil {
		r.deps.Log.Warn("rotated files of a log cannot be compressed or removed; this is tried again after the next rotation",
			zap.String("container", l.id), zap.String("log", path), zap.Error(err))
	}
	return again
}

// logName is the beginning of the names of a container's files.
var logName = regexp.MustCompile(`^\d+\.log\.`)

// restore gives logs their name back that were renamed when the agent was killed,
// before the runtime was told. Most runtimes write to the file all the time. It
// also removes what a compression has left behind.
func (r *Rotator) restore(ctx context.Context) {
	pods, err := safedir.Open(r.cfg.PodsDir)
	if err != nil {
		return // there are no pods yet
	}
	defer pods.Close()
	_ = pods.Names(func(pod string) bool {
		dir, err := pods.Sub(pod)
		if err != nil {
			return ctx.Err() == nil
		}
		defer dir.Close()
		_ = dir.Names(func(container string) bool {
			if err := r.restoreDir(dir, pod, container); err != nil && !errors.Is(err, safedir.ErrNotPlain) {
				r.deps.Log.Warn("the logs of a container cannot be put in order",
					zap.String("pod", pod), zap.String("container", container), zap.Error(err))
			}
			return ctx.Err() == nil
		})
		return ctx.Err() == nil
	})
}

func (r *Rotator) restoreDir(pod *safedir.Dir, podName, name string) error {
	dir, err := pod.Sub(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	var logs []string
	err = dir.Names(func(file string) bool {
		if m := logName.FindString(file); m != "" {
			if live := strings.TrimSuffix(m, "."); !slices.Contains(logs, live) {
				logs = append(logs, live)
			}
		}
		return len(logs) < mostFiles
	})
	for _, live := range logs {
		p := &place{dir: dir, live: live, path: r.cfg.PodsDir + "/" + podName + "/" + name + "/" + live}
		err = errors.Join(err, r.restoreLog(p))
	}
	return err
}

func (r *Rotator) restoreLog(p *place) error {
	kept, leftover, err := p.list("")
	if err != nil {
		return err
	}
	if err := p.remove(leftover); err != nil {
		return err
	}
	if _, err := p.dir.Lstat(p.live); !errors.Is(err, fs.ErrNotExist) || len(kept) == 0 {
		return nil
	}
	last := kept[len(kept)-1]
	if last.at == "" || last.compressed {
		return nil
	}
	r.deps.Log.Info("a log was renamed but not opened anew, it gets its name back", zap.String("log", p.path), zap.String("rotated", last.name))
	if err := p.dir.Rename(last.name, p.live); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
