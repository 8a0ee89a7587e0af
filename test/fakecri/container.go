package fakecri

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func containerName(m *cri.ContainerMetadata, s *cri.PodSandboxMetadata) string {
	return strings.Join([]string{
		m.GetName(), s.GetName(), s.GetNamespace(), s.GetUid(), strconv.FormatUint(uint64(m.GetAttempt()), 10),
	}, "_")
}

// CreateContainer makes a container, once per attempt.
func (r *runtimeService) CreateContainer(_ context.Context, req *cri.CreateContainerRequest) (*cri.CreateContainerResponse, error) {
	st := r.s.state
	st.mu.Lock()
	defer st.mu.Unlock()
	sb := st.sandboxes[req.GetPodSandboxId()]
	if sb == nil {
		return nil, status.Errorf(codes.NotFound, "failed to find sandbox id %q: not found", req.GetPodSandboxId())
	}
	m := req.GetConfig().GetMetadata()
	if m == nil {
		return nil, status.Error(codes.Unknown, "container config must include metadata")
	}
	name := containerName(m, &sb.meta)
	if id, taken := st.names[name]; taken {
		return nil, reserved("container", name, id)
	}
	image, ok := st.image(req.GetConfig().GetImage().GetImage())
	if !ok {
		return nil, status.Errorf(codes.NotFound, "failed to resolve image %q: not found", req.GetConfig().GetImage().GetImage())
	}
	k := &container{
		id: st.id('c'), name: m.Name, attempt: m.Attempt, sandboxID: sb.id, podUID: sb.meta.Uid, podName: sb.meta.Name,
		config: req.GetConfig(), state: cri.ContainerState_CONTAINER_CREATED, created: time.Now(), imageID: image.ID,
	}
	if st.cfg.Behave != nil {
		k.behaviour = st.cfg.Behave(k.podName, k.name, int(k.attempt))
	}
	st.check.create(st, k)
	st.containers[k.id], st.names[name] = k, k.id
	st.noteContainer("CreateContainer", k, "")
	st.emit(k.id, k.podUID, cri.ContainerEventType_CONTAINER_CREATED_EVENT)
	return &cri.CreateContainerResponse{ContainerId: k.id}, nil
}

// StartContainer starts a created container.
func (r *runtimeService) StartContainer(_ context.Context, req *cri.StartContainerRequest) (*cri.StartContainerResponse, error) {
	st := r.s.state
	st.mu.Lock()
	defer st.mu.Unlock()
	k := st.containers[req.GetContainerId()]
	if k == nil {
		return nil, notFound("container", req.GetContainerId())
	}
	if k.state != cri.ContainerState_CONTAINER_CREATED {
		return nil, status.Errorf(codes.Unknown, "failed to set starting state for container %q: container is in %s state", k.id, k.state)
	}
	sb := st.sandboxOf(k)
	st.check.start(st, k, sb)
	fail := k.behaviour.StartError
	if fail == "" && !sb.ready {
		fail = fmt.Sprintf("sandbox container %q is not running", sb.id)
	}
	if fail != "" {
		k.state, k.finished, k.exitCode = cri.ContainerState_CONTAINER_EXITED, time.Now(), exitStart
		k.reason, k.message = "StartError", fail
		st.noteContainer("StartContainer", k, "failed: "+fail)
		return nil, status.Error(codes.Unknown, fail)
	}
	if err := st.openLog(k, sb); err != nil {
		return nil, status.Error(codes.Unknown, err.Error())
	}
	st.begin(k)
	return &cri.StartContainerResponse{}, nil
}

