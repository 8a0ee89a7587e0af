package critest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/cri"
	"nodeagent.dev/nodeagent/internal/pod"
)

func checkInfo(b *bench) {
	info, err := b.c.Info(b.t.Context())
	b.no(err)
	if info.Name == "" || info.Version == "" || info.APIVersion == "" {
		b.t.Errorf("incomplete: %+v", info)
	}
	if info.RuntimeProblem != "" {
		b.t.Errorf("the runtime is not ready: %s", info.RuntimeProblem)
	}
	driver, err := b.c.CgroupDriver(b.t.Context())
	b.no(err)
	if !slices.Contains([]string{"", "systemd", "cgroupfs"}, driver) {
		b.t.Errorf("cgroup driver %q", driver)
	}
}

func checkImages(b *bench) {
	ref, _, ok, err := b.c.ImagePresent(b.t.Context(), b.image.Name)
	b.no(err)
	if !ok || ref == "" {
		b.t.Errorf("image %s is not present", b.image.Name)
	}
	_, _, ok, err = b.c.ImagePresent(b.t.Context(), "registry.invalid/none:none")
	b.no(err)
	if ok {
		b.t.Error("an image that cannot exist is present")
	}
	_, err = b.c.PullImage(b.t.Context(), b.pod, "registry.invalid/none:none", nil)
	b.reason(err, "ErrImagePull")
}

func checkSandbox(b *bench) {
	b.sandbox()
	o := b.observe()
	if len(o.Sandboxes) != 1 || len(o.Containers) != 0 || o.At.IsZero() {
		b.t.Fatalf("observed %+v", o)
	}
	s := o.Sandboxes[0]
	if s.ID != b.sbID || !s.Ready || s.Attempt != 0 || !s.HostNetwork || s.CreatedAt.IsZero() {
		b.t.Errorf("observed %+v", s)
	}
	again, err := b.c.CreateSandbox(b.t.Context(), b.sb)
	b.no(err)
	if again != b.sbID {
		b.t.Errorf("made again as %s, was %s", again, b.sbID)
	}
	b.no(b.c.StopSandbox(b.t.Context(), b.sbID))
	b.no(b.c.StopSandbox(b.t.Context(), b.sbID))
	if o := b.observe(); len(o.Sandboxes) != 1 || o.Sandboxes[0].Ready {
		b.t.Errorf("stopped, observed %+v", o)
	}
	if _, err := b.c.CreateSandbox(b.t.Context(), b.sb); err == nil {
		b.t.Error("the name of a dead sandbox was given again")
	} else {
		b.reason(err, "CreatePodSandboxError")
	}
	next := b.sb
	next.Attempt = 1
	second, err := b.c.CreateSandbox(b.t.Context(), next)
	b.no(err)
	if o := b.observe(); len(o.Sandboxes) != 2 || o.Sandboxes[0].ID != second || o.Sandboxes[0].Attempt != 1 {
		b.t.Errorf("the newest does not come first: %+v", o.Sandboxes)
	}
	for _, id := range []string{b.sbID, second} {
		b.no(b.c.StopSandbox(b.t.Context(), id))
		b.no(b.c.RemoveSandbox(b.t.Context(), id))
		b.no(b.c.RemoveSandbox(b.t.Context(), id))
	}
	if o := b.observe(); len(o.Sandboxes) != 0 {
		b.t.Errorf("removed, observed %+v", o)
	}
}

func checkContainer(b *bench) {
	b.sandbox()
	req := b.request(Long, 0)
	id, err := b.c.CreateContainer(b.t.Context(), req)
	b.no(err)
	k := b.instance(id)
	if k.State != pod.ContainerCreated || k.Name != Long || k.SandboxID != b.sbID || k.Attempt != 0 || k.CrashCount != 0 ||
		k.Hash != containerspec.Hash(req.Container) || k.CreatedAt.IsZero() || !k.StartedAt.IsZero() || k.ImageID == "" {
		b.t.Errorf("created, observed %+v", k)
	}
	again, err := b.c.CreateContainer(b.t.Context(), req)
	b.no(err)
	if again != id {
		b.t.Errorf("made again as %s, was %s", again, id)
	}
	b.no(b.c.StartContainer(b.t.Context(), id))
	b.no(b.c.StartContainer(b.t.Context(), id))
	if k := b.instance(id); k.State != pod.ContainerRunning || k.StartedAt.IsZero() || !k.FinishedAt.IsZero() {
		b.t.Errorf("started, observed %+v", k)
	}
	b.trapped(id)
	b.no(b.c.StopContainer(b.t.Context(), id, patience))
	k = b.until(id, pod.ContainerExited)
	if k.ExitCode != 143 || k.FinishedAt.Before(k.StartedAt) || k.Reason != "Error" {
		b.t.Errorf("stopped, observed %+v", k)
	}
	b.no(b.c.StopContainer(b.t.Context(), id, patience))
	b.no(b.c.RemoveContainer(b.t.Context(), id))
	b.no(b.c.RemoveContainer(b.t.Context(), id))
	if o := b.observe(); len(o.Containers) != 0 {
		b.t.Errorf("removed, observed %+v", o)
	}
}

