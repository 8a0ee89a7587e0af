package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// views are two pods in odd states, with secrets where nobody may see them.
func views() []*pod.View {
	secret := "hunter2"
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Annotations: map[string]string{"note": secret}, Labels: map[string]string{"l": secret}}}
	p.Spec.Containers = []corev1.Container{{Name: "app", Command: []string{secret}, Args: []string{secret}, Env: []corev1.EnvVar{{Name: "PASSWORD", Value: secret}}}}
	started := metav1.NewTime(now.Add(-3 * time.Hour))
	web := &pod.View{
		Ref: pod.Ref{UID: "u1", Namespace: "shop", Name: "web"}, Pod: p, Source: pod.SourceAPI, Stage: "Syncing",
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: "10.1.0.9", StartTime: &started,
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}},
			ContainerStatuses: []corev1.ContainerStatus{
				{Name: "app", RestartCount: 4, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off 40s restarting failed container=app"}}},
				{Name: "side", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: started}}},
			},
		},
		Waits:    []pod.Wait{{What: "container app: back-off 40s before restart 5 (exit code 1)", Since: now.Add(-10 * time.Second), Next: now.Add(30 * time.Second)}, {What: "the sun"}},
		Phases:   []pod.Phase{{Name: "sandbox", Took: 120 * time.Millisecond}, {Name: "image app", Took: 2345600 * time.Microsecond}},
		Timeline: []pod.Entry{{At: now.Add(-time.Minute), Text: "CreateSandbox of sandbox done in 120ms"}, {At: now.Add(-10 * time.Second), Text: "hint: event"}},
	}
	job := &pod.View{
		Ref: pod.Ref{UID: "u2", Namespace: "batch", Name: "job"}, Source: pod.SourceFile, Stage: "Terminated",
		Status: corev1.PodStatus{
			Phase: corev1.PodFailed, Reason: "Evicted", Message: "no memory",
			ContainerStatuses: []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
				ExitCode: 137, Reason: "OOMKilled", FinishedAt: metav1.NewTime(now.Add(-5 * time.Minute))}}}},
		},
	}
	bare := &pod.View{Ref: pod.Ref{UID: "u3"}, Stage: "Terminating"}
	return []*pod.View{web, job, bare}
}

// serve starts the socket and returns its path once it answers.
func serve(t *testing.T, path string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, path, views) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	for range 1000 {
		if _, err := Pods(ctx, path); err == nil {
			return
		}
		select {
		case err := <-ended:
			t.Fatalf("Serve: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
	}
	t.Fatal("the socket does not answer")
}

func TestSocket(t *testing.T) {
	path := SocketPath(t.TempDir())
	// What an agent that was killed leaves behind.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	serve(t, path)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 || info.Mode().Type() != os.ModeSocket {
		t.Errorf("the socket: %v, %v", info.Mode(), err)
	}
	pods, err := Pods(t.Context(), path)
	if err != nil || len(pods) != 3 || pods[2].Name != "web" || pods[2].Containers[0].Reason != "CrashLoopBackOff" {
		t.Errorf("got %+v, %v", pods, err)
	}
}

func TestNoAgent(t *testing.T) {
	path := SocketPath(t.TempDir())
	_, err := Pods(t.Context(), path)
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "--root-dir") || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestASocketThatCannotBeMade(t *testing.T) {
	err := Serve(t.Context(), filepath.Join(t.TempDir(), "no", "such", "dir"), views)
	if err == nil || !strings.Contains(err.Error(), "no/such/dir") {
		t.Errorf("got %v", err)
	}
}

func TestNothingSecretIsShown(t *testing.T) {
	raw, err := json.Marshal(podsOf(views()))
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"hunter2", "PASSWORD", "annotations", "command", "env", "args", "labels", "spec"} {
		if strings.Contains(strings.ToLower(string(raw)), strings.ToLower(word)) {
			t.Errorf("%q is shown: %s", word, raw)
		}
	}
}

func TestText(t *testing.T) {
	pods := podsOf(views())
	for name, print := range map[string]func(w *strings.Builder) error{
		"pods": func(w *strings.Builder) error { return Table(w, pods, now, false) },
		"wide": func(w *strings.Builder) error { return Table(w, pods, now, true) },
		"none": func(w *strings.Builder) error { return Table(w, nil, now, false) },
		"why": func(w *strings.Builder) error {
			for i := range pods {
				Why(w, &pods[i], now)
				w.WriteString("--\n")
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			if err := print(&out); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(out.String()), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if out.String() != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
			}
		})
	}
}

func TestTableTellsThatItCannotWrite(t *testing.T) {
	if err := Table(broken{}, nil, now, false); err == nil {
		t.Error("no error")
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 90 * time.Second: "1m30s", 2 * time.Minute: "2m", 119 * time.Minute: "119m", 2 * time.Hour: "2h", 47 * time.Hour: "47h", 72 * time.Hour: "3d",
	} {
		if got := age(now.Add(-d), now); got != want {
			t.Errorf("%s: got %s, want %s", d, got, want)
		}
	}
	if got := age(time.Time{}, now); got != "-" {
		t.Errorf("never: %s", got)
	}
}
