package gitrepo

import (
	"bytes"
	"errors"
	"io/fs"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
)

// kind is what a tree's entry is.
type kind int

const (
	kindFile kind = iota
	kindProgram
	kindLink
	kindTree
	kindModule
)

// entry is one of a tree.
type entry struct {
	name string
	hash plumbing.Hash
	kind kind
}

var (
	errTree = errors.New("it is damaged")
	errName = errors.New("it has an entry whose name cannot be a file's")
)

// nextEntry takes the first entry off a tree: mode, name and object.
func nextEntry(content []byte) (e entry, rest []byte, err error) {
	end := bytes.IndexByte(content, 0)
	if end < 0 || len(content) < end+1+len(e.hash) {
		return e, nil, errTree
	}
	mode, name, ok := strings.Cut(string(content[:end]), " ")
	copy(e.hash[:], content[end+1:])
	if e.name = name; !ok || !validName(name) {
		return e, nil, errName
	}
	bits, err := strconv.ParseUint(mode, 8, 32)
	if err != nil {
		return e, nil, errTree
	}
	switch bits & 0o170000 {
	case 0o040000:
		e.kind = kindTree
	case 0o120000:
		e.kind = kindLink
	case 0o160000:
		e.kind = kindModule
	case 0o100000:
		if bits&0o100 != 0 {
			e.kind = kindProgram
		}
	default:
		return e, nil, errTree
	}
	return e, content[end+1+len(e.hash):], nil
}

// validName reports whether an entry can be made: no path, and not .git, which is
// ours and says what programs git runs.
func validName(name string) bool {
	if name == "" || name == "." || name == ".." || len(name) > 255 || strings.ContainsAny(name, "/\x00") {
		return false
	}
	// Other file systems see .git in more names than this one.
	return !strings.EqualFold(strings.TrimRight(name, " ."), ".git") && !strings.EqualFold(name, "git~1")
}

func (e entry) perm() fs.FileMode {
	if e.kind == kindProgram {
		return 0o755
	}
	return 0o644
}

func (e entry) indexMode() filemode.FileMode {
	switch e.kind {
	case kindProgram:
		return filemode.Executable
	case kindLink:
		return filemode.Symlink
	case kindModule:
		return filemode.Submodule
	default:
		return filemode.Regular
	}
}
