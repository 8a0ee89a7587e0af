package image

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

// guarded is a registry that lets only some in.
type guarded struct {
	registry
	password string            // of everybody who may
	said     map[string]string // what it says to whom it knows and does not let in

	asked []string // passwords
	spoil func()   // at each pull, before it ends
}

func (g *guarded) PullImage(ctx context.Context, p *corev1.Pod, ref string, auth *pod.RegistryAuth) (string, error) {
	shown := ""
	if auth != nil {
		shown = auth.Password
	}
	g.mu.Lock()
	g.asked = append(g.asked, shown)
	g.mu.Unlock()
	id, err := g.registry.PullImage(ctx, p, ref, auth)
	if g.spoil != nil {
		g.spoil()
	}
	switch {
	case err != nil:
		return "", err
	case shown != g.password:
		text := g.said[shown]
		if text == "" {
			text = "401 for " + shown
		}
		return "", errors.New("rpc error: code = Unknown desc = " + text)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.present == nil {
		g.present = map[string]bool{}
	}
	g.present[ref] = true
	return id, nil
}

// keys are the passwords of pods by name.
type keys map[string][]string

func (k keys) For(_ context.Context, p *corev1.Pod, _ string) ([]Credential, error) {
	var list []Credential
	for _, password := range k[p.Name] {
		if password == "error" {
			return nil, errors.New("secret default/x: not readable")
		}
		list = append(list, Credential{Auth: pod.RegistryAuth{Username: "u", Password: password},
			Source: Source{Secret: &SecretSource{UID: types.UID("of-" + p.Name), Namespace: p.Namespace, Name: p.Name, Hash: "hash-" + password}}})
	}
	return list, nil
}

// book is what would be on the disk.
type book struct {
	mu    sync.Mutex
	lines []string
	must  bool
	fails error
}

func (b *book) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, fmt.Sprintf(format, args...))
}

func (b *book) MustPull(image, ref string, credentials func() ([]Credential, error)) (bool, error) {
	if b.must {
		if _, err := credentials(); err != nil {
			return true, err
		}
	}
	b.note("must %s %s", image, ref)
	return b.must, nil
}

func (b *book) Begin(image string) error {
	b.note("begin %s", image)
	return b.fails
}

func (b *book) End(image string, o Outcome) {
	by := "nobody"
	if o.By != nil {
		by = name(*o.By)
	}
	b.note("end %s: %q by %s, unsure %v", image, o.Ref, by, o.Unsure)
}

func (b *book) Add(image, ref string, by Source) { b.note("add %s %s %s", image, ref, name(by)) }

func name(s Source) string {
	if s.Secret != nil {
		return s.Secret.Name + "/" + s.Secret.Hash
	}
	return fmt.Sprintf("node=%v", s.Node)
}

func (b *book) want(t *testing.T, lines ...string) {
	t.Helper()
	if got, want := strings.Join(b.lines, "\n"), strings.Join(lines, "\n"); got != want {
		t.Errorf("recorded:\n%s\nwant:\n%s", got, want)
	}
}

func requestOf(podName, image string, policy corev1.PullPolicy) pod.ImageRequest {
	req := request(image, policy)
	req.Pod.Name, req.Pod.Namespace = podName, "default"
	req.Container.Name = "c"
	return req
}

