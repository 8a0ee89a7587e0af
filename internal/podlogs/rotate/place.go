package rotate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"nodeagent.dev/nodeagent/internal/safedir"
)

// errElsewhere tells that a log is not where this package works.
var errElsewhere = errors.New("only logs <pods directory>/<pod>/<container>/<file> are rotated")

// mostFiles bounds how many files beside a log are looked at at once. Who has put
// more there sees them go in rounds.
const mostFiles = 4096

// place is the open directory of a log.
type place struct {
	dir  *safedir.Dir
	path string // of the log
	live string // its name
}

// open opens the directory of the log at path, which lies below pods.
func open(pods, path string) (*place, error) {
	below, ok := strings.CutPrefix(path, strings.TrimSuffix(pods, "/")+"/")
	part := strings.Split(below, "/")
	if !ok || len(part) != 3 || path != filepath.Clean(path) || !safedir.ValidName(part[2]) {
		return nil, fmt.Errorf("open log %q below %s: %w", path, pods, errElsewhere)
	}
	dir, err := safedir.Open(pods, part[0], part[1])
	if err != nil {
		return nil, fmt.Errorf("open the directory of log %q: %w", path, err)
	}
	return &place{dir: dir, path: path, live: part[2]}, nil
}

func (p *place) close() { p.dir.Close() }

// size is the log's size in bytes; false: there is none.
func (p *place) size() (int64, bool, error) {
	info, err := p.dir.Lstat(p.live)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, false, nil
	case err != nil:
		return 0, false, err
	case !info.Regular:
		return 0, false, fmt.Errorf("log %q: %w", p.path, safedir.ErrNotPlain)
	}
	return info.Size, true, nil
}

// list is what lies beside the log and begins with its name; see sorted.
func (p *place) list(busy string) (kept, leftover []file, err error) {
	var found []file
	err = p.dir.Names(func(name string) bool {
		if !strings.HasPrefix(name, p.live+".") {
			return true
		}
		info, err := p.dir.Lstat(name)
		if err == nil && !info.IsDir {
			found = append(found, file{name: name, size: info.Size, regular: info.Regular})
		}
		return len(found) < mostFiles
	})
	if err != nil {
		return nil, nil, fmt.Errorf("list the files of log %q: %w", p.path, err)
	}
	kept, leftover = sorted(p.live, found, time.Now(), busy)
	return kept, leftover, nil
}

// file opens a file beside the log for reading.
func (p *place) file(name string) (*os.File, error) { return p.dir.File(name, os.O_RDONLY, 0) }

// remove removes files.
func (p *place) remove(files []file) error {
	var failed []error
	for _, f := range files {
		failed = append(failed, p.dir.Remove(f.name))
	}
	return errors.Join(failed...)
}
