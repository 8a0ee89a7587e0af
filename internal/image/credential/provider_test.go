package credential

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
)

// putProgram puts an executable into a directory.
func putProgram(t *testing.T, dir, name string) {
	t.Helper()
	path := filepath.Join(dir, name)
	remove(t, path)
	ok(t, os.Symlink("/bin/true", path))
}

// accounts are service accounts and their tokens.
type accounts struct {
	mu          sync.Mutex
	uid         types.UID
	annotations map[string]string
	token       string
	expires     time.Time
	err, noSA   error
	asked       []string
}

func (a *accounts) Token(_ context.Context, namespace, account, pod string, podUID types.UID, audience string) (string, time.Time, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, strings.Join([]string{namespace, account, pod, string(podUID), audience}, " "))
	return a.token, a.expires, a.err
}

func (a *accounts) ServiceAccount(context.Context, string, string) (types.UID, map[string]string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.uid, a.annotations, a.noSA
}

// lines counts the runs that a provider's log tells of.
func lines(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

func TestAProviderIsAskedInItsVersion(t *testing.T) {
	for _, version := range []string{"v1", "v1beta1", "v1alpha1"} {
		api := "credentialprovider.kubelet.k8s.io/" + version
		log := filepath.Join(t.TempDir(), "log")
		s := newStore(t, configure(t, plugin{name: "p", mode: "reply", apiVersion: api, env: map[string]string{"TEST_LOG": log, "TEST_EXTRA": "extra",
			"TEST_REPLY": strings.Replace(reply("Image", "0s", "*.example.com", "u", "p"), apiV1, api, 1)}}), Deps{}, zap.NewNop())
		got, err := s.For(t.Context(), aPod("sa"), nil, "eu.example.com:443/a:v1")
		if err != nil || len(got) != 0 {
			t.Errorf("another port: %v, %v", got, err)
		}
		got, err = s.For(t.Context(), aPod("sa"), nil, "eu.example.com/a:v1")
		if err != nil || len(got) != 1 || got[0].Auth.Username != "u" || got[0].Auth.Password != "p" || !got[0].Source.Node {
			t.Fatalf("%s: got %v, %v", version, got, err)
		}
		want := `get,it extra {"kind":"CredentialProviderRequest","apiVersion":"` + api + `","image":"eu.example.com/a"}`
		if runs := lines(t, log); len(runs) != 1 || runs[0] != want {
			t.Errorf("asked %q, want %q", runs, want)
		}
	}
}

func TestProvidersThatFailAreLeftOut(t *testing.T) {
	good := reply("Image", "0s", "*.example.com", "u", "p")
	for name, c := range map[string]struct{ mode, reply, log string }{
		"exit status":     {"fail", good, "exit status 3"},
		"too much":        {"flood", "", "more than 1048576 bytes"},
		"held":            {"leave-held", good, "held its standard output open"},
		"nothing":         {"reply", "", "answered nothing"},
		"garbage":         {"reply", "user: password", "not a JSON object"},
		"more after it":   {"reply", good + good, "not a JSON object"},
		"another version": {"reply", strings.Replace(good, apiV1, apiV1+"beta1", 1), "another apiVersion (credentialprovider.kubelet.k8s.io/v1beta1) than"},
		"another API":     {"reply", strings.Replace(good, apiV1, "v1", 1), "another apiVersion than"},
		"another kind":    {"reply", strings.Replace(good, "Response", "Request", 1), "no CredentialProviderResponse"},
		"unknown field":   {"reply", strings.Replace(good, `"auth"`, `"auths":{},"auth"`, 1), "a field is unknown"},
		"no scope":        {"reply", reply("", "0s", "*.example.com", "u", "p"), "no valid cacheKeyType"},
		"unknown scope":   {"reply", reply("Pod", "0s", "*.example.com", "u", "p"), "no valid cacheKeyType"},
		"bad duration":    {"reply", reply("Image", "soon", "*.example.com", "u", "p"), "a field is unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			log, text := logged()
			fifo := openFifo(t)
			s := newStore(t, configure(t, plugin{name: "bad", mode: c.mode, env: map[string]string{"TEST_REPLY": c.reply, "TEST_FIFO": fifo.path}},
				plugin{name: "good", mode: "reply", env: map[string]string{"TEST_REPLY": good}}), Deps{}, log)
			s.providers[0].program.grace = 100 * time.Millisecond
			got, err := s.For(t.Context(), aPod(""), nil, "eu.example.com/a")
			if err != nil || users(got) != "u" {
				t.Errorf("got %v, %v", got, err)
			}
			if !strings.Contains(text(), c.log) || !strings.Contains(text(), `"provider":"bad"`) {
				t.Errorf("log %q, want %q", text(), c.log)
			}
			if c.mode == "leave-held" {
				fifo.gone(t, fifo.pid(t))
			}
		})
	}
}

