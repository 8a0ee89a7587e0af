package server

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"nodeagent.dev/nodeagent/internal/pod"
)

func TestLogOptions(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	both := pod.LogOptions{Stdout: true, Stderr: true}
	with := func(f func(*pod.LogOptions)) pod.LogOptions { o := both; f(&o); return o }
	for query, want := range map[string]any{
		"":                               both,
		"follow=true&timestamps=1":       with(func(o *pod.LogOptions) { o.Follow, o.Timestamps = true, true }),
		"follow=false&timestamps=0":      both,
		"follow":                         with(func(o *pod.LogOptions) { o.Follow = true }),
		"tailLines=3&limitBytes=5":       with(func(o *pod.LogOptions) { o.TailLines, o.LimitBytes = ptr.To[int64](3), ptr.To[int64](5) }),
		"tail=7":                         with(func(o *pod.LogOptions) { o.TailLines = ptr.To[int64](7) }),
		"tail=all&tailLines=4":           both,
		"tailLines=0":                    with(func(o *pod.LogOptions) { o.TailLines = ptr.To[int64](0) }),
		"sinceSeconds=60":                with(func(o *pod.LogOptions) { o.Since = now.Add(-time.Minute) }),
		"sinceTime=2026-05-01T11:00:00Z": with(func(o *pod.LogOptions) { o.Since = now.Add(-time.Hour) }),
		"stream=Stdout":                  pod.LogOptions{Stdout: true},
		"stream=Stderr":                  pod.LogOptions{Stderr: true},
		"stream=All&tailLines=1":         with(func(o *pod.LogOptions) { o.TailLines = ptr.To[int64](1) }),
		"tailLines=x":                    errUndecodable,
		"tail=99999999999999999999":      errUndecodable,
		"sinceTime=yesterday":            errUndecodable,
		"tailLines=-1":                   errInvalidLog,
		"limitBytes=0":                   errInvalidLog,
		"sinceSeconds=0":                 errInvalidLog,
		"sinceSeconds=1&sinceTime=2026-05-01T11:00:00Z": errInvalidLog,
		"stream=stdout":             errInvalidLog,
		"stream=Stdout&tailLines=1": errInvalidLog,
	} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		o, err := decodeLogOptions(q)
		if wanted, bad := want.(error); bad {
			if !errors.Is(err, wanted) {
				t.Errorf("%s: %v", query, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", query, err)
			continue
		}
		if got := logOptions(o, now); !same(got, want.(pod.LogOptions)) {
			t.Errorf("%s: %+v", query, got)
		}
	}
}

func same(a, b pod.LogOptions) bool {
	tails := ptr.Equal(a.TailLines, b.TailLines) && ptr.Equal(a.LimitBytes, b.LimitBytes) && a.Since.Equal(b.Since)
	a.TailLines, a.LimitBytes, a.Since = b.TailLines, b.LimitBytes, b.Since
	return tails && a == b
}

func FuzzLogOptions(f *testing.F) {
	f.Add("follow=1&tail=all&sinceSeconds=3&stream=All")
	f.Fuzz(func(t *testing.T, query string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		if o, err := decodeLogOptions(q); err == nil {
			if to := logOptions(o, time.Now()); !to.Stdout && !to.Stderr {
				t.Errorf("%s: no stream", query)
			}
		}
	})
}

// TestWhichLog: the instance that is meant, or the kubelet's words.
func TestWhichLog(t *testing.T) {
	ended := func(id string) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ContainerID: id}}
	}
	waiting := func(why string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: why}}
	}
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	for name, c := range map[string]struct {
		state, last corev1.ContainerState
		previous    bool
		want        string
	}{
		"running":                {running, ended("r://old"), false, "r://now"},
		"previous":               {running, ended("r://old"), true, "r://old"},
		"no previous":            {running, corev1.ContainerState{}, true, `previous terminated container "c" in pod "p" not found`},
		"ended":                  {ended("r://now"), ended("r://old"), false, "r://now"},
		"ended without an ID":    {ended(""), ended("r://old"), false, "r://old"},
		"never had an ID":        {ended(""), corev1.ContainerState{}, false, `container "c" in pod "p" is terminated`},
		"waits after an end":     {waiting("CrashLoopBackOff"), ended("r://old"), false, "r://old"},
		"last end without an ID": {waiting("x"), ended(""), false, `container "c" in pod "p" is terminated`},
		"no image":               {waiting("ErrImagePull"), corev1.ContainerState{}, false, `container "c" in pod "p" is waiting to start: image can't be pulled`},
		"no image, backing off":  {waiting("ImagePullBackOff"), corev1.ContainerState{}, false, `container "c" in pod "p" is waiting to start: trying and failing to pull image`},
		"being created":          {waiting("ContainerCreating"), corev1.ContainerState{}, false, `container "c" in pod "p" is waiting to start: ContainerCreating`},
		"nothing is known of it": {corev1.ContainerState{}, corev1.ContainerState{}, false, `container "c" in pod "p" is waiting to start - no logs yet`},
	} {
		st := corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{{Name: "c", ContainerID: "r://now", State: c.state, LastTerminationState: c.last}}}
		got, err := loggedID("p", &st, "c", c.previous)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestFollow: what is flushed arrives at once, also when nothing is written
