package fakecri

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// unary serves one call, through whatever fault it is given.
func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
	f := s.fault(req, info.FullMethod)
	if err := sleep(ctx, f.Delay); err != nil {
		return nil, err
	}
	switch f.Kind {
	case Unavailable:
		return nil, status.Error(codes.Unavailable, "the runtime is not available (injected before the effect)")
	case Hang:
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	case RestartBefore:
		s.restartFromCall(f.Restart)
		<-ctx.Done()
		return nil, status.Error(codes.Unavailable, "the runtime restarted")
	case NoFault, LostReply, HangAfter, RestartAfter:
	}
	resp, err := h(ctx, req)
	switch f.Kind {
	case LostReply:
		return nil, status.Error(codes.Unavailable, "the reply was lost (injected after the effect)")
	case HangAfter:
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	case RestartAfter:
		s.restartFromCall(f.Restart)
		<-ctx.Done()
		return nil, status.Error(codes.Unavailable, "the runtime restarted")
	case NoFault, Unavailable, Hang, RestartBefore:
	}
	return resp, err
}

// stream lets faults break a stream before it opens.
func (s *Server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, h grpc.StreamHandler) error {
	f := s.fault(nil, info.FullMethod)
	if err := sleep(ss.Context(), f.Delay); err != nil {
		return err
	}
	switch f.Kind {
	case Unavailable, LostReply:
		return status.Error(codes.Unavailable, "the runtime is not available (injected)")
	case Hang, HangAfter:
		<-ss.Context().Done()
		return status.FromContextError(ss.Context().Err()).Err()
	case RestartBefore, RestartAfter:
		s.restartFromCall(f.Restart)
		<-ss.Context().Done()
		return status.Error(codes.Unavailable, "the runtime restarted")
	case NoFault:
	}
	return h(srv, ss)
}

// restartFromCall restarts without waiting for the call that caused it.
func (s *Server) restartFromCall(r Restart) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.wg.Go(func() { s.Restart(r) })
	}
}

func (s *Server) fault(req any, fullMethod string) Fault {
	method := fullMethod[strings.LastIndexByte(fullMethod, '/')+1:]
	s.mu.Lock()
	defer s.mu.Unlock()
	c := Call{Method: method, Seq: s.seq, N: s.calls[method]}
	s.seq++
	s.calls[method]++
	if s.cfg.Fault == nil {
		return Fault{}
	}
	s.state.describe(&c, req)
	return s.cfg.Fault(c)
}

// describe fills in what a request is about.
func (st *state) describe(c *Call, req any) {
	st.mu.Lock()
	defer st.mu.Unlock()
	switch r := req.(type) {
	case *cri.RunPodSandboxRequest:
		c.PodUID, c.Name = r.GetConfig().GetMetadata().GetUid(), r.GetConfig().GetMetadata().GetName()
	case *cri.CreateContainerRequest:
		c.PodUID, c.Name = r.GetSandboxConfig().GetMetadata().GetUid(), r.GetConfig().GetMetadata().GetName()
	case *cri.PullImageRequest:
		c.Name = r.GetImage().GetImage()
	case *cri.ExecSyncRequest:
		c.ID, c.Endless = r.GetContainerId(), r.GetTimeout() == 0
	case interface{ GetContainerId() string }:
		c.ID = r.GetContainerId()
	case interface{ GetPodSandboxId() string }:
		c.ID = r.GetPodSandboxId()
	}
	if k := st.containers[c.ID]; k != nil {
		c.PodUID, c.Name = k.podUID, k.name
	}
	if sb := st.sandboxes[c.ID]; sb != nil {
		c.PodUID, c.Name = sb.meta.Uid, sb.meta.Name
	}
}

// sleep waits unless the caller gives up first.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}
