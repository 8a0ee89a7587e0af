package gitrepo_test

import (
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/volume/gitrepo"
	"nodeagent.dev/nodeagent/internal/volume/volumetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func source(repository, revision, directory string) corev1.VolumeSource {
	return corev1.VolumeSource{GitRepo: &corev1.GitRepoVolumeSource{Repository: repository, Revision: revision, Directory: directory}}
}

var enabled = gitrepo.Config{Enabled: true, AllowLocal: true}

// mount mounts one volume and returns its directory, and where the pod's are.
func mount(t *testing.T, cfg gitrepo.Config, src corev1.VolumeSource, change ...func(*corev1.Pod)) (dir, root string, err error) {
	t.Helper()
	root = t.TempDir()
	m := volumetest.Manager(t, root, gitrepo.New(cfg))
	p := volumetest.Pod("u", corev1.Volume{Name: "v", VolumeSource: src})
	for _, f := range change {
		f(p)
	}
	volumes, err := m.Mount(t.Context(), p)
	return volumes["v"].HostPath, root, err
}

func content(t *testing.T, parts ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

// refused checks that a volume is not made, why, and that nothing is left of it.
func refused(t *testing.T, cfg gitrepo.Config, src corev1.VolumeSource, want string) {
	t.Helper()
	_, root, err := mount(t, cfg, src)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q in it", err, want)
	}
	nothingLeft(t, root)
}

func nothingLeft(t *testing.T, root string) {
	t.Helper()
	for _, path := range []string{"volumes/kubernetes.io~git-repo/v", "plugins/kubernetes.io~git-repo/v/ready"} {
		if _, err := os.Lstat(filepath.Join(root, "pods/u", path)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left (%v)", path, err)
		}
	}
}

func TestConformance(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	h := newHistory(t)
	h.files(item{"100644", "a", h.blob("a")})
	url := serve(t, h)
	volumetest.Run(t, gitrepo.New(enabled), map[string]corev1.VolumeSource{
		"plain":     source(url+"/x.git", "", ""),
		"top":       source(url+"/x.git", "main", "."),
		"elsewhere": source(url+"/x.git", "", "deep/down"),
	})
}

func TestDisabled(t *testing.T) {
	_, _, err := mount(t, gitrepo.Config{}, source("https://example.com/x", "", ""))
	want := "MountVolume.SetUp failed for volume \"v\" : git-repo volume plugin has been disabled; " +
		"if necessary, it may be re-enabled by enabling the feature-gate `GitRepoVolumeDriver`"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestSources(t *testing.T) {
	for _, c := range []struct{ repository, revision, directory, want string }{
		{"--upload-pack=x", "", "", `"--upload-pack=x" is an invalid value for repository`},
		{"https://h/x", "-f", "", `"-f" is an invalid value for revision`},
		{"https://h/x", "", "-d", `"-d" is an invalid value for directory`},
		{"https://h/x", "r", "a/b", `"a/b" is not a valid directory, it must not contain a directory separator`},
		{"https://h/x", "r", `a\b`, "must not contain a directory separator"},
		{"ssh://h/x", "", "", "only URLs that begin with"},
		{"git@h:x", "", "", "no valid URL"},
		{"h:x", "", "", "only URLs that begin with"},
		{"file:///etc", "", "", "only URLs that begin with"},
		{"ext::sh -c x", "", "", "only URLs that begin with"},
		{"/etc/x", "", "", "only URLs that begin with"},
		{"https:///x", "", "", "names no host"},
		{"https://u:secret@h/x", "", "", "names a user"},
		{"https://h/x?y", "", "", "cannot be cloned"},
		{"https://h/x#y", "", "", "cannot be cloned"},
		{"git://h/x%0ayz", "", "", "control characters"},
		{"https://h/..", "", "", "cannot guess"},
		{"https://h/x", "", "../y", "not inside the volume"},
		{"https://h/x", "", "y/../z", "not inside the volume"},
		{"https://h/x", "", "/etc", "not inside the volume"},
		{"https://h/x", "r", "..", "not inside the volume"},
	} {
		t.Run(c.repository+" "+c.directory, func(t *testing.T) {
			refused(t, enabled, source(c.repository, c.revision, c.directory), c.want)
		})
	}
	_, _, err := mount(t, enabled, source("https://u:secret@h/%zz", "", ""))
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v: a password is told", err)
	}
}

