//go:build e2e

package nodeapi

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCopy: a tree goes into a container and comes back as it was.
func TestCopy(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	started(t, b, newPod("cp", obeys, obeys))
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	for path, size := range map[string]int64{
		"big": 10 << 20, "empty": 0, "a b/c d": 1000, "deep/er/and/deeper/file": 70000, "ünicode": 10, "-dash": 10,
	} {
		file := filepath.Join(tree, path)
		must(t, "making a folder", os.MkdirAll(filepath.Dir(file), 0o755))
		f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY, 0o640)
		must(t, "making a file", err)
		_, err = io.Copy(f, noise(byte(len(path)), size))
		must(t, "writing a file", err)
		must(t, "closing a file", f.Close())
	}
	must(t, "making a folder", os.Mkdir(filepath.Join(tree, "nothing"), 0o755))
	must(t, "making a script", os.WriteFile(filepath.Join(tree, "script"), []byte("#!/bin/sh\n"), 0o755))
	want := look(t, tree)
	if len(want) != 14 {
		t.Fatalf("the tree has %d entries, want 14: %v", len(want), want)
	}
	for protocol, env := range protocols() {
		t.Run(protocol, func(t *testing.T) {
			there, back := "/tmp/"+protocol, filepath.Join(dir, "back-"+protocol)
			r := kubectlWith(t, b, env, nil, "cp", tree, namespace+"/cp:"+there, "-c", "b")
			if r.code != 0 || r.errs != "" {
				t.Fatalf("copying into the container: %+v", r)
			}
			sum := ok(t, b, "exec", "cp", "-c", "b", "--", "sha256sum", there+"/big")
			same(t, "the sum of the big file", sum, sumOfAll(t, noise(3, 10<<20))+"  "+there+"/big\n")
			ok(t, b, "exec", "cp", "-c", "b", "--", there+"/script") // its mode is kept
			r = kubectlWith(t, b, env, nil, "cp", namespace+"/cp:"+there, back, "-c", "b")
			if r.code != 0 {
				t.Fatalf("copying out of the container: %+v", r)
			}
			if got := look(t, back); !maps.Equal(got, want) {
				t.Errorf("what came back: %v, want %v", got, want)
			}
		})
	}
	t.Run("no folder", func(t *testing.T) {
		r := kubectl(t, b, "cp", filepath.Join(tree, "script"), namespace+"/cp:/none/such/x", "-c", "a")
		if r.code == 0 {
			t.Errorf("copying to where nothing is: %+v", r)
		}
	})
}

// look describes a tree: sizes and sums by path. Modes are left out, as kubectl does.
func look(t *testing.T, root string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		what := "folder"
		if !e.IsDir() {
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			what = fmt.Sprintf("%d bytes, %.12s", info.Size(), sumOfAll(t, f))
		}
		found[strings.TrimPrefix(path, root)] = what
		return nil
	})
	must(t, "looking at a tree", err)
	return found
}
