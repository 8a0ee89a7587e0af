package content

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

const (
	// The kubelet's limits on paths, in bytes.
	maxName = 255
	maxPath = 4096

	permissions = 0o777
)

// File is one file of a volume.
type File struct {
	Data []byte
	// Mode has the permission bits, as the API has them; others are passed over.
	Mode int32
	// Owner is the user the file is given to; nil: it stays root's.
	Owner *int64
}

// Files are the files of a volume by their path in it, with slashes. Which paths
// are fit is for [Files.Check] to say.
type Files map[string]File

// Check reports the first path that cannot be a file of a volume, in the kubelet's
// words where it has some, or two paths that cannot be files beside each other.
func (f Files) Check() error {
	_, err := f.layOut()
	return err
}

// checkPath is what the kubelet asks of a path, before it is cleaned.
func checkPath(p string) error {
	switch {
	case p == "":
		return fmt.Errorf("invalid path: must not be empty: %q", p)
	case path.IsAbs(p):
		return fmt.Errorf("invalid path: must be relative path: %s", p)
	case len(p) > maxPath:
		return fmt.Errorf("invalid path: must be less than or equal to %d characters", maxPath)
	case strings.ContainsRune(p, 0):
		return fmt.Errorf("invalid path: must not contain a NUL character: %q", p)
	}
	for name := range strings.SplitSeq(p, "/") {
		if name == ".." {
			return fmt.Errorf("invalid path: must not contain '..': %s", p)
		}
		if len(name) > maxName {
			return fmt.Errorf("invalid path: filenames must be less than or equal to %d characters", maxName)
		}
	}
	// Names that begin so are the layout's own.
	switch cleaned := path.Clean(p); {
	case cleaned == ".":
		return fmt.Errorf("invalid path: must name a file: %s", p)
	case strings.HasPrefix(cleaned, ".."):
		return fmt.Errorf("invalid path: must not start with '..': %s", p)
	}
	return nil
}

// layout is what a directory with the files has in it.
type layout struct {
	// files by their cleaned path, and these paths in order.
	files Files
	paths []string
	// dirs has the names in every directory. The files' own is ".".
	dirs map[string]map[string]bool
	// order has the directories, each after the one it lies in.
	order []string
	// top has the user that the link to a name at the top is given to.
	top map[string]*int64
}

// layOut works out the directories of the files. Of two paths that mean the same,
// the one that sorts last counts.
func (f Files) layOut() (*layout, error) {
	l := &layout{
		files: make(Files, len(f)), dirs: map[string]map[string]bool{".": {}}, top: map[string]*int64{},
	}
	for _, raw := range slices.Sorted(maps.Keys(f)) {
		if err := checkPath(raw); err != nil {
			return nil, err
		}
		file := f[raw]
		file.Mode &= permissions
		l.files[path.Clean(raw)] = file
	}
	l.paths = slices.Sorted(maps.Keys(l.files))
	for _, p := range l.paths {
		for name := p; name != "."; {
			dir := path.Dir(name)
			names, known := l.dirs[dir]
			if !known {
				names = map[string]bool{}
				l.dirs[dir] = names
			}
			names[path.Base(name)] = true
			if known {
				break // and so are those above
			}
			name = dir
		}
		top, _, _ := strings.Cut(p, "/")
		if _, known := l.top[top]; !known {
			l.top[top] = l.files[p].Owner
		}
	}
	for _, p := range l.paths {
		if _, both := l.dirs[p]; both {
			return nil, fmt.Errorf("invalid path: %s is to be a file, and a directory with other files in it", p)
		}
	}
	l.order = []string{"."}
	for _, dir := range slices.Sorted(maps.Keys(l.dirs)) { // what is a prefix sorts first
		if dir != "." {
			l.order = append(l.order, dir)
		}
	}
	return l, nil
}