func TestProvidersThatAreOdd(t *testing.T) {
	good := reply("Image", "0s", "*.example.com", "u", "p")
	for _, mode := range []string{"deaf", "noisy", "leave"} {
		t.Run(mode, func(t *testing.T) {
			fifo := openFifo(t)
			deps := Deps{Tokens: &accounts{token: "t"}, ServiceAccounts: &accounts{annotations: map[string]string{"big": strings.Repeat("x", 1<<18)}}}
			s := newStore(t, configure(t, plugin{name: "p", mode: mode, env: map[string]string{"TEST_REPLY": good, "TEST_FIFO": fifo.path},
				tokens: map[string]any{"serviceAccountTokenAudience": "a", "cacheType": "Token", "requireServiceAccount": true,
					"optionalServiceAccountAnnotationKeys": []string{"big"}}}), deps, zap.NewNop())
			if got, err := s.For(t.Context(), aPod("sa"), nil, "eu.example.com/a"); err != nil || users(got) != "u" {
				t.Errorf("got %v, %v", got, err)
			}
			if mode == "leave" {
				fifo.gone(t, fifo.pid(t))
			}
		})
	}
}

// held is a FIFO that a provider and what it starts hold open.
type held struct {
	path     string
	ours     *os.File
	contents *bufio.Reader
}

func openFifo(t *testing.T) held {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	mkfifo(t, path)
	r, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	ok(t, err)
	w, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0) // so that it does not end before it begins
	ok(t, err)
	t.Cleanup(func() { r.Close(); w.Close() })
	return held{path: path, ours: w, contents: bufio.NewReader(r)}
}

