package content

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// FuzzItems writes items with any keys, paths and modes: what Check lets through is
// written, below the volume and nowhere else, and can be read by its path.
func FuzzItems(f *testing.F) {
	for _, seed := range [][4]string{
		{"a", "x", "b", "y/z"}, {"a", "../x", "b", "./..data"}, {"a", "x", "b", "x/y"}, {"a", ".", "b", "/x"},
		{"a", "..data/x", "b", "..data_tmp"}, {"a", "x//y/.", "none", "..2026_11_21_12_04_22.1"}, {"", "", "a", "a\x00b"},
		{"a", "x", "a", "x/../y"}, {"b", strings.Repeat("n", 256), "a", strings.Repeat("d/", 300)},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3], int32(0o644), true)
	}
	f.Fuzz(func(t *testing.T, key1, path1, key2, path2 string, mode int32, optional bool) {
		cm := &corev1.ConfigMap{Data: map[string]string{"a": "1"}, BinaryData: map[string][]byte{"b": {2, 0}}}
		items := []corev1.KeyToPath{{Key: key1, Path: path1, Mode: &mode}, {Key: key2, Path: path2}}
		files, err := FromConfigMap(cm, items, 0o644, optional)
		if err != nil {
			return
		}
		outer := t.TempDir()
		volume := filepath.Join(outer, "volume")
		must(t, os.Mkdir(volume, 0o755))
		checked := files.Check()
		_, err = Write(t.Context(), volume, files, nil)
		if checked != nil && err == nil {
			t.Fatalf("written in spite of %v", checked)
		}
		entries, readErr := os.ReadDir(outer)
		must(t, readErr)
		if len(entries) != 1 {
			t.Fatalf("outside the volume: %v", entries)
		}
		if err != nil {
			return // too long for a path of the kernel, or refused
		}
		if changed, err := Write(t.Context(), volume, files, nil); changed || err != nil {
			t.Fatalf("written again: %t, %v", changed, err)
		}
		clean(t, volume, files)
		for raw := range files {
			name := path.Clean(raw)
			if !fs.ValidPath(strings.ToValidUTF8(name, "?")) || strings.HasPrefix(name, "..") {
				t.Fatalf("%q is no path of a volume", raw)
			}
			if info, err := os.Lstat(filepath.Join(volume, dataLink, name)); err != nil || !info.Mode().IsRegular() {
				t.Fatalf("%q: %v, %v", raw, info, err)
			}
		}
	})
}

// FuzzCheck looks at any two paths: those it lets through lie in the volume, beside
// each other and beside what the layout keeps there.
func FuzzCheck(f *testing.F) {
	for _, seed := range [][2]string{
		{"a", "a/b"}, {"./..data", "x"}, {"a/./b", "a//b"}, {".", "..."}, {"a/..", "/"}, {"", "a\x00"},
		{strings.Repeat("n", 256), strings.Repeat("n/", 2049)}, {"-", "."}, {"a-b/c", "a/c"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if (Files{a: {}, b: {}}).Check() != nil {
			return
		}
		for _, p := range []string{a, b} {
			cleaned := path.Clean(p)
			if !filepath.IsLocal(cleaned) || cleaned == "." || strings.HasPrefix(cleaned, "..") || strings.Contains(p, "\x00") || len(p) > maxPath {
				t.Errorf("%q is let through", p)
			}
			for name := range strings.SplitSeq(cleaned, "/") {
				if name == "" || len(name) > maxName {
					t.Errorf("%q is let through", p)
				}
			}
		}
		if a, b := path.Clean(a), path.Clean(b); strings.HasPrefix(a, b+"/") || strings.HasPrefix(b, a+"/") {
			t.Errorf("%q and %q are let through", a, b)
		}
	})
}

// FuzzFieldPath asks for any field: it never panics, and what it says is of the pod.
func FuzzFieldPath(f *testing.F) {
	for _, seed := range []string{"metadata.labels['a']", "metadata.annotations", "['", "metadata.labels['']", "metadata.uid", "']['"} {
		f.Add(seed)
	}
	p := downwardPod()
	f.Fuzz(func(t *testing.T, fieldPath string) {
		value, err := field(p, fieldPath)
		if err != nil && value != "" {
			t.Errorf("%q and %v", value, err)
		}
		if err == nil && !strings.HasPrefix(fieldPath, "metadata.") {
			t.Errorf("%q is a field that volumes do not show", fieldPath)
		}
	})
}
