//go:build e2e

package security

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// canary is in a file that no client of the agent may read; as a line of a log
// so that whoever reads it shows it.
const canary = "canary-3f9a"

func canaryFile(t *testing.T, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	must(t, "writing the canary", os.WriteFile(path, []byte("2026-01-01T00:00:00.000000000Z stdout F "+canary+"\n"), 0o600))
	return path
}

// swap replaces path by what put makes, for the length of the test.
func swap(t *testing.T, path string, put func() error) {
	t.Helper()
	kept := path + ".kept"
	must(t, "moving "+path+" away", os.Rename(path, kept))
	t.Cleanup(func() {
		_ = os.RemoveAll(path)
		if err := os.Rename(kept, path); err != nil {
			t.Errorf("moving %s back: %v", path, err)
		}
	})
	must(t, "replacing "+path, put())
}

// TestReplacedLogs does what somebody who can write to the node's log folder
// does to read a file of root's. The kubelet follows links; nodeagent refuses,
// on purpose.
func TestReplacedLogs(t *testing.T) {
	f := cluster(t)
	p, err := f.bed.Client().CoreV1().Pods(namespace).Get(t.Context(), victim, metav1.GetOptions{})
	must(t, "reading the pod", err)
	dir := filepath.Join(f.bed.PodLogsDir, fmt.Sprintf("%s_%s_%s", namespace, victim, p.UID), "a")
	file := filepath.Join(dir, "0.log")
	logs := "/containerLogs/default/" + victim + "/a"
	f.ask(t, f.admin, http.MethodGet, logs).want(t, "the log as it is", http.StatusOK, "hello from the victim\n")

	refused := func(t *testing.T, query, kubelet string) {
		t.Helper()
		got := f.ask(t, f.admin, http.MethodGet, logs+query)
		if f.nodeagent() {
			if got.code/100 == 2 || strings.Contains(got.body, canary) {
				t.Errorf("%s: nodeagent got fooled: %s", query, got)
			}
		} else if !strings.Contains(got.body, kubelet) {
			t.Errorf("%s: the kubelet is known to follow it, but got %s", query, got)
		}
	}
	t.Run("by a link to a file", func(t *testing.T) {
		secret := canaryFile(t, t.TempDir(), "secret")
		swap(t, file, func() error { return os.Symlink(secret, file) })
		for _, query := range []string{"", "?tailLines=1", "?timestamps=true", "?limitBytes=100"} {
			refused(t, query, canary[:6])
		}
	})
	t.Run("by a chain of links", func(t *testing.T) {
		outside := t.TempDir()
		secret, hop := canaryFile(t, outside, "secret"), filepath.Join(outside, "hop")
		must(t, "linking", os.Symlink(secret, hop))
		swap(t, file, func() error { return os.Symlink(hop, file) })
		refused(t, "", canary)
	})
	t.Run("by a link to another pod's log", func(t *testing.T) {
		other := canaryFile(t, filepath.Join(f.bed.PodLogsDir), "other.log")
		t.Cleanup(func() { _ = os.Remove(other) })
		swap(t, file, func() error { return os.Symlink("../../other.log", file) })
		refused(t, "", canary)
	})
	t.Run("by a link in place of the folder", func(t *testing.T) {
		outside := t.TempDir()
		canaryFile(t, outside, "0.log")
		swap(t, dir, func() error { return os.Symlink(outside, dir) })
		refused(t, "", canary)
	})
	t.Run("by a link in place of the pod's folder", func(t *testing.T) {
		outside := t.TempDir()
		must(t, "making a folder", os.Mkdir(filepath.Join(outside, "a"), 0o755))
		canaryFile(t, filepath.Join(outside, "a"), "0.log")
		swap(t, filepath.Dir(dir), func() error { return os.Symlink(outside, filepath.Dir(dir)) })
		refused(t, "", canary)
	})
	t.Run("by a folder", func(t *testing.T) {
		swap(t, file, func() error { return os.Mkdir(file, 0o755) })
		if got := f.ask(t, f.admin, http.MethodGet, logs); f.nodeagent() && got.code/100 == 2 {
			t.Errorf("got %s", got)
		}
	})
	t.Run("by a pipe", func(t *testing.T) {
		if !f.nodeagent() {
			t.Skip("the kubelet waits for a writer as long as the request lives, and longer")
		}
		swap(t, file, func() error { return syscall.Mkfifo(file, 0o600) })
		refused(t, "", "")
		refused(t, "?tailLines=1", "")
	})
	t.Run("by a device", func(t *testing.T) {
		if !f.nodeagent() {
			t.Skip("the kubelet reads it for ever")
		}
		swap(t, file, func() error { return os.Symlink("/dev/zero", file) })
		refused(t, "", "")
	})
	f.ask(t, f.admin, http.MethodGet, logs).want(t, "the log as it was", http.StatusOK, "hello from the victim\n")
}