func TestContent(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	h := newHistory(t)
	inner := h.tree(item{"100755", "run", h.blob("#!/bin/sh\n")})
	h.files(
		item{"120000", "absolute", h.blob("/etc/passwd")},
		item{"100664", "file", h.blob("hello")},
		item{"40000", "inner", inner},
		item{"160000", "module", hash{1}},
		item{"120000", "up", h.blob("../../../..")},
	)
	url := serve(t, h)
	for target, directory := range map[string]string{"repo": "", "": ".", "other": "./other/", "a/b": "a/b"} {
		dir, _, err := mount(t, enabled, source(url+"/some/repo.git/", "", directory))
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o777 {
			t.Errorf("the volume: %v, %v; want mode 0777", info.Mode(), err)
		}
		top := filepath.Join(dir, target)
		if got := content(t, top, "file"); got != "hello" {
			t.Errorf("file: %q", got)
		}
		for name, want := range map[string]fs.FileMode{
			"file": 0o644, "inner": fs.ModeDir | 0o755, "inner/run": 0o755, "module": fs.ModeDir | 0o755, ".git": fs.ModeDir | 0o755,
			"absolute": fs.ModeSymlink | 0o777,
		} {
			if info, err := os.Lstat(filepath.Join(top, name)); err != nil || info.Mode() != want {
				t.Errorf("%s: %v, %v; want %v", name, info.Mode(), err, want)
			}
		}
		if to, err := os.Readlink(filepath.Join(top, "up")); err != nil || to != "../../../.." {
			t.Errorf("up: %q, %v", to, err)
		}
		if _, err := os.Lstat(filepath.Join(top, ".git/hooks")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf(".git/hooks: %v", err)
		}
		if got := content(t, top, ".git/HEAD"); got != "ref: refs/heads/main\n" {
			t.Errorf("HEAD: %q", got)
		}
	}
}

func TestFSGroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	h := newHistory(t)
	h.files(item{"40000", "d", h.tree(item{"120000", "l", h.blob("/etc/passwd")}, item{"100755", "x", h.blob("x")})})
	group := int64(4711)
	dir, _, err := mount(t, enabled, source(serve(t, h)+"/r", "", ""), func(p *corev1.Pod) {
		p.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: &group}
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{
		".": fs.ModeDir | fs.ModeSetgid | 0o777, "r/d": fs.ModeDir | fs.ModeSetgid | 0o775, "r/d/x": 0o775, "r/d/l": fs.ModeSymlink | 0o777,
		"r/.git/config": 0o664,
	} {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil || info.Mode() != want || info.Sys().(*syscall.Stat_t).Gid != uint32(group) {
			t.Errorf("%s: %v of group %d, %v; want %v of %d", name, info.Mode(), info.Sys().(*syscall.Stat_t).Gid, err, want, group)
		}
	}
	if info, err := os.Stat("/etc/passwd"); err != nil || info.Sys().(*syscall.Stat_t).Gid == uint32(group) {
		t.Error("a link was followed")
	}
}

func TestRevisions(t *testing.T) {
	h := newHistory(t)
	state := func(s string, parents ...hash) hash {
		return h.commit(h.tree(item{"100644", "f", h.blob(s)}), parents...)
	}
	first := state("first")
	second := state("second", first)
	side := state("side", first)
	merge := state("merge", second, side)
	tag := h.object(tagType, "object "+second.String()+"\ntype commit\ntag v1\ntagger A <a@b> 1700000000 +0000\n\nx\n")
	h.refs = map[string]hash{
		"HEAD": merge, "refs/heads/main": merge, "refs/heads/feature/a": side,
		"refs/tags/v1": tag, "refs/tags/light": first, "refs/heads/v1": side, "refs/heads/bad..name": side, "refs/pull/1/head": first,
	}
	url := serve(t, h) + "/r"
	for revision, want := range map[string]struct{ content, head string }{
		"main":             {"merge", "ref: refs/heads/main\n"},
		"HEAD":             {"merge", merge.String() + "\n"},
		"feature/a":        {"side", "ref: refs/heads/feature/a\n"},
		"origin/feature/a": {"side", side.String() + "\n"},
		"v1":               {"second", second.String() + "\n"}, // a tag comes before a remote's branch
		"refs/tags/light":  {"first", first.String() + "\n"},
		"light":            {"first", first.String() + "\n"},
		first.String():     {"first", first.String() + "\n"},
		side.String()[:9]:  {"side", side.String() + "\n"},
		"main~1":           {"second", second.String() + "\n"},
		"main^2":           {"side", side.String() + "\n"},
		"@~2":              {"first", first.String() + "\n"},
		"HEAD^^":           {"first", first.String() + "\n"},
		"v1^{commit}":      {"second", second.String() + "\n"},
		"v1^0":             {"second", second.String() + "\n"},
	} {
		t.Run(revision, func(t *testing.T) {
			dir, _, err := mount(t, enabled, source(url, revision, "."))
			if err != nil {
				t.Fatal(err)
			}
			if got := content(t, dir, "f"); got != want.content {
				t.Errorf("content %q, want %q", got, want.content)
			}
			if got := content(t, dir, ".git/HEAD"); got != want.head {
				t.Errorf("HEAD %q, want %q", got, want.head)
			}
		})
	}
	for _, revision := range []string{"nothing", "main~9", "main^3", "bad..name", "main~x", "main~99999999999999999999", strings.Repeat("0", 39) + "1"} {
		t.Run(revision, func(t *testing.T) {
			refused(t, enabled, source(url, revision, ""), "check out revision")
		})
	}
}

