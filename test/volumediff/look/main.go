package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// fact is a line of the output.
type fact struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

func main() {
	facts, err := look(os.Args[1:])
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	for _, f := range facts {
		if err == nil {
			err = out.Encode(f)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "look:", err)
		os.Exit(1)
	}
}

// look collects everything about the paths, and all mount points.
func look(paths []string) ([]fact, error) {
	self, err := process()
	if err != nil {
		return nil, err
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	mounts, err := mountFacts(string(table))
	if err != nil {
		return nil, err
	}
	all := append([]fact{{"process", self}}, mounts...)
	for _, path := range slices.Compact(slices.Sorted(slices.Values(paths))) {
		all = append(all, fact{"writable[" + path + "]", writable(path)})
		below, err := walk(path)
		if err != nil {
			return nil, err
		}
		all = append(all, below...)
	}
	return all, nil
}

// process tells the IDs that decide what files let the container do.
func process() (string, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "", fmt.Errorf("read the IDs of this process: %w", err)
	}
	var ids []string
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		if slices.Contains([]string{"Uid", "Gid", "Groups"}, name) {
			ids = append(ids, strings.ToLower(name)+" "+strings.Join(strings.Fields(value), " "))
		}
	}
	return strings.Join(ids, ", "), nil
}

// writable asks the kernel instead of trying.
func writable(path string) string {
	if err := unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK, unix.AT_EACCESS); err != nil {
		return err.Error()
	}
	return "yes"
}

// mostEntries bounds what is told below one path.
const mostEntries = 500

// walk tells everything at and below a path. Folders of an update's time are
// called by what they are.
func walk(root string) ([]fact, error) {
	var all []fact
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		key := "entry[" + timeless(path) + "]"
		switch {
		case err != nil && d == nil: // not even there
			all = append(all, fact{key, errno(err)})
			return nil
		case err != nil: // told already, cannot be listed
			all = append(all, fact{key + ".list", errno(err)})
			return nil
		case len(all) == mostEntries:
			return fmt.Errorf("there are more than %d files below %s", mostEntries, root)
		}
		all = append(all, fact{key, entry(path)})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look below %s: %w", root, err)
	}
	return all, nil
}
