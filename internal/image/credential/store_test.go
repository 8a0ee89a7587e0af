package credential

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

func TestSecretsComeBeforeFilesBeforeProviders(t *testing.T) {
	cfg := configure(t, plugin{name: "p", mode: "reply", env: map[string]string{"TEST_REPLY": reply("Image", "0s", "*.example.com", "provider", "x")}})
	cfg.DockerConfigs = []string{write(t, filepath.Join(t.TempDir(), "config.json"), `{"auths":{"eu.example.com/team/app":{"auth":"`+basic("node", "x")+`"}}}`)}
	s := newStore(t, cfg, Deps{}, zap.NewNop())
	old := aSecret("old", "")
	old.Type = corev1.SecretTypeDockercfg
	old.Data = map[string][]byte{corev1.DockerConfigKey: []byte(`{"eu.example.com":{"username":"second","password":"x"}}`)}
	opaque := aSecret("opaque", `{"auths":{"eu.example.com":{"username":"wrong"}}}`)
	opaque.Type = corev1.SecretTypeOpaque
	got, err := s.For(t.Context(), aPod(""), []*corev1.Secret{
		aSecret("first", `{"auths":{"eu.example.com":{"auth":"`+basic("first", "x")+`"}}}`), nil, old, opaque,
		aSecret("empty", ""), aSecret("third", `{"auths":{"eu.example.com/team":{"auth":"`+basic("third", "password")+`"}}}`),
	}, "eu.example.com/team/app:v1@sha256:"+strings.Repeat("a", 64))
	if err != nil || users(got) != "third first second node provider" {
		t.Fatalf("order %q, error %v", users(got), err)
	}
	if want := (SecretSource{UID: "third", Namespace: "ns", Name: "third", Hash: entry{username: "third", password: "password"}.hash()}); *got[0].Source.Secret != want {
		t.Errorf("source %+v, want %+v", *got[0].Source.Secret, want)
	}
	if got[1].Source.Secret.Hash == got[0].Source.Secret.Hash || got[2].Source.Secret.Name != "old" {
		t.Errorf("sources %v", got)
	}
	if !got[3].Source.Node || !got[4].Source.Node || got[0].Source.Node {
		t.Errorf("sources %v", got)
	}
	if a := got[0].Auth; a.Username != "third" || a.Password != "password" || a.Auth != "" || a.ServerAddress != "" {
		t.Errorf("not what the kubelet tells the runtime: %v", a)
	}
}

