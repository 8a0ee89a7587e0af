package config

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Environment is all that Parse reads from the machine, so that tests need none.
type Environment struct {
	// Hostname returns the host name, used when --hostname-override is not given.
	Hostname func() (string, error)
	// ReadFile returns the content of a file, or an error that wraps fs.ErrNotExist.
	ReadFile func(path string) ([]byte, error)
	// WalkDir visits a directory in lexical order, as filepath.WalkDir does.
	WalkDir func(root string, visit fs.WalkDirFunc) error
	// Getwd returns the directory that relative paths on the command line start from.
	Getwd func() (string, error)
	// CgroupV2 reports whether the host uses the unified cgroup hierarchy.
	CgroupV2 func() (bool, error)
}

// cgroup2Magic is the file system type of a cgroup v2 mount (CGROUP2_SUPER_MAGIC).
const cgroup2Magic = 0x63677270

// Host returns the Environment of the machine the process runs on.
func Host() Environment {
	return Environment{
		Hostname: os.Hostname,
		ReadFile: os.ReadFile,
		WalkDir:  filepath.WalkDir,
		Getwd:    os.Getwd,
		CgroupV2: func() (bool, error) {
			var st syscall.Statfs_t
			if err := syscall.Statfs("/sys/fs/cgroup", &st); err != nil {
				return false, &fs.PathError{Op: "statfs", Path: "/sys/fs/cgroup", Err: err}
			}
			return st.Type == cgroup2Magic, nil
		},
	}
}

// abs makes a path of the command line absolute; empty stays empty.
func (e Environment) abs(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	wd, err := e.Getwd()
	if err != nil {
		return path // a relative path still works as long as the process does not move
	}
	return filepath.Join(wd, path)
}
