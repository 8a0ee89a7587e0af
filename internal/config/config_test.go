package config

import (
	"errors"
	"io/fs"
	"path"
	"strings"
	"testing"
	"testing/fstest"
)

const header = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"

// machine is a fake host: cgroup v2, no swap, the given files.
func machine(files map[string]string) Environment {
	tree := fstest.MapFS{}
	for name, text := range files {
		tree[strings.TrimPrefix(name, "/")] = &fstest.MapFile{Data: []byte(text)}
	}
	return Environment{
		Hostname: func() (string, error) { return " Node-1\n", nil },
		ReadFile: func(p string) ([]byte, error) { return fs.ReadFile(tree, strings.TrimPrefix(p, "/")) },
		WalkDir: func(root string, visit fs.WalkDirFunc) error {
			return fs.WalkDir(tree, strings.TrimPrefix(root, "/"), func(p string, d fs.DirEntry, err error) error {
				return visit(path.Join("/", p), d, err)
			})
		},
		Getwd:    func() (string, error) { return "/cwd", nil },
		CgroupV2: func() (bool, error) { return true, nil },
	}
}

// mustParse parses args on a machine with the given files.
func mustParse(t *testing.T, files map[string]string, args ...string) *Config {
	t.Helper()
	cfg, err := Parse(args, machine(files))
	if err != nil {
		t.Fatalf("Parse(%q): %v", args, err)
	}
	return cfg
}

// refused parses args and returns the problems as text.
func refused(t *testing.T, env Environment, args ...string) string {
	t.Helper()
	_, err := Parse(args, env)
	if err == nil {
		t.Fatalf("Parse(%q) accepted a bad configuration", args)
	}
	var problems Problems
	if !errors.As(err, &problems) && !strings.Contains(err.Error(), "unknown command") {
		t.Fatalf("Parse(%q) = %T, want Problems: %v", args, err, err)
	}
	return err.Error()
}

func wantText(t *testing.T, got string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(got, part) {
			t.Errorf("text lacks %q:\n%s", part, got)
		}
	}
}
