package gitrepo_test

import (
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// run runs git, which has no settings.
func run(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "HOME="+t.TempDir(), "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestAsGitDoes clones from git's own server and compares with git's own clone.
func TestAsGitDoes(t *testing.T) {
	backend, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Skip("git is not installed")
	}
	work, bare := t.TempDir(), t.TempDir()
	run(t, work, "init", "-q", "-b", "trunk")
	text := strings.Repeat("a line that is the same in all versions\n", 500)
	for i, name := range []string{"one", "dir/two", "dir/sub/three", "one", "one"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(work, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		text += strings.Repeat("x", i) + "\n"
		if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		run(t, work, "add", "-A")
		run(t, work, "commit", "-q", "-m", name)
	}
	if err := os.Symlink("dir/two", filepath.Join(work, "link")); err != nil {
		t.Fatal(err)
	}
	run(t, work, "add", "-A")
	run(t, work, "commit", "-q", "-m", "link")
	run(t, work, "tag", "-a", "v1", "-m", "x", "HEAD~2")
	run(t, work, "branch", "side", "HEAD~3")
	run(t, bare, "clone", "-q", "--bare", work, "repo.git")
	run(t, bare, "-C", "repo.git", "repack", "-adfq", "--depth=50")
	url := serve(t, &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(backend)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + bare, "GIT_HTTP_EXPORT_ALL=1"}, Logger: nil,
	})
	for _, revision := range []string{"", "side", "v1", "HEAD~3", run(t, work, "rev-parse", "--short", "HEAD~1"), "trunk"} {
		t.Run(revision, func(t *testing.T) {
			dir, _, err := mount(t, enabled, source(url+"/repo.git", revision, ""))
			if err != nil {
				t.Fatal(err)
			}
			ours, theirs := filepath.Join(dir, "repo"), filepath.Join(t.TempDir(), "repo")
			run(t, filepath.Dir(theirs), "clone", "-q", url+"/repo.git", "repo")
			if revision != "" {
				run(t, theirs, "checkout", "-q", revision)
			}
			run(t, ours, "fsck", "--strict")
			for _, args := range [][]string{
				{"status", "--branch", "--porcelain=v2"}, {"log", "--all", "--format=%H %D"}, {"rev-parse", "HEAD"}, {"ls-files", "--stage"},
				{"for-each-ref", "--format=%(refname) %(objectname) %(symref) %(upstream)"},
			} {
				got, want := run(t, ours, args...), run(t, theirs, args...)
				if got != want {
					t.Errorf("git %v says\n%s\nwant\n%s", args, got, want)
				}
			}
			if out := run(t, ours, "diff", "HEAD"); out != "" {
				t.Errorf("differs from its commit:\n%s", out)
			}
			run(t, ours, "fetch", "-q")
			if out, err := exec.Command("diff", "-r", "--no-dereference", "-x", ".git", ours, theirs).CombinedOutput(); err != nil {
				t.Errorf("the working trees differ: %s", out)
			}
		})
	}
}
