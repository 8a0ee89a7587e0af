package fakecri

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// user is a client of the fake with the generated stubs.
type user struct {
	t    *testing.T
	s    *Server
	conn *grpc.ClientConn
	cri.RuntimeServiceClient
	images cri.ImageServiceClient
}

func bubble(t *testing.T, cfg Config, f func(*user)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := New(cfg)
		conn, err := s.Dial()
		if err != nil {
			t.Fatal(err)
		}
		f(&user{t, s, conn, cri.NewRuntimeServiceClient(conn), cri.NewImageServiceClient(conn)})
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		s.Close()
	})
}

func (u *user) ctx() context.Context { return u.t.Context() }

func (u *user) no(err error) {
	u.t.Helper()
	if err != nil {
		u.t.Fatal(err)
	}
}

func podConfig(attempt uint32) *cri.PodSandboxConfig {
	return &cri.PodSandboxConfig{
		Metadata: &cri.PodSandboxMetadata{Name: "p", Namespace: "ns", Uid: "u", Attempt: attempt},
		Labels:   map[string]string{"io.kubernetes.pod.uid": "u"},
	}
}

func (u *user) sandbox(attempt uint32) string {
	u.t.Helper()
	r, err := u.RunPodSandbox(u.ctx(), &cri.RunPodSandboxRequest{Config: podConfig(attempt)})
	u.no(err)
	return r.PodSandboxId
}

func (u *user) create(sandbox, name string, attempt uint32) (string, error) {
	r, err := u.CreateContainer(u.ctx(), &cri.CreateContainerRequest{
		PodSandboxId: sandbox, SandboxConfig: podConfig(0),
		Config: &cri.ContainerConfig{Metadata: &cri.ContainerMetadata{Name: name, Attempt: attempt}, Image: &cri.ImageSpec{Image: "i"}},
	})
	return r.GetContainerId(), err
}

func (u *user) start(sandbox, name string, attempt uint32) string {
	u.t.Helper()
	id, err := u.create(sandbox, name, attempt)
	u.no(err)
	_, err = u.StartContainer(u.ctx(), &cri.StartContainerRequest{ContainerId: id})
	u.no(err)
	return id
}

func (u *user) stop(id string, seconds int64) {
	u.t.Helper()
	_, err := u.StopContainer(u.ctx(), &cri.StopContainerRequest{ContainerId: id, Timeout: seconds})
	u.no(err)
}

func (u *user) status(id string) *cri.ContainerStatus {
	u.t.Helper()
	r, err := u.ContainerStatus(u.ctx(), &cri.ContainerStatusRequest{ContainerId: id})
	u.no(err)
	return r.Status
}

func (u *user) violations(want ...string) {
	u.t.Helper()
	got := u.s.Violations()
	if len(got) != len(want) {
		u.t.Fatalf("violations %q, want %q", got, want)
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) {
			u.t.Errorf("violation %q, want %q", got[i], want[i])
		}
	}
}

func TestBehaviour(t *testing.T) {
	behave := func(_, name string, attempt int) Behaviour {
		switch name {
		case "runs":
			return Behaviour{RunFor: time.Hour, ExitCode: int32(attempt)} // #nosec G115 -- small
		case "slow":
			return Behaviour{TermAfter: 10 * time.Second}
		case "deaf":
			return Behaviour{IgnoreTerm: true}
		}
		return Behaviour{}
	}
	bubble(t, Config{Behave: behave}, func(u *user) {
		sb := u.sandbox(0)
		begin := time.Now()
		runs := u.start(sb, "runs", 3)
		time.Sleep(time.Hour + time.Second)
		if st := u.status(runs); st.State != cri.ContainerState_CONTAINER_EXITED || st.ExitCode != 3 || st.FinishedAt-st.StartedAt != int64(time.Hour) {
			t.Errorf("runs: %v", st)
		}
		for _, c := range []struct {
			name string
			stop int64
			took time.Duration
			code int32
		}{{"quick", 30, 0, 143}, {"slow", 30, 10 * time.Second, 143}, {"slow", 5, 5 * time.Second, 137}, {"deaf", 30, 30 * time.Second, 137}, {"deaf", 0, 0, 137}} {
			id := u.start(sb, c.name, uint32(len(u.s.Snapshot().Containers))) // #nosec G115 -- small
			begin := time.Now()
			u.stop(id, c.stop)
			if took := time.Since(begin); took != c.took || u.status(id).ExitCode != c.code {
				t.Errorf("%s stopped within %ds: code %d after %v, want %d after %v", c.name, c.stop, u.status(id).ExitCode, took, c.code, c.took)
			}
		}
		if e := u.s.Journal()[0]; e.Verb != "RunPodSandbox" || e.PodUID != "u" || !e.At.Equal(begin) || e.ID != sb {
			t.Errorf("journal: %+v", e)
		}
		u.violations()
	})
}

func TestGivingUpOnAStopSendsNoKill(t *testing.T) {
	bubble(t, Config{Behave: func(string, string, int) Behaviour { return Behaviour{IgnoreTerm: true} }}, func(u *user) {
		id := u.start(u.sandbox(0), "c", 0)
		ctx, cancel := context.WithTimeout(u.ctx(), time.Second)
		defer cancel()
		_, err := u.StopContainer(ctx, &cri.StopContainerRequest{ContainerId: id, Timeout: 60})
		if status.Code(err) != codes.DeadlineExceeded {
			t.Error(err)
		}
		time.Sleep(2 * time.Minute)
		if st := u.status(id); st.State != cri.ContainerState_CONTAINER_RUNNING {
			t.Errorf("%v", st)
		}
	})
}