func TestNoCredentials(t *testing.T) {
	s := newStore(t, Config{}, Deps{}, zap.NewNop())
	got, err := s.For(t.Context(), aPod(""), []*corev1.Secret{aSecret("other", `{"auths":{"other.io":{"username":"u"}}}`)}, "nginx")
	if err != nil || len(got) != 0 {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := s.For(t.Context(), aPod(""), nil, "Not A Name"); err == nil {
		t.Error("a bad reference has credentials")
	}
}

func TestABrokenSecretIsAnError(t *testing.T) {
	s := newStore(t, Config{}, Deps{}, zap.NewNop())
	_, err := s.For(t.Context(), aPod(""), []*corev1.Secret{aSecret("good", `{}`), aSecret("bad", `{"auths":{"other.io":{"auth":"?"}}}`)}, "nginx")
	if err == nil || !strings.Contains(err.Error(), "ns/bad") {
		t.Errorf("error %v does not name the secret", err)
	}
}

func TestEntriesThatAreNoAddressAreLeftOut(t *testing.T) {
	log, text := logged()
	s := newStore(t, Config{}, Deps{}, log)
	got, err := s.For(t.Context(), aPod(""), []*corev1.Secret{aSecret("s", `{"auths":{"user:canary@bad host":{"username":"a"},"docker.io":{"username":"b"}}}`)}, "nginx")
	if err != nil || users(got) != "b" {
		t.Errorf("got %q, %v", users(got), err)
	}
	if !strings.Contains(text(), `"secret":"s"`) || strings.Contains(text(), "canary") {
		t.Errorf("logged %s", text())
	}
}

func TestWhereTheNodesFilesAre(t *testing.T) {
	want := "/r/config.json config.json /home/u/.docker/config.json /.docker/config.json /r/.dockercfg .dockercfg /home/u/.dockercfg /.dockercfg"
	if got := strings.Join(DockerConfigPaths("/r", "/home/u"), " "); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := DockerConfigPaths("/r", ""); got[2] != ".docker/config.json" || got[6] != ".dockercfg" {
		t.Errorf("without a home: %v", got)
	}
}

func TestTheFirstGoodFileOfTheNodeCounts(t *testing.T) {
	root, home := t.TempDir(), t.TempDir()
	t.Chdir(t.TempDir())
	paths := DockerConfigPaths(root, home)
	log, text := logged()
	s := newStore(t, Config{DockerConfigs: []string{paths[0], paths[1], paths[2], paths[4], paths[5], paths[6]}}, Deps{}, log)
	look := func() string {
		t.Helper()
		got, err := s.For(t.Context(), aPod(""), nil, "nginx")
		if err != nil {
			t.Fatal(err)
		}
		return users(got)
	}
	file := func(format, user string) string { return fmt.Sprintf(format, basic(user, "canary")) }
	const framed, bare = `{"auths":{"docker.io":{"auth":%q}}}`, `{"docker.io":{"auth":%q}}`
	if got := look(); got != "" {
		t.Errorf("no files, and %q", got)
	}
	// Each has precedence over those written before it.
	for _, f := range []struct{ path, format, user string }{
		{filepath.Join(home, ".dockercfg"), bare, "home-old"}, {".dockercfg", bare, "cwd-old"}, {filepath.Join(root, ".dockercfg"), bare, "root-old"},
		{filepath.Join(home, ".docker", "config.json"), framed, "home"}, {"config.json", framed, "cwd"}, {filepath.Join(root, "config.json"), framed, "root"},
	} {
		write(t, f.path, file(f.format, f.user))
		if got := look(); got != f.user {
			t.Errorf("after %s: %q, want %q", f.path, got, f.user)
		}
	}
	// A change counts at once, also one of the same size.
	write(t, paths[0], file(framed, "ROOT"))
	if got := look(); got != "ROOT" {
		t.Errorf("after a change: %q", got)
	}
	if text() != "" {
		t.Errorf("logged %s", text())
	}
	// What cannot be used is passed over, and told once.
	for _, spoil := range []func(){
		func() { write(t, paths[0], `{"auths":{"docker.io":{"auth":"canary"}}}`) },
		func() { write(t, paths[0], strings.Repeat(" ", maxDockerConfig)+"{}") },
		func() { write(t, paths[0], "canary") },
		func() { remove(t, paths[0]); mkfifo(t, paths[0]) }, // not waited for
		func() { remove(t, paths[0]); write(t, paths[0], `{"auths":"canary"}`) },
		func() { remove(t, paths[0]); ok(t, os.Mkdir(paths[0], 0o700)) },
	} {
		before := strings.Count(text(), "\n")
		spoil()
		for range 3 {
			if got := look(); got != "cwd" {
				t.Errorf("got %q", got)
			}
		}
		if lines := strings.Count(text(), "\n") - before; lines != 1 {
			t.Errorf("told %d times: %s", lines, text())
		}
	}
	if strings.Contains(text(), "canary") {
		t.Errorf("content in the log: %s", text())
	}
	// A file without entries ends the search.
	remove(t, paths[0])
	write(t, paths[0], `{}`)
	if got := look(); got != "" {
		t.Errorf("beside an empty file: %q", got)
	}
}

func TestPrintingACredentialShowsItsSource(t *testing.T) {
	c := Credential{Auth: entry{username: "u", password: "canary"}.auth(), Source: Source{Secret: &SecretSource{Namespace: "ns", Name: "s"}}}
	marshalled, err := json.Marshal([]Credential{c})
	if err != nil {
		t.Fatal(err)
	}
	log, text := logged()
	log.Info("", zap.Any("a", c), zap.Any("b", []Credential{c}), zap.Stringer("c", c), zap.Reflect("d", &c))
	for _, shown := range []string{fmt.Sprintf("%v %+v %#v %s %q %x %v", c, c, c, c, c, c, []Credential{c}), fmt.Sprintf("%+v %#v", &c, &c), string(marshalled), text()} {
		if strings.Contains(shown, "canary") || strings.Contains(shown, fmt.Sprintf("%x", "canary")) || !strings.Contains(shown, "secret ns/s") {
			t.Errorf("shown: %s", shown)
		}
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) { t.Helper(); ok(t, os.RemoveAll(path)) }

func mkfifo(t *testing.T, path string) { t.Helper(); ok(t, unix.Mkfifo(path, 0o600)) }
