package conformance

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"nodeagent.dev/nodeagent/test/bed/build"
)

// Machine describes what the tests run on: kernel, cgroups, system and the
// versions of the components.
func Machine() ([]string, error) {
	builder, err := build.New(io.Discard)
	if err != nil {
		return nil, err
	}
	facts := []string{"kernel " + kernel(), "cgroup " + cgroups(), fmt.Sprintf("%s, %d processors", system(), runtime.NumCPU())}
	var versions []string
	for _, name := range []string{"kubelet", "containerd", "runc", "etcd", "bridge"} {
		version, err := builder.Version(name)
		if err != nil {
			return nil, err
		}
		if name == "bridge" {
			name = "CNI plugins"
		}
		versions = append(versions, name+" "+version)
	}
	return append(facts, strings.Join(versions, ", ")), nil
}

// kernel is its name and version without what the builder of it added.
func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	version, _, _ := strings.Cut(unix.ByteSliceToString(u.Release[:]), "-")
	return unix.ByteSliceToString(u.Sysname[:]) + " " + version
}

func cgroups() string {
	var s unix.Statfs_t
	if err := unix.Statfs("/sys/fs/cgroup", &s); err != nil {
		return "unknown"
	}
	if s.Type == unix.CGROUP2_SUPER_MAGIC {
		return "v2"
	}
	return "v1"
}

func system() string {
	content, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "unknown system"
	}
	for line := range strings.Lines(string(content)) {
		if name, found := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); found {
			return strings.Trim(name, `"`)
		}
	}
	return "unknown system"
}