func checkExit(b *bench) {
	b.sandbox()
	first := b.started(Short, 0)
	k := b.until(first, pod.ContainerExited)
	// A runtime may note the start of a process only after the process has
	// ended (containerd does), so which of the two times is later says nothing.
	if k.ExitCode != ShortCode || k.Reason != "Error" || k.StartedAt.IsZero() || k.FinishedAt.IsZero() {
		b.t.Errorf("observed %+v", k)
	}
	second := b.started(Short, 1)
	k = b.until(second, pod.ContainerExited)
	if k.Attempt != 1 || k.CrashCount != 1 {
		b.t.Errorf("observed %+v", k)
	}
	o := b.observe()
	if len(o.Containers) != 2 || o.Latest(Short).ID != second || o.Previous(o.Latest(Short)).ID != first {
		b.t.Errorf("order: %+v", o.Containers)
	}
	if _, err := b.c.CreateContainer(b.t.Context(), b.request(Short, 1)); err == nil {
		b.t.Error("an instance that ended was given again")
	} else {
		b.reason(err, "CreateContainerError")
	}
}

func checkKill(b *bench) {
	b.sandbox()
	id := b.started(Stubborn, 0)
	const grace = time.Second
	b.trapped(id)
	begin := time.Now()
	b.no(b.c.StopContainer(b.t.Context(), id, grace))
	if took := time.Since(begin); took < grace {
		b.t.Errorf("killed after %v, before its grace of %v", took, grace)
	}
	if k := b.until(id, pod.ContainerExited); k.ExitCode != 137 {
		b.t.Errorf("observed %+v", k)
	}
	id = b.started(Stubborn, 1)
	b.no(b.c.StopContainer(b.t.Context(), id, 0))
	if k := b.until(id, pod.ContainerExited); k.ExitCode != 137 {
		b.t.Errorf("observed %+v", k)
	}
}

func checkStartFailure(b *bench) {
	b.sandbox()
	id, err := b.c.CreateContainer(b.t.Context(), b.request(Broken, 0))
	b.no(err)
	b.reason(b.c.StartContainer(b.t.Context(), id), "RunContainerError")
	k := b.until(id, pod.ContainerExited)
	if k.ExitCode != 128 || k.Reason != "StartError" || k.Message == "" {
		b.t.Errorf("observed %+v", k)
	}
}

func checkSandboxStopKills(b *bench) {
	b.sandbox()
	id := b.started(Long, 0)
	b.no(b.c.StopSandbox(b.t.Context(), b.sbID))
	b.until(id, pod.ContainerExited)
	if o := b.observe(); o.Sandboxes[0].Ready || o.AnyLive() {
		b.t.Errorf("observed %+v", o)
	}
	b.reason(b.c.StartContainer(b.t.Context(), id), "RunContainerError")
}

func checkListAll(b *bench) {
	find := func() (pod.Listing, bool) {
		all, err := b.c.ListAll(b.t.Context())
		b.no(err)
		at := slices.IndexFunc(all, func(l pod.Listing) bool { return l.Ref.UID == b.ref.UID })
		if at < 0 {
			return pod.Listing{}, false
		}
		return all[at], true
	}
	if l, ok := find(); ok {
		b.t.Errorf("listed before it was made: %+v", l)
	}
	b.sandbox()
	one, ok := find()
	if !ok || one.Ref != b.ref || !one.Live || one.Digest == "" {
		b.t.Errorf("listed as %+v", one)
	}
	id := b.started(Long, 0)
	two, _ := find()
	if two.Digest == one.Digest || !two.Live {
		b.t.Errorf("listed as %+v, before the start as %+v", two, one)
	}
	if same, _ := find(); same != two {
		b.t.Errorf("listed as %+v, then as %+v", two, same)
	}
	b.no(b.c.StopContainer(b.t.Context(), id, 0))
	b.no(b.c.StopSandbox(b.t.Context(), b.sbID))
	if l, _ := find(); l.Live || l.Digest == two.Digest {
		b.t.Errorf("stopped, listed as %+v", l)
	}
}

func checkEvents(b *bench) {
	ctx, cancel := context.WithCancel(b.t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	got := make(chan pod.Hint, 100)
	ended := make(chan error, 1)
	wg.Go(func() {
		ended <- b.c.Events(ctx, func(h pod.Hint) {
			select {
			case got <- h:
			case <-ctx.Done():
			}
		})
	})
	deadline := time.After(patience)
	next := func(uid types.UID, why string) {
		b.t.Helper()
		for {
			select {
			case h := <-got:
				if h.UID == uid && h.Why == why {
					return
				}
			case err := <-ended:
				if errors.Is(err, cri.ErrNoEvents) {
					b.t.Skip("the runtime has no events")
				}
				b.t.Fatalf("the stream ended: %v", err)
			case <-deadline:
				b.t.Fatalf("no event %q", why)
			}
		}
	}
	next("", cri.WhyConnected)
	time.Sleep(100 * time.Millisecond) // nothing says when the runtime has subscribed us
	b.sandbox()
	b.started(Short, 0)
	next(b.ref.UID, "container started")
	next(b.ref.UID, "container stopped")
}

func checkMissing(b *bench) {
	const none = "0000000000000000000000000000000000000000000000000000000000000000"
	ctx := b.t.Context()
	b.no(b.c.StopContainer(ctx, none, 0))
	b.no(b.c.RemoveContainer(ctx, none))
	b.no(b.c.StopSandbox(ctx, none))
	b.no(b.c.RemoveSandbox(ctx, none))
	b.reason(b.c.StartContainer(ctx, none), "RunContainerError")
	b.sbID = none
	_, err := b.c.CreateContainer(ctx, b.request(Long, 0))
	b.reason(err, "CreateContainerError")
	if o := b.observe(); len(o.Sandboxes) != 0 || len(o.Containers) != 0 {
		b.t.Errorf("observed %+v", o)
	}
}
