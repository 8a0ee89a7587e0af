package filewatch

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxLinks is how many links of one path are followed; the kernel gives up at
// the same number.
const maxLinks = 40

// chain returns the names that decide what an absolute path leads to: each
// symbolic link on the way, and the file itself or the first name that is
// missing. The directories of the names have no links in them.
func chain(path string) []string {
	var names []string
	at, rest, links := "/", split(path), 0
	for len(rest) > 0 {
		name := filepath.Join(at, rest[0])
		rest = rest[1:]
		info, err := os.Lstat(name)
		switch {
		case err != nil:
			return append(names, name)
		case info.Mode()&os.ModeSymlink != 0:
			names = append(names, name)
			target, err := os.Readlink(name)
			if links++; err != nil || links > maxLinks {
				return names
			}
			if filepath.IsAbs(target) {
				at = "/"
			}
			rest = slices.Concat(split(target), rest)
		case len(rest) == 0:
			return append(names, name)
		default:
			at = name
		}
	}
	return names
}

// split returns the names in a path. ".." stays: it is taken where the links
// before it have led.
func split(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(s string) bool { return s == "" || s == "." })
}
