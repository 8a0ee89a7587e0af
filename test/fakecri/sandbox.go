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

// runtimeService serves the runtime half of CRI. What is not here is
// unimplemented.
type runtimeService struct {
	cri.UnimplementedRuntimeServiceServer
	s *Server
}

func sandboxName(m *cri.PodSandboxMetadata) string {
	return strings.Join([]string{m.GetName(), m.GetNamespace(), m.GetUid(), strconv.FormatUint(uint64(m.GetAttempt()), 10)}, "_")
}

func notFound(what, id string) error {
	return status.Errorf(codes.NotFound, "an error occurred when try to find %s %q: not found", what, id)
}

func reserved(what, name, id string) error {
	return status.Errorf(codes.Unknown, "failed to reserve %s name %q: name %q is reserved for %q", what, name, name, id)
}

// RunPodSandbox makes a ready sandbox, once per attempt.
func (r *runtimeService) RunPodSandbox(_ context.Context, req *cri.RunPodSandboxRequest) (*cri.RunPodSandboxResponse, error) {
	st := r.s.state
	st.mu.Lock()
	defer st.mu.Unlock()
	m := req.GetConfig().GetMetadata()
	if m == nil {
		return nil, status.Error(codes.Unknown, "sandbox config must include metadata")
	}
	hostNetwork := req.GetConfig().GetLinux().GetSecurityContext().GetNamespaceOptions().GetNetwork() == cri.NamespaceMode_NODE
	if st.cfg.NetworkNotReady != "" && !hostNetwork {
		return nil, status.Errorf(codes.Unknown, "failed to setup network for sandbox: %s", st.cfg.NetworkNotReady)
	}
	name := sandboxName(m)
	if id, taken := st.names[name]; taken {
		return nil, reserved("sandbox", name, id)
	}
	sb := &sandbox{
		id: st.id('a'), config: req.GetConfig(), handler: req.GetRuntimeHandler(), ready: true, created: time.Now(),
		meta: cri.PodSandboxMetadata{Name: m.Name, Namespace: m.Namespace, Uid: m.Uid, Attempt: m.Attempt},
	}
	if !hostNetwork {
		sb.ips = []string{st.ip()}
	}
	st.check.sandbox(st, sb)
	st.sandboxes[sb.id], st.names[name] = sb, sb.id
	st.noteSandbox("RunPodSandbox", sb, "")
	st.emit(sb.id, m.Uid, cri.ContainerEventType_CONTAINER_CREATED_EVENT)
	st.emit(sb.id, m.Uid, cri.ContainerEventType_CONTAINER_STARTED_EVENT)
	return &cri.RunPodSandboxResponse{PodSandboxId: sb.id}, nil
}

// StopPodSandbox kills the containers and makes the sandbox not ready.
func (r *runtimeService) StopPodSandbox(_ context.Context, req *cri.StopPodSandboxRequest) (*cri.StopPodSandboxResponse, error) {
	st := r.s.state
	st.mu.Lock()
	defer st.mu.Unlock()
	if sb := st.sandboxes[req.GetPodSandboxId()]; sb != nil {
		st.stopSandbox(sb)
	}
	return &cri.StopPodSandboxResponse{}, nil
}

func (st *state) stopSandbox(sb *sandbox) {
	for _, k := range st.in(sb.id) {
		st.end(k, exitKill, "Kill")
	}
	if !sb.ready {
		return
	}
	sb.ready = false
	st.noteSandbox("StopPodSandbox", sb, "")
	st.emit(sb.id, sb.meta.Uid, cri.ContainerEventType_CONTAINER_STOPPED_EVENT)
}

// RemovePodSandbox removes the sandbox and its containers.
func (r *runtimeService) RemovePodSandbox(_ context.Context, req *cri.RemovePodSandboxRequest) (*cri.RemovePodSandboxResponse, error) {
	st := r.s.state
	st.mu.Lock()
	defer st.mu.Unlock()
	sb := st.sandboxes[req.GetPodSandboxId()]
	if sb == nil {
		return &cri.RemovePodSandboxResponse{}, nil
	}
	for _, k := range st.in(sb.id) {
		st.check.remove(k)
		st.end(k, exitKill, "Kill")
		st.noteContainer("RemoveContainer", k, "with its sandbox")
		st.drop(k)
	}
	st.stopSandbox(sb)
	delete(st.sandboxes, sb.id)
	delete(st.names, sandboxName(&sb.meta))
	st.noteSandbox("RemovePodSandbox", sb, "")
	st.emit(sb.id, sb.meta.Uid, cri.ContainerEventType_CONTAINER_DELETED_EVENT)
	return &cri.RemovePodSandboxResponse{}, nil
}

func (sb *sandbox) state() cri.PodSandboxState {
	if sb.ready {
		return cri.PodSandboxState_SANDBOX_READY
	}
	return cri.PodSandboxState_SANDBOX_NOTREADY
}

func (sb *sandbox) metadata() *cri.PodSandboxMetadata {
	return &cri.PodSandboxMetadata{Name: sb.meta.Name, Namespace: sb.meta.Namespace, Uid: sb.meta.Uid, Attempt: sb.meta.Attempt}
}