func TestEmptyRepository(t *testing.T) {
	url := serve(t, newHistory(t)) + "/r"
	dir, _, err := mount(t, enabled, source(url, "", ""))
	if err != nil {
		t.Fatal(err)
	}
	if got := content(t, dir, "r/.git/HEAD"); got != "ref: refs/heads/main\n" && got != "ref: refs/heads/master\n" {
		t.Errorf("HEAD: %q", got)
	}
	refused(t, enabled, source(url, "main", ""), "no such branch")
}

func TestGitProtocol(t *testing.T) {
	h := newHistory(t)
	h.files(item{"100644", "f", h.blob("x")})
	paths := make(chan string, 1)
	url := daemon(t, h, paths)
	dir, _, err := mount(t, enabled, source(url+"/a/b", "", ""))
	if err != nil {
		t.Fatal(err)
	}
	if got := content(t, dir, "b/f"); got != "x" {
		t.Errorf("content %q", got)
	}
	if got, want := <-paths, "git-upload-pack /a/b\x00host="+strings.TrimPrefix(url, "git://")+"\x00"; got != want {
		t.Errorf("asked %q, want %q", got, want)
	}
}

func TestRedirects(t *testing.T) {
	h := newHistory(t)
	h.files(item{"100644", "f", h.blob("x")})
	moved := serve(t, h)
	secure := httptest.NewTLSServer(h)
	defer secure.Close()
	mux := http.NewServeMux()
	url := serve(t, mux)
	to := func(path, target string, code int) {
		mux.Handle(path+"/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", target+strings.TrimPrefix(r.URL.Path, path)+"?"+r.URL.RawQuery)
			w.WriteHeader(code)
		}))
	}
	to("/moved", moved+"/new", http.StatusMovedPermanently)
	to("/loop", url+"/loop", http.StatusFound)
	to("/file", "file:///etc", http.StatusFound)
	to("/login", strings.Replace(moved, "http://", "http://u:p@", 1), http.StatusFound)
	mux.Handle("/page/", http.RedirectHandler(moved+"/other?service=git-upload-pack", http.StatusFound))
	mux.Handle("/post/info/refs", h)
	to("/post", moved+"/new", http.StatusTemporaryRedirect)

	dir, _, err := mount(t, enabled, source(url+"/moved", "", ""))
	if err != nil || content(t, dir, "moved/f") != "x" {
		t.Errorf("a repository that has moved: %v", err)
	}
	for path, want := range map[string]string{
		"/loop": "more than 5 times", "/file": "not followed", "/login": "credentials", "/page": "404", "/post": "may not be",
	} {
		t.Run(path, func(t *testing.T) { refused(t, enabled, source(url+path, "", ""), want) })
	}
	down := serve(t, http.RedirectHandler(secure.URL, http.StatusFound))
	refused(t, enabled, source(down, "", "d"), "certificate") // from http to https is followed
}

func TestFinishedVolumeIsNotTouched(t *testing.T) {
	h := newHistory(t)
	h.files(item{"100644", "f", h.blob("x")})
	server := httptest.NewServer(h)
	root := t.TempDir()
	p := volumetest.Pod("u", corev1.Volume{Name: "v", VolumeSource: source(server.URL+"/r", "", "")})
	m := volumetest.Manager(t, root, gitrepo.New(enabled))
	dir := filepath.Join(root, "pods/u/volumes/kubernetes.io~git-repo/v")
	// What a crash in the middle of a clone leaves is taken away first.
	if err := os.MkdirAll(filepath.Join(dir, "r/half"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Mount(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "r/half")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half a clone is left: %v", err)
	}
	server.Close() // nobody is asked again
	if err := os.WriteFile(filepath.Join(dir, "r/f"), []byte("the pod's"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Mount(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if got := content(t, dir, "r/f"); got != "the pod's" {
		t.Errorf("content %q", got)
	}
}
