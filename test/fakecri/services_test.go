package fakecri

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestEventStream(t *testing.T) {
	faults := map[string]EventFault{}
	bubble(t, Config{EventFault: func(e Event) EventFault { return faults[e.Type] }}, func(u *user) {
		ctx, cancel := context.WithCancel(u.ctx())
		stream, err := u.GetContainerEvents(ctx, &cri.GetEventsRequest{})
		u.no(err)
		got := make(chan string, 20)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				ev, err := stream.Recv()
				if err != nil {
					return
				}
				got <- strings.TrimPrefix(strings.TrimSuffix(ev.ContainerEventType.String(), "_EVENT"), "CONTAINER_") +
					" " + ev.ContainerId[:1] + " " + ev.PodSandboxStatus.Metadata.Uid
			}
		}()
		expect := func(want ...string) {
			t.Helper()
			synctest.Wait()
			var seen []string
			for len(got) > 0 {
				seen = append(seen, <-got)
			}
			if !slices.Equal(seen, want) {
				t.Errorf("events %q, want %q", seen, want)
			}
		}
		synctest.Wait()
		sb := u.sandbox(0)
		expect("CREATED a u", "STARTED a u")
		faults["CONTAINER_CREATED_EVENT"] = EventFault{Delay: time.Second}
		faults["CONTAINER_STARTED_EVENT"] = EventFault{Duplicate: true}
		id := u.start(sb, "c", 0)
		expect("STARTED c u", "STARTED c u")
		time.Sleep(time.Second)
		expect("CREATED c u")
		faults["CONTAINER_STOPPED_EVENT"] = EventFault{Drop: true}
		if !u.s.Kill(id, 1) || u.s.KillByName("u", "c", 1) {
			t.Error("killed not once")
		}
		expect()
		cancel()
		<-done
	})
}

func TestImages(t *testing.T) {
	uid := int64(7)
	cfg := Config{
		Present:  []Image{{Name: "here", Size: 5, UID: &uid}},
		Pullable: []Image{{Name: "there", PullFor: time.Minute}, {Name: "bad", PullError: "broken"}},
	}
	bubble(t, cfg, func(u *user) {
		look := func(name string) *cri.Image {
			r, err := u.images.ImageStatus(u.ctx(), &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: name}})
			u.no(err)
			return r.Image
		}
		if i := look("here"); i.GetSize() != 5 || i.GetUid().GetValue() != 7 || look(i.Id) == nil {
			t.Errorf("%v", i)
		}
		pull := func(name string) error {
			_, err := u.images.PullImage(u.ctx(), &cri.PullImageRequest{Image: &cri.ImageSpec{Image: name}})
			return err
		}
		if look("there") != nil || status.Code(pull("nowhere")) != codes.NotFound || status.Convert(pull("bad")).Message() != "broken" {
			t.Error("images that are not there")
		}
		begin := time.Now()
		u.no(pull("there"))
		if time.Since(begin) != time.Minute || look("there") == nil {
			t.Error("pulled image is not there")
		}
		if _, err := u.create(u.sandbox(0), "c", 0); status.Code(err) != codes.NotFound {
			t.Error(err)
		}
	})
}

// What an agent asks about all containers again and again.
func TestLogsAndStats(t *testing.T) {
	dir := t.TempDir()
	bubble(t, Config{Logs: true, ImageDir: dir}, func(u *user) {
		pod := podConfig(0)
		pod.LogDirectory = dir
		sb, err := u.RunPodSandbox(u.ctx(), &cri.RunPodSandboxRequest{Config: pod})
		u.no(err)
		create := func(log string) string {
			r, err := u.CreateContainer(u.ctx(), &cri.CreateContainerRequest{PodSandboxId: sb.PodSandboxId, Config: &cri.ContainerConfig{
				Metadata: &cri.ContainerMetadata{Name: log}, Image: &cri.ImageSpec{Image: "i"}, LogPath: log,
			}})
			u.no(err)
			return r.ContainerId
		}
		id, file := create("0.log"), filepath.Join(dir, "0.log")
		_, err = u.StartContainer(u.ctx(), &cri.StartContainerRequest{ContainerId: id})
		u.no(err)
		if _, err := os.Stat(file); err != nil || u.status(id).LogPath != file {
			t.Errorf("the log is %q: %v", u.status(id).LogPath, err)
		}
		u.no(os.Remove(file))
		_, err = u.ReopenContainerLog(u.ctx(), &cri.ReopenContainerLogRequest{ContainerId: id})
		u.no(err)
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
		u.no(os.Symlink("/nowhere", filepath.Join(dir, "1.log")))
		other := create("1.log")
		if _, err := u.StartContainer(u.ctx(), &cri.StartContainerRequest{ContainerId: other}); status.Code(err) != codes.Unknown {
			t.Errorf("a log that is a symlink: %v", err)
		}

		time.Sleep(time.Hour)
		all, err := u.ListContainerStats(u.ctx(), &cri.ListContainerStatsRequest{})
		u.no(err)
		if len(all.Stats) != 1 || all.Stats[0].Attributes.Id != id || all.Stats[0].Cpu.UsageCoreNanoSeconds.Value != uint64(3600*time.Millisecond) {
			t.Errorf("stats: %v", all.Stats)
		}
		disks, err := u.images.ImageFsInfo(u.ctx(), &cri.ImageFsInfoRequest{})
		u.no(err)
		if disks.ImageFilesystems[0].FsId.Mountpoint != dir {
			t.Errorf("images are in %v", disks)
		}
		if calls := u.s.Calls(); calls["CreateContainer"] != 2 || calls["ListContainerStats"] != 1 || calls["ListContainers"] != 0 {
			t.Errorf("calls: %v", calls)
		}
	})
}

func TestUnixSocket(t *testing.T) {
	s, err := NewUnix(Config{}, filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	conn, err := s.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := cri.NewRuntimeServiceClient(conn).Version(t.Context(), &cri.VersionRequest{}); err != nil {
		t.Error(err)
	}
	s.Restart(Restart{})
	for { // a call on the broken connection may still fail
		_, err := cri.NewRuntimeServiceClient(conn).Version(t.Context(), &cri.VersionRequest{}, grpc.WaitForReady(true))
		if err == nil {
			return
		}
		if status.Code(err) != codes.Unavailable {
			t.Fatal(err)
		}
	}
}

// BenchmarkHistory is one small history: connect, one container, its end.
func BenchmarkHistory(b *testing.B) {
	for b.Loop() {
		s := New(Config{})
		conn, err := s.Dial()
		if err != nil {
			b.Fatal(err)
		}
		c := cri.NewRuntimeServiceClient(conn)
		r, err := c.RunPodSandbox(b.Context(), &cri.RunPodSandboxRequest{Config: podConfig(0)})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.RemovePodSandbox(b.Context(), &cri.RemovePodSandboxRequest{PodSandboxId: r.PodSandboxId}); err != nil {
			b.Fatal(err)
		}
		_ = conn.Close()
		s.Close()
	}
}