// Names in the path are names, not paths. The kubelet's router does not know
// names with a slash; nodeagent says whom it does not find.
func TestNamesInLogPaths(t *testing.T) {
	f := cluster(t)
	for target, body := range map[string]string{
		"/containerLogs/default/" + victim + "/..%2fa":              `container "../a" not found in pod "victim"`,
		"/containerLogs/default/" + victim + "/%2e%2e":              `container ".." not found in pod "victim"`,
		"/containerLogs/default/" + victim + "/a%2f..%2fa":          `container "a/../a" not found in pod "victim"`,
		"/containerLogs/default/" + victim + "/..%2f..%2fother.log": `container "../../other.log" not found in pod "victim"`,
		"/containerLogs/default/" + victim + "/a%00":                "container \"a\\x00\" not found in pod \"victim\"",
		"/containerLogs/default/..%2f..%2fetc/a":                    `pod "../../etc" does not exist`,
		"/containerLogs/default/%2e%2e/a":                           `pod ".." does not exist`,
		"/containerLogs/..%2fdefault/" + victim + "/a":              `pod "victim" does not exist`,
		"/containerLogs/%2e%2e/" + victim + "/a":                    `pod "victim" does not exist`,
	} {
		if strings.Contains(target, "%2f") && !f.nodeagent() {
			body = "404: Page Not Found"
		}
		f.ask(t, f.admin, http.MethodGet, target).want(t, target, http.StatusNotFound, body)
	}
}

// TestSystemLogs tries to get out of /var/log through the file server below
// /logs/. The kubelet follows links that lead out; nodeagent only those that
// stay inside.
func TestSystemLogs(t *testing.T) {
	f := cluster(t)
	dir, err := os.MkdirTemp("/var/log", "nodeagent-security-") //nolint:usetesting // the file server shows this folder only
	must(t, "making a folder in /var/log", err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, "opening the folder", os.Chmod(dir, 0o755))
	outside := t.TempDir()
	secret := canaryFile(t, outside, "secret")
	must(t, "writing a log", os.WriteFile(filepath.Join(dir, "plain.log"), []byte("plain\n"), 0o644))
	for name, to := range map[string]string{
		"inside": "plain.log", "inside-absolute": filepath.Join(dir, "plain.log"),
		"out": secret, "out-folder": outside, "out-chain": "out", "root": "/", "gone": "/nowhere/at/all",
	} {
		must(t, "linking", os.Symlink(to, filepath.Join(dir, name)))
	}
	rel, err := filepath.Rel(dir, secret)
	must(t, "relating", err)
	must(t, "linking", os.Symlink(rel, filepath.Join(dir, "out-relative")))
	must(t, "making a pipe", syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))

	base := "/logs/" + filepath.Base(dir) + "/"
	for _, name := range []string{"plain.log", "inside", "inside-absolute"} {
		f.ask(t, f.admin, http.MethodGet, base+name).want(t, name, http.StatusOK, "plain\n")
	}
	for _, name := range []string{"out", "out-relative", "out-chain", "out-folder/secret", "root" + secret} {
		got := f.ask(t, f.admin, http.MethodGet, base+name)
		if leaked := strings.Contains(got.body, canary); leaked == f.nodeagent() || f.nodeagent() && got.code/100 == 2 {
			t.Errorf("%s: got %s", name, got)
		}
	}
	if f.nodeagent() { // the kubelet waits for a writer
		if got := f.ask(t, f.admin, http.MethodGet, base+"pipe"); got.code/100 == 2 {
			t.Errorf("a pipe: got %s", got)
		}
	}
	// What is written in the path gets nobody out, links or not.
	up := strings.Repeat("..%2f", 12)
	for _, target := range []string{
		base + up + secret[1:], "/logs/" + up + secret[1:], "/logs/" + strings.Repeat("%2e%2e/", 12) + secret[1:],
		"/logs/%2f" + secret[1:], "/logs/..%5c..%5c" + secret[1:], base + "plain.log%00" + up + secret[1:],
		base + "gone", base + "nope", base + "plain.log/", base + "plain.log/x",
		"/logs/" + strings.Repeat("../", 12) + secret[1:],
	} {
		got := f.ask(t, f.admin, http.MethodGet, target)
		if got.code/100 == 2 || strings.Contains(got.body, canary) {
			t.Errorf("%s: got %s", target, got)
		}
	}
}