// PodSandboxStatus shows one sandbox.
func (r *runtimeService) PodSandboxStatus(_ context.Context, req *cri.PodSandboxStatusRequest) (*cri.PodSandboxStatusResponse, error) {
	st := r.s.state
	st.mu.Lock()
	defer st.mu.Unlock()
	sb := st.sandboxes[req.GetPodSandboxId()]
	if sb == nil {
		return nil, notFound("sandbox", req.GetPodSandboxId())
	}
	out := &cri.PodSandboxStatus{
		Id: sb.id, Metadata: sb.metadata(), State: sb.state(), CreatedAt: sb.created.UnixNano(),
		Labels: sb.config.GetLabels(), Annotations: sb.config.GetAnnotations(), RuntimeHandler: sb.handler,
		Network: &cri.PodSandboxNetworkStatus{},
		Linux: &cri.LinuxPodSandboxStatus{Namespaces: &cri.Namespace{
			Options: sb.config.GetLinux().GetSecurityContext().GetNamespaceOptions(),
		}},
	}
	if len(sb.ips) > 0 && sb.ready {
		out.Network.Ip = sb.ips[0]
		for _, ip := range sb.ips[1:] {
			out.Network.AdditionalIps = append(out.Network.AdditionalIps, &cri.PodIP{Ip: ip})
		}
	}
	return &cri.PodSandboxStatusResponse{Status: out}, nil
}

// ListPodSandbox lists the sandboxes that a filter asks for, oldest first.
func (r *runtimeService) ListPodSandbox(_ context.Context, req *cri.ListPodSandboxRequest) (*cri.ListPodSandboxResponse, error) {
	st := r.s.state
	st.mu.Lock()
	defer st.mu.Unlock()
	f := req.GetFilter()
	out := &cri.ListPodSandboxResponse{}
	for _, sb := range st.sandboxesThat(func(sb *sandbox) bool {
		return (f.GetId() == "" || f.GetId() == sb.id) && (f.GetState() == nil || f.GetState().GetState() == sb.state()) &&
			matches(f.GetLabelSelector(), sb.config.GetLabels())
	}) {
		out.Items = append(out.Items, &cri.PodSandbox{
			Id: sb.id, Metadata: sb.metadata(), State: sb.state(), CreatedAt: sb.created.UnixNano(),
			Labels: sb.config.GetLabels(), Annotations: sb.config.GetAnnotations(), RuntimeHandler: sb.handler,
		})
	}
	return out, nil
}

// matches reports whether the labels have everything the selector asks for.
func matches(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return true
}

func (st *state) sortedSandboxes() []*sandbox {
	return st.sandboxesThat(func(*sandbox) bool { return true })
}

// sandboxesThat returns those that are wanted, oldest first.
func (st *state) sandboxesThat(wanted func(*sandbox) bool) []*sandbox {
	var all []*sandbox
	for _, sb := range st.sandboxes {
		if wanted(sb) {
			all = append(all, sb)
		}
	}
	slices.SortFunc(all, func(a, b *sandbox) int { return strings.Compare(a.id, b.id) })
	return all
}

// Version names the runtime.
func (r *runtimeService) Version(context.Context, *cri.VersionRequest) (*cri.VersionResponse, error) {
	return &cri.VersionResponse{Version: "0.1.0", RuntimeName: "fakecri", RuntimeVersion: "v1.0.0", RuntimeApiVersion: "v1"}, nil
}

// Status shows the two conditions every runtime has.
func (r *runtimeService) Status(context.Context, *cri.StatusRequest) (*cri.StatusResponse, error) {
	cond := func(name, problem, reason string) *cri.RuntimeCondition {
		if problem == "" {
			return &cri.RuntimeCondition{Type: name, Status: true}
		}
		return &cri.RuntimeCondition{Type: name, Reason: reason, Message: problem}
	}
	cfg := r.s.cfg
	return &cri.StatusResponse{
		Status: &cri.RuntimeStatus{Conditions: []*cri.RuntimeCondition{
			cond("RuntimeReady", cfg.RuntimeNotReady, "RuntimeNotReady"),
			cond("NetworkReady", cfg.NetworkNotReady, "NetworkPluginNotReady"),
		}},
		RuntimeHandlers: []*cri.RuntimeHandler{{
			Features: &cri.RuntimeHandlerFeatures{RecursiveReadOnlyMounts: true, UserNamespaces: true},
		}},
		Features: &cri.RuntimeFeatures{SupplementalGroupsPolicy: true},
	}, nil
}

// RuntimeConfig tells the cgroup driver.
func (r *runtimeService) RuntimeConfig(context.Context, *cri.RuntimeConfigRequest) (*cri.RuntimeConfigResponse, error) {
	driver := cri.CgroupDriver_SYSTEMD
	switch r.s.cfg.CgroupDriver {
	case "systemd":
	case "cgroupfs":
		driver = cri.CgroupDriver_CGROUPFS
	case "":
		return nil, status.Error(codes.Unimplemented, "unknown method RuntimeConfig")
	default:
		return nil, fmt.Errorf("fakecri: unknown cgroup driver %q", r.s.cfg.CgroupDriver)
	}
	return &cri.RuntimeConfigResponse{Linux: &cri.LinuxRuntimeConfiguration{CgroupDriver: driver}}, nil
}

// UpdateRuntimeConfig remembers the pod network.
func (r *runtimeService) UpdateRuntimeConfig(_ context.Context, req *cri.UpdateRuntimeConfigRequest) (*cri.UpdateRuntimeConfigResponse, error) {
	st := r.s.state
	st.mu.Lock()
	defer st.mu.Unlock()
	st.podCIDR = req.GetRuntimeConfig().GetNetworkConfig().GetPodCidr()
	return &cri.UpdateRuntimeConfigResponse{}, nil
}