func TestCredentialsAreTriedInTurn(t *testing.T) {
	for _, c := range []struct {
		has     []string
		asked   string
		reason  string
		message string
		records []string
	}{
		{nil, "", ReasonPull, "401 for ", []string{"begin a:1", `end a:1: "" by nobody, unsure false`}},
		{[]string{"right"}, "right", "", "", []string{"begin a:1", `end a:1: "sha256:a:1" by p/hash-right, unsure false`}},
		{[]string{"x", "right", "y"}, "x right", "", "", []string{"begin a:1", `end a:1: "sha256:a:1" by p/hash-right, unsure false`}},
		{[]string{"x"}, "x", ReasonPull, "401 for x", nil},
		{[]string{"x", "y", "x"}, "x y x", ReasonPull, "[401 for x, 401 for y]", nil},
		{[]string{"down"}, "down", ReasonRegistryUnavailable, "image pull failed for a:1 because the registry is unavailable: 503", nil},
		{[]string{"x", "error"}, "", ReasonPull, "secret default/x: not readable", nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			g := &guarded{password: "right", said: map[string]string{"down": "RegistryUnavailable: 503"}}
			b := &book{}
			p := newPuller(t, Config{Keyring: keys{"p": c.has}, Records: b}, g)
			_, err := p.Ensure(t.Context(), requestOf("p", "a:1", corev1.PullIfNotPresent))
			if reasonOf(err) != c.reason || err != nil && err.Error() != c.message {
				t.Errorf("%v: %s %v, want %s %s", c.has, reasonOf(err), err, c.reason, c.message)
			}
			if asked := strings.Join(g.asked, " "); asked != c.asked {
				t.Errorf("%v: showed %q, want %q", c.has, asked, c.asked)
			}
			if c.records != nil {
				b.want(t, c.records...)
			}
		})
	}
}

// TestWhoSharesAPull: pods whose pulls may end differently do not share one.
func TestWhoSharesAPull(t *testing.T) {
	kvm := "kvm"
	for name, c := range map[string]struct {
		second func(*pod.ImageRequest)
		keys   keys
		pulls  int
	}{
		"the same":            {func(*pod.ImageRequest) {}, nil, 1},
		"same credentials":    {func(*pod.ImageRequest) {}, keys{"p": {"x", "right"}, "q": {"x", "right"}}, 1},
		"another order":       {func(*pod.ImageRequest) {}, keys{"p": {"x", "right"}, "q": {"right", "x"}}, 2},
		"wrong credentials":   {func(*pod.ImageRequest) {}, keys{"p": {"right"}, "q": {"x"}}, 2},
		"no credentials":      {func(*pod.ImageRequest) {}, keys{"p": {"right"}}, 2},
		"another namespace":   {func(r *pod.ImageRequest) { r.Pod.Namespace = "n" }, nil, 2},
		"another class":       {func(r *pod.ImageRequest) { r.Pod.Spec.RuntimeClassName = &kvm }, nil, 2},
		"another container":   {func(r *pod.ImageRequest) { r.Container.Name = "d" }, nil, 1},
		"another spelling":    {func(r *pod.ImageRequest) { r.Container.Image = "a" }, nil, 2},
		"another pull policy": {func(r *pod.ImageRequest) { r.Container.ImagePullPolicy = corev1.PullIfNotPresent }, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &guarded{password: "right", registry: registry{takes: time.Minute}}
				p := newPuller(t, Config{Keyring: c.keys}, g)
				second := requestOf("q", "a:latest", corev1.PullAlways)
				c.second(&second)
				var all sync.WaitGroup
				for _, req := range []pod.ImageRequest{requestOf("p", "a:latest", corev1.PullAlways), second} {
					all.Go(func() { _, _ = p.Ensure(t.Context(), req) })
				}
				synctest.Wait()
				if n := len(p.Waiting()); n != c.pulls {
					t.Errorf("%d pulls, want %d", n, c.pulls)
				}
				all.Wait()
			})
		})
	}
}

// TestOthersPulls: wrong credentials neither profit nor harm.
func TestOthersPulls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &guarded{password: "right", registry: registry{takes: time.Minute}}
		b := &book{}
		p := newPuller(t, Config{Keyring: keys{"good": {"right"}, "bad": {"x"}, "also": {"right"}}, Records: b}, g)
		var all sync.WaitGroup
		for name, want := range map[string]string{"good": "", "also": "", "bad": "401 for x", "none": "401 for "} {
			all.Go(func() {
				_, err := p.Ensure(t.Context(), requestOf(name, "a:1", corev1.PullAlways))
				if want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
					t.Errorf("%s: %v, want %q", name, err, want)
				}
			})
		}
		all.Wait()
		if len(g.asked) != 3 {
			t.Errorf("pulled with %q", g.asked)
		}
		// Both who share the pull are recorded with their own secret.
		text := strings.Join(b.lines, "\n")
		if !strings.Contains(text, "good/hash-right") || !strings.Contains(text, "also/hash-right") || strings.Contains(text, "bad/") {
			t.Errorf("recorded:\n%s", text)
		}
	})
}

