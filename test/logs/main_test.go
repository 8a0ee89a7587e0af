//go:build e2e

package logs

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

const (
	patience = 90 * time.Second
	maxSize  = 100 << 10 // bytes
	maxFiles = 4
)

// shared is the bed of all tests but the flood. Its logs are small.
var shared = bedtest.Shared{Options: bed.Options{
	KubeletConfig: func(config map[string]any) {
		config["containerLogMaxSize"], config["containerLogMaxFiles"], config["containerLogMonitorInterval"] = "100Ki", maxFiles, "3s"
	},
}}

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("4") // the tests wait more than they compute
	}
	os.Exit(shared.Run(m))
}

var must = bedtest.Must

// onlyHere skips a test of what the kubelet does not do.
func onlyHere(t *testing.T, b *bed.Bed, why string) {
	t.Helper()
	if b.Agent() == bed.Kubelet {
		t.Skip("the kubelet: " + why)
	}
}

// started makes a pod of one container and returns it when it runs.
func started(t *testing.T, b *bed.Bed, name, command string) *corev1.Pod {
	t.Helper()
	bedtest.Create(t, b, bedtest.NewPod(name, 1, command))
	return bedtest.Await(t, b.Client(), name, "ready", patience, bedtest.Ready)
}

// logDir is the directory of a container's logs.
func logDir(b *bed.Bed, p *corev1.Pod, container string) string {
	return filepath.Join(b.PodLogsDir, p.Namespace+"_"+p.Name+"_"+string(p.UID), container)
}

// files are the sizes of the files of a directory, by name.
func files(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, "reading a log directory", err)
	sizes := map[string]int64{}
	for _, e := range entries {
		if info, err := e.Info(); err == nil { // else it was removed meanwhile
			sizes[e.Name()] = info.Size()
		}
	}
	return sizes
}

// eventually waits for what nobody tells of.
func eventually(t *testing.T, what string, done func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = done(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

// kubectl runs kubectl; it has to succeed.
func kubectl(t *testing.T, b *bed.Bed, args ...string) string {
	t.Helper()
	out, err := command(t.Context(), b, args...).Output()
	must(t, "kubectl "+strings.Join(args, " "), err)
	return string(out)
}

func command(ctx context.Context, b *bed.Bed, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(b.BinDir, "kubectl"), append([]string{"--kubeconfig", b.Kubeconfig}, args...)...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + filepath.Join(b.Dir, "tmp")}
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// text is what a file of a log holds, in the container's lines; nothing if the file
// was removed or compressed meanwhile.
func text(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	must(t, "reading a log", err)
	if strings.HasSuffix(path, ".gz") {
		r, err := gzip.NewReader(bytes.NewReader(data))
		must(t, "reading a compressed log", err)
		data, err = io.ReadAll(r)
		must(t, "reading a compressed log", err)
	}
	return regexp.MustCompile(`(?m)^\S+ stdout F `).ReplaceAllString(string(data), "")
}

// kept is all that is kept of a log, oldest first.
func kept(t *testing.T, dir string) string {
	t.Helper()
	var names []string
	for name := range files(t, dir) {
		if name != "0.log" && !strings.HasSuffix(name, ".tmp") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var all strings.Builder
	for _, name := range append(names, "0.log") {
		all.WriteString(text(t, filepath.Join(dir, name)))
	}
	return all.String()
}

// contiguous checks that a text is of lines with numbers, each one more than the
// one before, and returns the first and the last.
func contiguous(t *testing.T, text string) (first, last int) {
	t.Helper()
	first = -1
	for line := range strings.Lines(text) {
		n := 0
		if _, err := fmt.Sscanf(line, "%d ", &n); err != nil {
			t.Fatalf("a line is %q", line)
		}
		if first < 0 {
			first = n
		} else if n != last+1 {
			t.Fatalf("line %d comes after line %d", n, last)
		}
		last = n
	}
	return first, last
}
