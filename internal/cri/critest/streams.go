package critest

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// checkStreams asks for everything that the node's API asks of a runtime.
func checkStreams(b *bench) {
	ctx := b.t.Context()
	b.sandbox()
	id := b.started(Long, 0)
	result, err := b.c.ExecSync(ctx, id, []string{"echo", "hello", "there"}, 20*time.Second)
	b.no(err)
	// The fake answers with the command, a real one with what it wrote.
	if !strings.HasSuffix(string(result.Stdout), "hello there\n") || result.ExitCode != 0 {
		b.t.Errorf("exec: %+v", result)
	}
	for what, prepare := range map[string]func() (*url.URL, error){
		"exec": func() (*url.URL, error) {
			return b.c.Exec(ctx, id, []string{"sh"}, pod.Streams{Stdin: true, Stdout: true})
		},
		"attach":       func() (*url.URL, error) { return b.c.Attach(ctx, id, pod.Streams{Stdout: true}) },
		"port-forward": func() (*url.URL, error) { return b.c.PortForward(ctx, b.sbID, []int32{80}) },
	} {
		if u, err := prepare(); err != nil || u.Host == "" {
			b.t.Errorf("%s: %v, %v", what, u, err)
		}
	}
	if path, err := b.c.LogPath(ctx, id); err != nil || path == "" {
		b.t.Errorf("log path %q, %v", path, err)
	}
	ours := func() *corev1.Pod {
		all, err := b.c.Running(ctx)
		b.no(err)
		at := slices.IndexFunc(all, func(p *corev1.Pod) bool { return p.UID == b.pod.UID })
		if at < 0 {
			return nil
		}
		return all[at]
	}
	if p := ours(); p == nil || p.Name != b.pod.Name || p.Namespace != b.pod.Namespace || len(p.Spec.Containers) != 1 || p.Spec.Containers[0].Name != Long {
		b.t.Errorf("running: %+v", p)
	}
	b.no(b.c.StopContainer(ctx, id, 0))
	b.until(id, pod.ContainerExited)
	if _, err := b.c.ExecSync(ctx, id, []string{"true"}, time.Second); err == nil {
		b.t.Error("a command ran in a container that has ended")
	}
	if _, err := b.c.Exec(ctx, strings.Repeat("0", 64), []string{"true"}, pod.Streams{Stdout: true}); status.Code(err) != codes.NotFound {
		b.t.Errorf("exec in a container that there is not: %v", err)
	}
	b.no(b.c.StopSandbox(ctx, b.sbID))
	if p := ours(); p != nil {
		b.t.Errorf("stopped, but running: %+v", p)
	}
}