// TestPresentButNotForAll: an image that is there may have to be pulled.
func TestPresentButNotForAll(t *testing.T) {
	for _, c := range []struct {
		has    string
		policy corev1.PullPolicy
		must   bool
		pulls  int
		reason string
		text   string
	}{
		{"right", corev1.PullIfNotPresent, true, 1, "", ""},
		{"right", corev1.PullIfNotPresent, false, 0, "", ""},
		{"x", corev1.PullIfNotPresent, true, 1, ReasonPull, "401 for x"},
		{"x", corev1.PullIfNotPresent, false, 0, "", ""},
		{"x", corev1.PullNever, true, 0, ReasonNeverPull, `Container image "a:1" is not present with pull policy of Never`},
		{"x", corev1.PullNever, false, 0, "", ""},
		{"error", corev1.PullIfNotPresent, true, 0, ReasonPull, "secret default/x: not readable"},
		{"error", corev1.PullIfNotPresent, false, 0, "", ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			g := &guarded{password: "right", registry: registry{present: map[string]bool{"a:1": true}}}
			p := newPuller(t, Config{Keyring: keys{"p": {c.has}}, Records: &book{must: c.must}}, g)
			res, err := p.Ensure(t.Context(), requestOf("p", "a:1", c.policy))
			if reasonOf(err) != c.reason || err != nil && err.Error() != c.text || len(g.asked) != c.pulls {
				t.Errorf("%+v: %s %v after %d pulls", c, reasonOf(err), err, len(g.asked))
			}
			if err == nil && res.Pulled != (c.pulls > 0) {
				t.Errorf("%+v: %+v", c, res)
			}
		})
	}
}

// TestGivenUpAndDone: a pull whose end nobody has waited for leaves an image
// that nobody may have unseen.
func TestGivenUpAndDone(t *testing.T) {
	for _, c := range []struct {
		left, before bool
		lookErr      error
		end          string
	}{
		{false, false, nil, `end a:1: "" by nobody, unsure false`},
		{true, false, nil, `end a:1: "sha256:a:1" by nobody, unsure false`},
		{true, true, nil, `end a:1: "" by nobody, unsure false`},
		{false, false, errors.New("down"), `end a:1: "" by nobody, unsure true`},
	} {
		synctest.Test(t, func(t *testing.T) {
			g := &guarded{registry: registry{takes: time.Hour, present: map[string]bool{"a:1": c.before}}}
			g.spoil = func() {
				g.mu.Lock()
				defer g.mu.Unlock()
				g.present["a:1"], g.lookErr = c.left, c.lookErr
			}
			b := &book{}
			p := newPuller(t, Config{Records: b}, g)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := p.Ensure(ctx, requestOf("p", "a:1", corev1.PullAlways)); !errors.Is(err, context.DeadlineExceeded) || reasonOf(err) != "not a failure" {
				t.Error(err)
			}
			synctest.Wait()
			b.want(t, "begin a:1", c.end)
		})
	}
}

// TestNoPullWithoutARecord: an image whose pull was not noted would be for all.
func TestNoPullWithoutARecord(t *testing.T) {
	g := &guarded{}
	p := newPuller(t, Config{Records: &book{fails: errors.New("disk full")}}, g)
	_, err := p.Ensure(t.Context(), requestOf("p", "a:1", corev1.PullAlways))
	want := `Failed to record image pull intent for container image "a:1": disk full`
	if reasonOf(err) != ReasonPull || err.Error() != want || len(g.asked) != 0 {
		t.Errorf("%v after %d pulls", err, len(g.asked))
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	c := Credential{Auth: pod.RegistryAuth{Password: "hunter2"}}
	if text := fmt.Sprintf("%v %+v %#v %s %+v", c, c, c, c, []Credential{c}); strings.Contains(text, "hunter2") {
		t.Error(text)
	}
}