// StopContainer sends SIGTERM, waits for the timeout and sends SIGKILL. When
// the caller gives up before the timeout there is no SIGKILL, as in containerd.
func (r *runtimeService) StopContainer(ctx context.Context, req *cri.StopContainerRequest) (*cri.StopContainerResponse, error) {
	st := r.s.state
	ok := &cri.StopContainerResponse{}
	st.mu.Lock()
	k := st.containers[req.GetContainerId()]
	if k == nil {
		st.mu.Unlock()
		return nil, notFound("container", req.GetContainerId())
	}
	if k.state != cri.ContainerState_CONTAINER_RUNNING {
		st.mu.Unlock()
		return ok, nil
	}
	grace := time.Duration(req.GetTimeout()) * time.Second
	if grace > 0 {
		st.signalTerm(k, "grace "+grace.String())
	}
	gone := k.gone
	st.mu.Unlock()

	if grace > 0 {
		t := time.NewTimer(grace)
		defer t.Stop()
		select {
		case <-gone:
			return ok, nil
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		case <-t.C:
		}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.end(k, exitKill, "Kill")
	return ok, nil
}

// RemoveContainer removes a container; one that runs is killed first.
func (r *runtimeService) RemoveContainer(_ context.Context, req *cri.RemoveContainerRequest) (*cri.RemoveContainerResponse, error) {
	st := r.s.state
	st.mu.Lock()
	defer st.mu.Unlock()
	if k := st.containers[req.GetContainerId()]; k != nil {
		st.check.remove(k)
		st.end(k, exitKill, "Kill")
		st.noteContainer("RemoveContainer", k, "")
		st.drop(k)
	}
	return &cri.RemoveContainerResponse{}, nil
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func (st *state) statusOf(k *container) *cri.ContainerStatus {
	return &cri.ContainerStatus{
		Id: k.id, Metadata: &cri.ContainerMetadata{Name: k.name, Attempt: k.attempt}, State: k.state,
		CreatedAt: nanos(k.created), StartedAt: nanos(k.started), FinishedAt: nanos(k.finished), ExitCode: k.exitCode,
		Image: &cri.ImageSpec{Image: userImage(k.config)}, ImageRef: k.imageID, ImageId: k.imageID,
		Reason: k.reason, Message: k.message, Labels: k.config.GetLabels(), Annotations: k.config.GetAnnotations(),
		Mounts: k.config.GetMounts(), LogPath: logPath(k, st.sandboxOf(k)), Resources: &cri.ContainerResources{Linux: k.config.GetLinux().GetResources()},
	}
}

func userImage(c *cri.ContainerConfig) string {
	if u := c.GetImage().GetUserSpecifiedImage(); u != "" {
		return u
	}
	return c.GetImage().GetImage()
}

// ContainerStatus shows one container.
func (r *runtimeService) ContainerStatus(_ context.Context, req *cri.ContainerStatusRequest) (*cri.ContainerStatusResponse, error) {
	st := r.s.state
	st.mu.Lock()
	defer st.mu.Unlock()
	k := st.containers[req.GetContainerId()]
	if k == nil {
		return nil, notFound("container", req.GetContainerId())
	}
	return &cri.ContainerStatusResponse{Status: st.statusOf(k)}, nil
}

// ListContainers lists the containers that a filter asks for, oldest first.
func (r *runtimeService) ListContainers(_ context.Context, req *cri.ListContainersRequest) (*cri.ListContainersResponse, error) {
	st := r.s.state
	st.mu.Lock()
	defer st.mu.Unlock()
	f := req.GetFilter()
	out := &cri.ListContainersResponse{}
	for _, k := range st.containersThat(func(k *container) bool {
		return k.fits(f) && (f.GetState() == nil || f.GetState().GetState() == k.state)
	}) {
		out.Containers = append(out.Containers, &cri.Container{
			Id: k.id, PodSandboxId: k.sandboxID, Metadata: &cri.ContainerMetadata{Name: k.name, Attempt: k.attempt},
			Image: k.config.GetImage(), ImageRef: k.imageID, ImageId: k.imageID, State: k.state, CreatedAt: nanos(k.created),
			Labels: k.config.GetLabels(), Annotations: k.config.GetAnnotations(),
		})
	}
	return out, nil
}

// fits reports whether a filter of containers or of their statistics asks for this one;
// nothing that it leaves empty counts.
func (k *container) fits(f interface {
	GetId() string
	GetPodSandboxId() string
	GetLabelSelector() map[string]string
}) bool {
	return (f.GetId() == "" || f.GetId() == k.id) && (f.GetPodSandboxId() == "" || f.GetPodSandboxId() == k.sandboxID) &&
		matches(f.GetLabelSelector(), k.config.GetLabels())
}

func (st *state) sortedContainers() []*container {
	return st.containersThat(func(*container) bool { return true })
}

// containersThat returns those that are wanted, oldest first. Only these are
// sorted: among a thousand pods an agent asks about one.
func (st *state) containersThat(wanted func(*container) bool) []*container {
	var all []*container
	for _, k := range st.containers {
		if wanted(k) {
			all = append(all, k)
		}
	}
	slices.SortFunc(all, func(a, b *container) int { return strings.Compare(a.id, b.id) })
	return all
}