// pid waits until the provider has started another process, and returns its own.
func (h held) pid(t *testing.T) int {
	t.Helper()
	line, err := h.contents.ReadString('\n')
	ok(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	ok(t, err)
	return pid
}

// gone waits until nobody holds the FIFO open any longer, and checks that the
// provider is no zombie.
func (h held) gone(t *testing.T, pid int) {
	t.Helper()
	ok(t, h.ours.Close())
	_, err := io.Copy(io.Discard, h.contents)
	ok(t, err)
	if _, err := unix.Wait4(pid, nil, unix.WNOHANG, nil); !errors.Is(err, unix.ECHILD) {
		t.Errorf("the provider was not waited for: %v", err)
	}
}

func TestAProviderThatHangsIsKilledWithItsChildren(t *testing.T) {
	t.Run("timeout", func(t *testing.T) {
		fifo := openFifo(t)
		log, text := logged()
		s := newStore(t, configure(t, plugin{name: "p", mode: "hang", env: map[string]string{"TEST_FIFO": fifo.path}}), Deps{}, log)
		if got := s.providers[0].program.timeout; got != time.Minute {
			t.Errorf("a provider may take %v", got)
		}
		// Long enough to start; what is waited for is the end.
		s.providers[0].program.timeout = 3 * time.Second
		got, err := s.For(t.Context(), aPod(""), nil, "eu.example.com/a")
		if err != nil || len(got) != 0 || !strings.Contains(text(), "longer than 3s and was killed") {
			t.Errorf("got %v, %v, logged %s", got, err, text())
		}
		ok(t, fifo.ours.Close())
		_, err = io.Copy(io.Discard, fifo.contents)
		ok(t, err)
	})
	t.Run("nobody waits any longer", func(t *testing.T) {
		fifo := openFifo(t)
		log, text := logged()
		s := newStore(t, configure(t, plugin{name: "p", mode: "hang", env: map[string]string{"TEST_FIFO": fifo.path}}), Deps{}, log)
		ctx, cancel := context.WithCancelCause(t.Context())
		pid := 0
		go func() {
			pid = fifo.pid(t)
			cancel(errors.New("the pod went"))
		}()
		got, err := s.For(ctx, aPod(""), nil, "eu.example.com/a")
		if len(got) != 0 || err == nil || !strings.Contains(err.Error(), "the pod went") || text() != "" {
			t.Errorf("got %v, %v, logged %s", got, err, text())
		}
		fifo.gone(t, pid)
	})
}

func TestRunsAreSharedAndKept(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	var mu sync.Mutex
	var observed []bool
	deps := Deps{Observe: func(_ string, _ time.Duration, failed bool) {
		mu.Lock()
		defer mu.Unlock()
		observed = append(observed, failed)
	}}
	s := newStore(t, configure(t, plugin{name: "p", mode: "reply", keep: "1h", env: map[string]string{"TEST_LOG": log,
		"TEST_REPLY": reply("Registry", "", "*.example.com", "u", "p")}}), deps, zap.NewNop())
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			if got, err := s.For(t.Context(), aPod(""), nil, "eu.example.com/a"); err != nil || users(got) != "u" {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
	all.Wait()
	for _, image := range []string{"eu.example.com/b", "us.example.com/a"} {
		if got, err := s.For(t.Context(), aPod(""), nil, image); err != nil || users(got) != "u" {
			t.Errorf("got %v, %v", got, err)
		}
	}
	if runs := lines(t, log); len(runs) != 2 {
		t.Errorf("ran %d times for two registries: %q", len(runs), runs)
	}
	if len(observed) != 2 || observed[0] || observed[1] {
		t.Errorf("observed %v", observed)
	}
}

func TestProvidersGetTokens(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	text := reply("Image", "1h", "*.example.com", "u", "p")
	attributes := map[string]any{"serviceAccountTokenAudience": "aud", "cacheType": "ServiceAccount", "requireServiceAccount": true,
		"requiredServiceAccountAnnotationKeys": []string{"need"}, "optionalServiceAccountAnnotationKeys": []string{"may", "absent"}}
	a := &accounts{uid: "sa-uid", token: "token", annotations: map[string]string{"need": "1", "may": "2", "other": "3"}}
	s := newStore(t, configure(t, plugin{name: "p", mode: "reply", tokens: attributes, env: map[string]string{"TEST_LOG": log, "TEST_REPLY": text}}),
		Deps{Tokens: a, ServiceAccounts: a}, zap.NewNop())
	look := func(account string) []Credential {
		t.Helper()
		got, err := s.For(t.Context(), aPod(account), nil, "eu.example.com/a")
		ok(t, err)
		return got
	}
	got := look("sa")
	if len(got) != 1 || got[0].Source.Node || *got[0].Source.ServiceAccount != (ServiceAccountSource{UID: "sa-uid", Namespace: "ns", Name: "sa"}) {
		t.Fatalf("got %v", got)
	}
	want := `get,it  {"kind":"CredentialProviderRequest","apiVersion":"` + apiV1 + `","image":"eu.example.com/a","serviceAccountToken":"token","serviceAccountAnnotations":{"may":"2","need":"1"}}`
	if runs := lines(t, log); len(runs) != 1 || runs[0] != want {
		t.Errorf("asked %q, want %q", runs, want)
	}
	if len(a.asked) != 1 || a.asked[0] != "ns sa pod pod-uid aud" {
		t.Errorf("tokens asked for: %q", a.asked)
	}
	// Kept for the account: another token does not matter, what it is does.
	for _, step := range []struct {
		change func()
		runs   int
	}{
		{func() { a.token = "token2" }, 1},
		{func() { a.annotations["other"] = "4" }, 1},
		{func() { a.annotations["may"] = "4" }, 2},
		{func() { a.uid = "another" }, 3},
	} {
		step.change()
		if got := look("sa"); len(got) != 1 || got[0].Source.ServiceAccount.UID != a.uid {
			t.Errorf("got %v", got)
		}
		if runs := lines(t, log); len(runs) != step.runs {
			t.Errorf("%d runs, want %d", len(runs), step.runs)
		}
	}
	// Not asked at all.
	if got := look(""); len(got) != 0 {
		t.Errorf("without an account: %v", got)
	}
	delete(a.annotations, "need")
	if got := look("sa"); len(got) != 0 {
		t.Errorf("without a required annotation: %v", got)
	}
	a.noSA = errors.New("none")
	if got := look("sa"); len(got) != 0 {
		t.Errorf("without the account: %v", got)
	}
	a.noSA, a.annotations["need"], a.err = nil, "5", errors.New("none")
	if got := look("sa"); len(got) != 0 {
		t.Errorf("without a token: %v", got)
	}
	a.err, a.token = nil, ""
	if got := look("sa"); len(got) != 0 {
		t.Errorf("with an empty token: %v", got)
	}
	if runs := lines(t, log); len(runs) != 3 {
		t.Errorf("asked %d times", len(runs))
	}
}

func TestAnAccountMayBeOptional(t *testing.T) {
	a := &accounts{uid: "sa-uid", token: "token"}
	s := newStore(t, configure(t, plugin{name: "p", mode: "reply", env: map[string]string{"TEST_REPLY": reply("Image", "1h", "*.example.com", "u", "p")},
		tokens: map[string]any{"serviceAccountTokenAudience": "aud", "cacheType": "Token", "requireServiceAccount": false}}),
		Deps{Tokens: a, ServiceAccounts: a}, zap.NewNop())
	for _, account := range []string{"", "sa", ""} { // what is kept for the one is not for the other
		got, err := s.For(t.Context(), aPod(account), nil, "eu.example.com/a")
		ok(t, err)
		if len(got) != 1 || got[0].Source.Node != (account == "") || (got[0].Source.ServiceAccount != nil) != (account == "sa") {
			t.Errorf("%q: got %v", account, got)
		}
	}
}

func TestAnEchoedTokenIsForItsPodOnly(t *testing.T) {
	for cacheType, want := range map[string]string{"Token": "token", "ServiceAccount": ""} {
		a := &accounts{uid: "sa-uid", token: "canary"}
		log, text := logged()
		s := newStore(t, configure(t, plugin{name: "p", mode: "echo",
			tokens: map[string]any{"serviceAccountTokenAudience": "aud", "cacheType": cacheType, "requireServiceAccount": true}}),
			Deps{Tokens: a, ServiceAccounts: a}, log)
		got, err := s.For(t.Context(), aPod("sa"), nil, "eu.example.com/a")
		ok(t, err)
		if users(got) != want {
			t.Errorf("%s: got %q", cacheType, users(got))
		}
		if strings.Contains(text(), "cacheType Token only") != (want == "") || strings.Contains(text(), "canary") {
			t.Errorf("%s: logged %s", cacheType, text())
		}
		if want == "" {
			continue
		}
		a.token = "another"
		got, err = s.For(t.Context(), aPod("sa"), nil, "eu.example.com/a")
		ok(t, err)
		if len(got) != 1 || got[0].Auth.Password != "another" {
			t.Error("a pod got another pod's token")
		}
	}
}
