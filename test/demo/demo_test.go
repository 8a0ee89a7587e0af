//go:build e2e

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/build"
	"nodeagent.dev/nodeagent/test/bed/keeper"
)

const brokenPod = `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "broken"}, "spec": {"containers":
	[{"name": "a", "image": "example.invalid/none:1", "imagePullPolicy": "Never"}]}}`

// TestUpAndDown runs the demo as people do, and compares the machine before it
// with the machine after it.
func TestUpAndDown(t *testing.T) {
	d := newCommand(t)
	d.mustRun(t, "down")
	before := survey(t, d.name)
	t.Cleanup(func() { _, _ = d.run(context.Background(), "down") })

	out := d.mustRun(t, "up")
	for _, want := range []string{"All pods are ready", "web-" + d.name, "ready: 2 of 2 containers", "START-UP STEP", "make demo-down"} {
		if !strings.Contains(out, want) {
			t.Errorf("up does not say %q:\n%s", want, out)
		}
	}
	if during := survey(t, d.name); len(difference(before, during, d.name)) < 4 {
		t.Errorf("the comparison is blind; it found only these traces of a running demo: %q", difference(before, during, d.name))
	}
	if out := d.mustRun(t, "up"); !strings.Contains(out, "runs already") || !strings.Contains(out, "All pods are ready") {
		t.Errorf("up while it is up:\n%s", out)
	}
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "broken.yaml"), []byte(brokenPod), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := d.run(t.Context(), "up", "--manifests", broken, "--timeout", "3s")
	if err == nil || !strings.Contains(out, "It waits for:") || !strings.Contains(out, "ErrImageNeverPull") {
		t.Errorf("up with a pod that cannot run: %v\n%s", err, out)
	}

	d.mustRun(t, "down")
	expectSame(t, before, d.name)
	if out := d.mustRun(t, "down"); !strings.Contains(out, "nothing of it is left") {
		t.Errorf("down when it is down:\n%s", out)
	}
}

// command is the demo, built, with a bed of its own.
type command struct{ program, dir, name string }

func newCommand(t *testing.T) command {
	t.Helper()
	checkout, err := build.Checkout()
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(checkout))
	// The name stays the same, so that the next run ends what a killed one left.
	c := command{program: filepath.Join(t.TempDir(), "demo"), dir: checkout, name: fmt.Sprintf("demo-%x", sum[:3])}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-o", c.program, "./test/demo")
	cmd.Dir, cmd.Env = checkout, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the demo: %v\n%s", err, out)
	}
	return c
}

func (c command) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.program, append(args, "--name", c.name)...)
	cmd.Dir = c.dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (c command) mustRun(t *testing.T, args ...string) string {
	t.Helper()
	out, err := c.run(t.Context(), args...)
	if err != nil {
		t.Fatalf("demo %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// survey lists what a demo could leave on the machine, a line for each thing.
func survey(t *testing.T, name string) []string {
	t.Helper()
	list := slices.Concat(mounts(t), links(t), processes(name), cgroups(), logLinks())
	slices.Sort(list)
	return slices.Compact(list)
}

func mounts(t *testing.T) []string {
	content, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for line := range strings.Lines(string(content)) {
		if fields := strings.Fields(line); len(fields) > 4 {
			list = append(list, "mount "+fields[4])
		}
	}
	return list
}

// links lists network devices, those of beds with the bed's folder.
func links(t *testing.T) []string {
	devices, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	owner := map[string]string{}
	specs, _, err := keeper.All(bed.Base())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range specs {
		owner[s.Bridge] = s.Dir
	}
	var list []string
	for _, d := range devices {
		bridge := d.Name
		if master, err := os.Readlink(filepath.Join("/sys/class/net", d.Name, "master")); err == nil {
			bridge = filepath.Base(master)
		}
		list = append(list, strings.TrimSpace("link "+d.Name+" "+owner[bridge]))
	}
	return list
}

// processes lists those that belong to the demo: by their environment, their
// command line or their cgroup. Others come and go as they like.
func processes(name string) []string {
	dir := filepath.Join(bed.Base(), name)
	var list []string
	paths, _ := filepath.Glob("/proc/[0-9]*")
	for _, path := range paths {
		var about []byte
		for _, file := range []string{"environ", "cmdline", "cgroup"} {
			content, _ := os.ReadFile(filepath.Join(path, file)) // it may have ended
			about = append(about, content...)
		}
		if bytes.Contains(about, []byte(dir+"/")) || bytes.Contains(about, []byte(keeper.EnvMark+"="+dir+"\x00")) ||
			bytes.Contains(about, []byte("/nab-"+name+"/")) {
			comm, _ := os.ReadFile(filepath.Join(path, "comm"))
			list = append(list, fmt.Sprintf("process %s %s %s", filepath.Base(path), strings.TrimSpace(string(comm)), dir))
		}
	}
	return list
}

func cgroups() []string {
	var list []string
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			list = append(list, "cgroup "+path)
		}
		return nil
	})
	return list
}

func logLinks() []string {
	var list []string
	names, _ := filepath.Glob("/var/log/containers/*")
	for _, name := range names {
		target, _ := os.Readlink(name)
		list = append(list, "log "+name+" "+target)
	}
	return list
}

var (
	bedOf = regexp.MustCompile(`(?:` + regexp.QuoteMeta(bed.Base()) + `/|/nab-)([-a-z0-9]+)`)
	// Cgroups that the system makes and removes when it likes, and one that
	// beds share and the last of them removes.
	elsewhere = regexp.MustCompile(`^cgroup .*(\.slice|\.scope|\.service|/k8s\.io)(/|$)`)
)

// difference is what is there only before or only after, without what belongs
// to other beds, which live and end in parallel.
func difference(before, after []string, name string) []string {
	var list []string
	add := func(sign string, from, without []string) {
		for _, line := range from {
			if _, found := slices.BinarySearch(without, line); found || elsewhere.MatchString(line) {
				continue
			}
			if m := bedOf.FindStringSubmatch(line); m == nil || m[1] == name {
				list = append(list, sign+line)
			}
		}
	}
	add("-", before, after)
	add("+", after, before)
	return list
}

// expectSame waits until the machine is as before: other beds that just ended
// cannot always be told from ours.
func expectSame(t *testing.T, before []string, name string) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	late := time.After(15 * time.Second)
	for {
		left := difference(before, survey(t, name), name)
		if len(left) == 0 {
			return
		}
		select {
		case <-late:
			t.Fatalf("the machine is not as before:\n%s", strings.Join(left, "\n"))
		case <-tick.C:
		}
	}
}
