package archtest

import (
	"bytes"
	"errors"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "nodeagent.dev/nodeagent/"

// source is one package directory: its place below internal/ ("volume/emptydir"),
// or below the module ("cmd/nodeagent").
type source struct {
	place string
	cmd   bool
	dir   string
	files []string // non-test files of this platform
	*build.Package
}

// sources reads the packages below internal/ and cmd/. Directories without a
// file for this platform and no build tags are left out.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	for _, top := range []string{"internal", "cmd"} {
		err := filepath.WalkDir(filepath.Join("..", "..", top), func(dir string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || !d.IsDir() {
				return err
			}
			if d.Name() == "testdata" {
				return fs.SkipDir
			}
			p, err := build.ImportDir(dir, 0)
			if _, none := errors.AsType[*build.NoGoError](err); none {
				return nil
			}
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(filepath.Join("..", ".."), dir)
			if err != nil {
				return err
			}
			all = append(all, source{
				place: strings.TrimPrefix(filepath.ToSlash(rel), "internal/"), cmd: top == "cmd",
				dir: dir, files: p.GoFiles, Package: p,
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(all) < 3 {
		t.Fatalf("found only %d packages", len(all))
	}
	return all
}

// under reports whether a package or import path is in a subtree.
func under(path, subtree string) bool {
	return path == subtree || strings.HasPrefix(path, subtree+"/")
}

func underAny(path string, subtrees []string) bool {
	return slices.ContainsFunc(subtrees, func(s string) bool { return under(path, s) })
}

// locate finds the layer and the longest matching subtree of a package.
func locate(place string) (level int, subtree string) {
	level = -1
	for i, l := range layers() {
		for _, s := range l.packages {
			if under(place, s) && len(s) > len(subtree) {
				level, subtree = i, s
			}
		}
	}
	return level, subtree
}

// mayImport says why a package must not import another of ours; "" when it may.
func mayImport(from, to string) string {
	if under(from, "cmd") {
		if !underAny(to, commands()) {
			return "cmd imports only " + strings.Join(commands(), " and ")
		}
		return ""
	}
	for helper, users := range helpers() {
		if under(from, helper) && !under(to, helper) {
			return helper + " stands alone"
		}
		if under(to, helper) && !under(from, helper) && !underAny(from, users) {
			return helper + " is for " + strings.Join(users, ", ") + " only"
		}
		if under(to, helper) {
			return ""
		}
	}
	fromLevel, fromTree := locate(from)
	toLevel, toTree := locate(to)
	switch {
	case toLevel < 0:
		return "" // reported for the package itself
	case toLevel > fromLevel:
		return "it is a layer above"
	case toLevel == fromLevel && toTree != fromTree:
		return "siblings do not know each other: declare a port and let agent wire it"
	}
	return ""
}

func TestImportsPointDown(t *testing.T) {
	for _, s := range sources(t) {
		if s.place == "archtest" {
			continue
		}
		level, _ := locate(s.place)
		_, isHelper := helpers()[strings.SplitN(s.place, "/", 2)[0]]
		if level < 0 && !isHelper && !s.cmd {
			t.Errorf("internal/%s is in no layer: put it into layers_test.go", s.place)
			continue
		}
		for _, path := range s.Imports {
			to, ours := strings.CutPrefix(path, module+"internal/")
			if !ours {
				if strings.HasPrefix(path, module) {
					t.Errorf("internal/%s must not import %s: it is no part of the product", s.place, path)
				}
				continue
			}
			if why := mayImport(s.place, to); why != "" {
				t.Errorf("%s must not import internal/%s: %s", s.place, to, why)
			}
		}
	}
}

func TestPureCodeTouchesNothing(t *testing.T) {
	for _, s := range sources(t) {
		for _, name := range s.files {
			if !underAny(s.place, pure()) && name != "decide.go" {
				continue
			}
			for _, path := range imports(t, filepath.Join(s.dir, name)) {
				if underAny(path, impure()) && !underAny(path, harmless()) {
					t.Errorf("internal/%s/%s decides, so it must not import %q", s.place, name, path)
				}
			}
		}
	}
}

func TestImportsThatHaveOwners(t *testing.T) {
	for _, s := range sources(t) {
		for _, path := range s.Imports {
			for owned, by := range owners() {
				if under(path, owned) && !underAny(s.place, by) {
					t.Errorf("%s must not import %s: only %v may", s.place, path, by)
				}
			}
		}
	}
}

func TestPackagesSayWhatTheyAreFor(t *testing.T) {
	for _, s := range sources(t) {
		if s.cmd {
			continue
		}
		text, err := os.ReadFile(filepath.Join(s.dir, "doc.go"))
		if err != nil {
			t.Errorf("internal/%s has no doc.go", s.place)
			continue
		}
		for _, word := range []string{"Owns:", "Consumes:", "Publishes:"} {
			if !bytes.Contains(text, []byte(word)) {
				t.Errorf("internal/%s/doc.go does not say what it has under %q", s.place, word)
			}
		}
	}
}

func TestFilesAreShort(t *testing.T) {
	for _, s := range sources(t) {
		for _, name := range slices.Concat(s.GoFiles, s.TestGoFiles, s.XTestGoFiles) {
			path := filepath.Join(s.dir, name)
			rel := filepath.ToSlash(strings.TrimPrefix(path, filepath.Join("..", "..")+string(filepath.Separator)))
			if slices.ContainsFunc(tables(), func(p string) bool { return strings.HasPrefix(rel, p) }) {
				continue
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			lines := bytes.Count(text, []byte("\n"))
			if lines > maxFileLines && !bytes.Contains(text, []byte("// Code generated ")) {
				t.Errorf("%s has %d lines, more than %d: split it by concern", rel, lines, maxFileLines)
			}
		}
	}
}

func TestStructsAreSmall(t *testing.T) {
	for _, s := range sources(t) {
		if underAny(s.place, wide()) {
			continue
		}
		for _, name := range s.files {
			file := parse(t, filepath.Join(s.dir, name), parser.SkipObjectResolution)
			ast.Inspect(file, func(n ast.Node) bool {
				spec, ok := n.(*ast.TypeSpec)
				if !ok {
					return true
				}
				limit := max(maxStructFields, outgrown()[s.place+"."+spec.Name.Name])
				if st, ok := spec.Type.(*ast.StructType); ok && st.Fields.NumFields() > limit {
					t.Errorf("%s.%s has %d fields, more than %d", s.place, spec.Name, st.Fields.NumFields(), limit)
				}
				return true
			})
		}
	}
}

func TestNobodyRegistersItself(t *testing.T) {
	for _, s := range sources(t) {
		for _, name := range s.files {
			for _, d := range parse(t, filepath.Join(s.dir, name), parser.SkipObjectResolution).Decls {
				if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
					t.Errorf("%s/%s has an init: lists are explicit, in one place", s.place, name)
				}
			}
		}
	}
}

func parse(t *testing.T, path string, mode parser.Mode) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, mode)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func imports(t *testing.T, path string) []string {
	t.Helper()
	var paths []string
	for _, i := range parse(t, path, parser.ImportsOnly).Imports {
		paths = append(paths, strings.Trim(i.Path.Value, `"`))
	}
	return paths
}

// The rules themselves have to bite.
func TestRules(t *testing.T) {
	for _, c := range []struct {
		from, to string
		ok       bool
	}{
		{"lifecycle/plan", "pod", true},
		{"cri", "containerspec", true},
		{"cri/critest", "cri", true},
		{"volume/builtin", "volume/emptydir", true},
		{"agent", "cri", true},
		{"agent", "config", true},
		{"cmd/nodeagent", "agent", true},
		{"cmd/nodeagent", "agent/control", true},
		{"lifecycle", "lifecycle/plan", true},
		{"lifecycle", "cri", false},
		{"pleg", "lifecycle", false},
		{"podstatus", "lifecycle/plan", false},
		{"pod", "podstatus", false},
		{"lifecycle/plan", "lifecycle", false},
		{"lifecycle", "config", false},
		{"config", "pod", false},
		{"cmd/nodeagent", "cri", false},
		{"status", "agent", false},
	} {
		if why := mayImport(c.from, c.to); (why == "") != c.ok {
			t.Errorf("%s -> %s: %q, want it allowed: %v", c.from, c.to, why, c.ok)
		}
	}
}
