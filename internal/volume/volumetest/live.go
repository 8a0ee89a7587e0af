package volumetest

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/volume"
)

// Live is a type whose content follows something.
type Live struct {
	// New returns the plugin as an agent has it that has just started.
	New func() volume.Live
	// Source is of a volume that has a file of the name File.
	Source corev1.VolumeSource
	File   string
	// Set makes the text the file's, by changing the pod or what else it follows.
	Set func(p *corev1.Pod, text string)
	// Break makes updates fail until Set is called; nil: they cannot.
	Break func(p *corev1.Pod)
}

// RunLive checks what [volume.Live] asks of a type beside [Run].
func RunLive(t *testing.T, l Live) {
	t.Helper()
	t.Run("content follows", l.follows)
	t.Run("nothing is written when nothing changed", l.rests)
	t.Run("an agent that starts anew goes on", l.restarts)
	if l.Break != nil {
		t.Run("a failure leaves the old content", l.fails)
	}
}

// liveVolume is a mounted one.
type liveVolume struct {
	Live
	t      *testing.T
	plugin volume.Live
	root   string
	req    volume.Request
}

func (l Live) mount(t *testing.T) *liveVolume {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p := Pod("uid-1", corev1.Volume{Name: "vol", VolumeSource: l.Source})
	l.Set(p, "first")
	v := &liveVolume{Live: l, t: t, plugin: l.New(), root: root}
	m := Manager(t, root, v.plugin)
	if _, err := m.Mount(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Unmount(context.WithoutCancel(t.Context()), pod.RefOf(p)); err != nil {
			t.Error(err)
		}
	})
	v.req = volume.Request{
		Pod: p, Spec: volume.Spec{Volume: &p.Spec.Volumes[0]},
		Ref:  volume.Ref{Root: root, UID: p.UID, Plugin: v.plugin.Name(), Name: "vol"},
		Tell: func(bool, string, string) {},
	}
	v.expect("first")
	return v
}

func (v *liveVolume) expect(want string) {
	v.t.Helper()
	data, err := os.ReadFile(filepath.Join(v.req.Ref.Dir(), v.File))
	if string(data) != want || err != nil {
		v.t.Errorf("%s has %q, %v; want %q", v.File, data, err, want)
	}
}

func (v *liveVolume) update() {
	v.t.Helper()
	due, err := v.plugin.Update(v.t.Context(), v.req)
	if err != nil {
		v.t.Error(err)
	}
	if !due.IsZero() && due.Before(time.Now().Add(-time.Minute)) {
		v.t.Errorf("the next update was due at %s", due)
	}
}

func (l Live) follows(t *testing.T) {
	v := l.mount(t)
	for _, text := range []string{"second", "third", "", "first"} {
		v.Set(v.req.Pod, text)
		v.update()
		v.expect(text)
	}
}

// trace is what would show that something was written.
func (v *liveVolume) trace() string {
	v.t.Helper()
	var lines []string
	err := filepath.WalkDir(v.req.Ref.Dir(), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		lines = append(lines, fmt.Sprint(path, " ", st.Ino, " ", st.Ctim))
		return nil
	})
	if err != nil {
		v.t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

func (l Live) rests(t *testing.T) {
	v := l.mount(t)
	before := v.trace()
	v.update()
	v.plugin = v.New()
	v.update()
	if after := v.trace(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func (l Live) restarts(t *testing.T) {
	v := l.mount(t)
	v.plugin = v.New()
	v.Set(v.req.Pod, "second")
	v.update()
	v.expect("second")
	m := Manager(t, v.root, v.New())
	v.Set(v.req.Pod, "third")
	if _, err := m.Mount(t.Context(), v.req.Pod); err != nil {
		t.Error(err)
	}
	v.expect("third")
	if err := m.Unmount(t.Context(), pod.RefOf(v.req.Pod)); err != nil {
		t.Error(err)
	}
}

func (l Live) fails(t *testing.T) {
	v := l.mount(t)
	v.Break(v.req.Pod)
	before := v.trace()
	if _, err := v.plugin.Update(t.Context(), v.req); err == nil {
		t.Error("an update that cannot succeed did")
	}
	if after := v.trace(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	v.expect("first")
	v.Set(v.req.Pod, "second")
	v.update()
	v.expect("second")
}
