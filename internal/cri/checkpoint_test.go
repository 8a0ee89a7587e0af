package cri_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/internal/cri"
)

// checkpointer is a runtime that does nothing else.
type checkpointer struct {
	runtimeapi.UnimplementedRuntimeServiceServer
	asked string
	limit time.Duration
	err   error
}

func (c *checkpointer) CheckpointContainer(ctx context.Context, req *runtimeapi.CheckpointContainerRequest) (*runtimeapi.CheckpointContainerResponse, error) {
	at, _ := ctx.Deadline()
	c.asked, c.limit = fmt.Sprint(req.GetContainerId(), " ", req.GetLocation(), " ", req.GetTimeout()), time.Until(at).Round(time.Minute)
	return &runtimeapi.CheckpointContainerResponse{}, c.err
}

// TestCheckpoint: nobody waits for less than any call may take, nor for ever.
func TestCheckpoint(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	rt, srv := &checkpointer{}, grpc.NewServer()
	runtimeapi.RegisterRuntimeServiceServer(srv, rt)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		srv.Stop()
		if err := errors.Join(conn.Close(), <-served); err != nil {
			t.Error(err)
		}
	})
	c := cri.NewWithConns(conn, conn, cri.Config{RequestTimeout: 2 * time.Minute}, zap.NewNop())
	for seconds, want := range map[int64]struct {
		asked string
		limit time.Duration
	}{
		0: {"id /at 120", 2 * time.Minute}, 7: {"id /at 120", 2 * time.Minute}, 120: {"id /at 120", 2 * time.Minute},
		600: {"id /at 600", 10 * time.Minute}, 1 << 62: {fmt.Sprint("id /at ", int64(1)<<62), 4 * time.Hour},
	} {
		if err := c.Checkpoint(t.Context(), "id", "/at", seconds); err != nil || rt.asked != want.asked || rt.limit != want.limit {
			t.Errorf("%d s: %q within %s, %v; want %q within %s", seconds, rt.asked, rt.limit, err, want.asked, want.limit)
		}
	}
	rt.asked, rt.err = "", status.Error(codes.Unknown, "no criu")
	if err := c.Checkpoint(t.Context(), "id", "/at", -1); err == nil || !strings.Contains(err.Error(), "to be > 0") || rt.asked != "" {
		t.Errorf("%v, %q", err, rt.asked)
	}
	if err := c.Checkpoint(t.Context(), "id", "/at", 1); err == nil || err.Error() != "rpc error: code = Unknown desc = no criu" {
		t.Errorf("%v", err)
	}
}
