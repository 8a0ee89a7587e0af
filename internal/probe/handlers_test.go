package probe

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"nodeagent.dev/nodeagent/internal/pod"
)

// fakeRuntime runs every command well but "bad".
type fakeRuntime struct{}

// ExecSync is part of Exec.
func (fakeRuntime) ExecSync(_ context.Context, id string, command []string, timeout time.Duration) (pod.ExecResult, error) {
	if id != "id" || timeout != 7*time.Second {
		return pod.ExecResult{}, errors.New("called in a wrong way")
	}
	if command[0] == "bad" {
		return pod.ExecResult{ExitCode: 1}, nil
	}
	return pod.ExecResult{}, nil
}

// Every kind of handler, through the Prober, with its real counterpart.
func TestHandlers(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("User-Agent") != "kube-probe/1.37" {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer web.Close()
	port := web.Listener.Addr().(*net.TCPAddr).Port
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, health.NewServer())
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()

	handlers := map[string]struct {
		handler corev1.ProbeHandler
		want    pod.Verdict
	}{
		"exec": {corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"good"}}}, pod.VerdictSuccess},
		"bad":  {corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"bad"}}}, pod.VerdictFailure},
		"http": {corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt(port)}}, pod.VerdictSuccess},
		"tcp":  {corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt(port)}}, pod.VerdictSuccess},
		"grpc": {corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: int32(l.Addr().(*net.TCPAddr).Port)}}, pod.VerdictSuccess},
		"none": {corev1.ProbeHandler{}, pod.VerdictUnknown},
	}
	told := make(chan string, 100)
	p := New(Config{Version: "1.37"}, Deps{
		Exec: fakeRuntime{}, Events: newWorld(), Log: zap.NewNop(),
		Changed: func(uid types.UID) { told <- string(uid) },
		Observe: func(of *corev1.Pod, _ string, _ pod.ProbeKind, result string, _ time.Duration) {
			if result == "unknown" {
				told <- string(of.UID)
			}
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- p.Run(ctx) }()
	for name, h := range handlers {
		x := target(pod.ProbeReadiness, "id", corev1.Probe{ProbeHandler: h.handler, TimeoutSeconds: 7, FailureThreshold: 1, PeriodSeconds: 3600})
		x.IP = "127.0.0.1"
		p.Watch(newPod(name), list(x))
	}
	for range handlers { // each is told of once
		uid := <-told
		name := uid[len("uid-"):]
		key := pod.ProbeKey{ContainerID: "id", Kind: pod.ProbeReadiness}
		if got := p.Verdicts(types.UID(uid))[key]; got != handlers[name].want {
			t.Errorf("%s: verdict %d, want %d", name, got, handlers[name].want)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	server.Stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
