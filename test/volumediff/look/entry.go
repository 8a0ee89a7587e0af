package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// generation is the name of the folder in which an atomic writer keeps a
// generation of files.
var generation = regexp.MustCompile(`\.\.\d{4}_\d\d_\d\d_\d\d_\d\d_\d\d\.\d+`)

func timeless(path string) string { return generation.ReplaceAllString(path, "..TIME") }

// errno says why without the path, which is the key already.
func errno(err error) string {
	if number, ok := errors.AsType[unix.Errno](err); ok {
		return number.Error()
	}
	return err.Error()
}

// entry tells the type, mode, owner and content of a file.
func entry(path string) string {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return errno(err)
	}
	owner := fmt.Sprintf("%04o %d:%d%s", st.Mode&0o7777, st.Uid, st.Gid, attributes(path))
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return "folder " + owner
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			return "link " + owner + " " + errno(err)
		}
		return "link " + owner + " -> " + timeless(target)
	case unix.S_IFREG:
		data, err := os.ReadFile(path)
		if err != nil {
			return "file " + owner + " " + errno(err)
		}
		return "file " + owner + " " + content(data)
	case unix.S_IFIFO:
		return "pipe " + owner
	case unix.S_IFSOCK:
		return "socket " + owner
	case unix.S_IFCHR:
		return fmt.Sprintf("character device %s %d:%d", owner, unix.Major(st.Rdev), unix.Minor(st.Rdev))
	case unix.S_IFBLK:
		return fmt.Sprintf("block device %s %d:%d", owner, unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
	return fmt.Sprintf("type %o %s", st.Mode&unix.S_IFMT, owner)
}

// attributes are the extended ones, such as the label of SELinux.
func attributes(path string) string {
	list := make([]byte, 4096)
	n, err := unix.Llistxattr(path, list)
	if err != nil || n == 0 {
		return ""
	}
	var all strings.Builder
	for name := range strings.SplitSeq(strings.TrimRight(string(list[:n]), "\x00"), "\x00") {
		value := make([]byte, 4096)
		if n, err = unix.Lgetxattr(path, name, value); err != nil {
			n = 0
		}
		fmt.Fprintf(&all, " %s=%q", name, value[:n])
	}
	return all.String()
}