// yet, and the end of the container ends the answer.
func TestFollow(t *testing.T) {
	w := newWorld(t)
	superseded := make(chan struct{})
	w.put(runs("p", "u", func(v *pod.View) { v.Superseded = superseded }))
	step := make(chan struct{})
	w.read = func(_ context.Context, out pod.LogWriter, path string, opts pod.LogOptions, ended func() (bool, <-chan struct{})) error {
		if path != "/logs/id" || !opts.Follow {
			t.Errorf("%s %+v", path, opts)
		}
		_ = out.Flush()
		<-step
		over, again := ended() // before the line, with which the container ends
		if over {
			t.Error("ended while it runs")
			return nil
		}
		_, _ = io.WriteString(out, "line\n")
		_ = out.Flush()
		<-again
		if over, _ = ended(); !over {
			t.Error("not ended with its pod")
		}
		return nil
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", w.url+"/containerLogs/ns/p/c?follow=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := w.client.Do(req) // returns with the header
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	step <- struct{}{}
	r := bufio.NewReader(resp.Body)
	if line, err := r.ReadString('\n'); line != "line\n" {
		t.Errorf("%q, %v", line, err)
	}
	w.put()
	close(superseded)
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
}

// TestFollowersLeave: a client that goes away ends its reader, and the server's
// end does, too.
func TestFollowersLeave(t *testing.T) {
	w := newWorld(t)
	w.put(runs("p", "u"))
	left := make(chan struct{}, 2)
	w.read = func(ctx context.Context, out pod.LogWriter, _ string, _ pod.LogOptions, _ func() (bool, <-chan struct{})) error {
		_ = out.Flush()
		<-ctx.Done()
		left <- struct{}{}
		return ctx.Err()
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, ctx := range []context.Context{ctx, t.Context()} {
		req, err := http.NewRequestWithContext(ctx, "GET", w.url+"/containerLogs/ns/p/c?follow=true", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := w.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
	}
	cancel()
	<-left
	w.stop()
	<-left
}

// TestLogFailures: before the first byte a text, after it a broken answer.
func TestLogFailures(t *testing.T) {
	w := newWorld(t)
	w.put(runs("p", "u"))
	w.read = func(context.Context, pod.LogWriter, string, pod.LogOptions, func() (bool, <-chan struct{})) error {
		return errors.New("no such file")
	}
	if code, _, body := w.do("GET", "/containerLogs/ns/p/c", nil); code != 400 || body != "no such file" {
		t.Errorf("%d %s", code, body)
	}
	w.read = func(_ context.Context, out pod.LogWriter, _ string, _ pod.LogOptions, _ func() (bool, <-chan struct{})) error {
		_, _ = io.WriteString(out, "half")
		return errors.Join(out.Flush(), errors.New("disk"))
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", w.url+"/containerLogs/ns/p/c", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := w.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err == nil || string(body) != "half" {
		t.Errorf("%q, %v: the client cannot see that the log is not whole", body, err)
	}
	w.err = errors.New("gone")
	if code, _, body := w.do("GET", "/containerLogs/ns/p/c", nil); code != 400 || !strings.Contains(body, "unable to retrieve container logs for containerd://id") {
		t.Errorf("%d %s", code, body)
	}
	for range cap(w.server.followers) {
		w.server.followers <- struct{}{}
	}
	if code, h, _ := w.do("GET", "/containerLogs/ns/p/c", nil); code != 429 || h.Get("Retry-After") == "" {
		t.Errorf("with all places taken: %d %v", code, h)
	}
}

// TestACrowdLeavesNoMemory: what a crowd of readers took goes back to the
// machine, once, some time after the last of them.
func TestACrowdLeavesNoMemory(t *testing.T) {
	s := &Server{followers: make(chan struct{}, maxFollowers), streams: make(chan struct{}, maxStreams)}
	come := func() func() { s.followers <- struct{}{}; return func() { <-s.followers } }
	for range crowd - 1 {
		s.leave(come())
	}
	if n := s.left.Load(); n != crowd-1 {
		t.Errorf("%d counted", n)
	}
	first, second := come(), come()
	s.leave(come())
	if n := s.left.Load(); n != crowd {
		t.Errorf("%d counted while others are here", n)
	}
	s.leave(first)
	if n := s.left.Load(); n != 0 {
		t.Errorf("%d counted after memory was given back", n)
	}
	s.leave(second)
	if n := s.left.Load(); n != 1 {
		t.Errorf("%d counted of the next crowd", n)
	}
}