func TestNamesAreReserved(t *testing.T) {
	bubble(t, Config{}, func(u *user) {
		sb := u.sandbox(0)
		_, err := u.RunPodSandbox(u.ctx(), &cri.RunPodSandboxRequest{Config: podConfig(0)})
		if want := `name "p_ns_u_0" is reserved for "` + sb + `"`; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		id := u.start(sb, "c", 0)
		_, err = u.create(sb, "c", 0)
		if want := `name "c_p_ns_u_0" is reserved for "` + id + `"`; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		_, err = u.RemovePodSandbox(u.ctx(), &cri.RemovePodSandboxRequest{PodSandboxId: sb})
		u.no(err)
		u.violations("removed while running")
		u.start(u.sandbox(0), "c", 0)
		u.violations("removed while running", "attempt 0 started twice")
	})
}

func TestViolations(t *testing.T) {
	bubble(t, Config{}, func(u *user) {
		sb := u.sandbox(0)
		u.start(sb, "c", 1)
		_, err := u.create(sb, "c", 0)
		u.no(err)
		u.start(sb, "c", 2)
		dead, err := u.create(sb, "late", 0)
		u.no(err)
		u.sandbox(1)
		_, err = u.StopPodSandbox(u.ctx(), &cri.StopPodSandboxRequest{PodSandboxId: sb})
		u.no(err)
		_, err = u.StartContainer(u.ctx(), &cri.StartContainerRequest{ContainerId: dead})
		if err == nil {
			t.Error("started in a dead sandbox")
		}
		u.s.MarkStopped("u")
		u.start(u.s.Snapshot().Sandboxes[1].ID, "d", 0)
		u.violations("attempt 0 created after attempt 1", "attempt 2 started while attempt 1 runs",
			"sandbox attempt 1 made while attempt 0 is ready", "not ready", "after the pod's removal")
	})
}

func TestStartFailureLeavesAnExitedContainer(t *testing.T) {
	bubble(t, Config{Behave: func(string, string, int) Behaviour { return Behaviour{StartError: "no such file"} }}, func(u *user) {
		id, err := u.create(u.sandbox(0), "c", 0)
		u.no(err)
		_, err = u.StartContainer(u.ctx(), &cri.StartContainerRequest{ContainerId: id})
		if status.Convert(err).Message() != "no such file" {
			t.Error(err)
		}
		if st := u.status(id); st.State != cri.ContainerState_CONTAINER_EXITED || st.Reason != "StartError" || st.ExitCode != 128 || st.StartedAt != 0 {
			t.Errorf("%v", st)
		}
	})
}

func TestFaults(t *testing.T) {
	var next Fault
	cfg := Config{Fault: func(c Call) Fault {
		if c.Method != "RunPodSandbox" {
			return Fault{}
		}
		return next
	}}
	for _, c := range []struct {
		fault  Fault
		code   codes.Code
		effect int
		took   time.Duration
	}{
		{Fault{}, codes.OK, 1, 0},
		{Fault{Delay: time.Minute}, codes.OK, 1, time.Minute},
		{Fault{Kind: Unavailable}, codes.Unavailable, 0, 0},
		{Fault{Kind: LostReply}, codes.Unavailable, 1, 0},
		{Fault{Kind: Hang}, codes.DeadlineExceeded, 0, time.Hour},
		{Fault{Kind: HangAfter}, codes.DeadlineExceeded, 1, time.Hour},
		{Fault{Kind: RestartBefore}, codes.Unavailable, 0, 0},
		{Fault{Kind: RestartAfter}, codes.Unavailable, 1, 0},
		{Fault{Kind: RestartAfter, Restart: Restart{Lose: func(string) bool { return true }}}, codes.Unavailable, 0, 0},
	} {
		next = c.fault
		bubble(t, cfg, func(u *user) {
			ctx, cancel := context.WithTimeout(u.ctx(), time.Hour)
			defer cancel()
			begin := time.Now()
			_, err := u.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: podConfig(0)})
			if status.Code(err) != c.code || time.Since(begin) != c.took || len(u.s.Snapshot().Sandboxes) != c.effect {
				t.Errorf("%+v: %v after %v, %d sandboxes", c.fault, err, time.Since(begin), len(u.s.Snapshot().Sandboxes))
			}
		})
	}
}

func TestRestartKeepsContainers(t *testing.T) {
	bubble(t, Config{}, func(u *user) {
		id := u.start(u.sandbox(0), "c", 0)
		u.s.Restart(Restart{Down: time.Minute})
		if _, err := u.Version(u.ctx(), &cri.VersionRequest{}); status.Code(err) != codes.Unavailable {
			t.Errorf("while down: %v", err)
		}
		time.Sleep(time.Minute + 2*time.Second)
		if st := u.status(id); st.State != cri.ContainerState_CONTAINER_RUNNING {
			t.Errorf("%v", st)
		}
		u.s.Restart(Restart{Lose: func(string) bool { return true }})
		time.Sleep(2 * time.Second)
		if s := u.s.Snapshot(); len(s.Sandboxes)+len(s.Containers) != 0 {
			t.Errorf("%+v", s)
		}
		u.start(u.sandbox(0), "c", 0)
		u.violations()
	})
}
