package credential

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// pluginMode makes this binary a provider: providers in tests are links to it.
const pluginMode = "CREDENTIAL_TEST_MODE"

func TestMain(m *testing.M) {
	if mode := os.Getenv(pluginMode); mode != "" {
		if err := actAsPlugin(mode); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// actAsPlugin is a provider's program. TEST_LOG gets a line per run with the
// request, TEST_REPLY is what is answered, TEST_FIFO is held open.
func actAsPlugin(mode string) error {
	if mode == "deaf" { // neither reads the request nor minds
		return answerWith(os.Getenv("TEST_REPLY"))
	}
	request, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	if path := os.Getenv("TEST_LOG"); path != "" {
		log, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		fmt.Fprintf(log, "%s %s %s\n", strings.Join(os.Args[1:], ","), os.Getenv("TEST_EXTRA"), bytes.TrimSpace(request))
		log.Close()
	}
	switch mode {
	case "reply":
		return answerWith(os.Getenv("TEST_REPLY"))
	case "echo": // the token is the password
		var r struct{ Image, ServiceAccountToken string }
		if err := json.Unmarshal(request, &r); err != nil {
			return err
		}
		return answerWith(reply("Image", "1h", r.Image, "token", r.ServiceAccountToken))
	case "fail":
		fmt.Fprintln(os.Stdout, os.Getenv("TEST_REPLY"))
		return errors.New(os.Getenv("TEST_REPLY"))
	case "noisy":
		_, _ = io.Copy(os.Stderr, io.LimitReader(zeros{}, 4<<20))
		return answerWith(os.Getenv("TEST_REPLY"))
	case "flood":
		_, err := io.Copy(os.Stdout, zeros{})
		return err
	case "hang", "leave", "leave-held":
		return leaveBehind(mode)
	}
	return fmt.Errorf("no mode %q", mode)
}

// leaveBehind starts a process in the same group that holds the FIFO, and in
// leave-held the standard output, open.
func leaveBehind(mode string) error {
	fifo, err := os.OpenFile(os.Getenv("TEST_FIFO"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	child := exec.Command("sleep", "1000")
	child.ExtraFiles = []*os.File{fifo}
	if mode == "leave-held" {
		child.Stdout = os.Stdout
	}
	if err := child.Start(); err != nil {
		return err
	}
	fmt.Fprintln(fifo, os.Getpid())
	if mode == "hang" {
		return child.Wait()
	}
	return answerWith(os.Getenv("TEST_REPLY"))
}

func answerWith(text string) error {
	_, err := os.Stdout.WriteString(text)
	return err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

const apiV1 = "credentialprovider.kubelet.k8s.io/v1"

// reply is a provider's answer. keep may be "".
func reply(scope, keep, key, user, password string) string {
	r := map[string]any{"apiVersion": apiV1, "kind": "CredentialProviderResponse", "cacheKeyType": scope,
		"auth": map[string]any{key: map[string]string{"username": user, "password": password}}}
	if keep != "" {
		r["cacheDuration"] = keep
	}
	text, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// plugin is a provider of a test's configuration.
type plugin struct {
	name, mode, match, apiVersion string
	env                           map[string]string
	tokens                        map[string]any
	keep                          string
}

// configure writes a configuration and links this binary into a directory.
func configure(t *testing.T, plugins ...plugin) Config {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var providers []map[string]any
	for _, p := range plugins {
		if err := os.Symlink(self, filepath.Join(dir, p.name)); err != nil {
			t.Fatal(err)
		}
		env := []map[string]string{{"name": pluginMode, "value": p.mode},
			{"name": "GORACE", "value": "atexit_sleep_ms=0"}} // else each run takes a second more
		for name, value := range p.env {
			env = append(env, map[string]string{"name": name, "value": value})
		}
		one := map[string]any{"name": p.name, "matchImages": []string{or(p.match, "*.example.com")},
			"defaultCacheDuration": or(p.keep, "0s"), "apiVersion": or(p.apiVersion, apiV1), "args": []string{"get", "it"}, "env": env}
		if p.tokens != nil {
			one["tokenAttributes"] = p.tokens
		}
		providers = append(providers, one)
	}
	text, err := json.Marshal(map[string]any{"apiVersion": "kubelet.config.k8s.io/v1", "kind": "CredentialProviderConfig", "providers": providers})
	if err != nil {
		t.Fatal(err)
	}
	return Config{ProviderConfig: write(t, filepath.Join(dir, "config.json"), string(text)), ProviderBinDir: dir, ServiceAccountTokens: true}
}

func or(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func newStore(t *testing.T, cfg Config, deps Deps, log *zap.Logger) *Store {
	t.Helper()
	s, err := New(cfg, deps, log)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// logged is a logger and all that it wrote.
func logged() (*zap.Logger, func() string) {
	var mu sync.Mutex
	var text bytes.Buffer
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(writer(func(p []byte) {
		mu.Lock()
		defer mu.Unlock()
		text.Write(p)
	})), zap.DebugLevel)
	return zap.New(core), func() string {
		mu.Lock()
		defer mu.Unlock()
		return text.String()
	}
}

type writer func([]byte)

func (w writer) Write(p []byte) (int, error) { w(p); return len(p), nil }

func aPod(account string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "pod", UID: "pod-uid"}, Spec: corev1.PodSpec{ServiceAccountName: account}}
}

// aSecret is a pull secret; its name is its UID.
func aSecret(name, text string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name)},
		Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(text)}}
}

func basic(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
}

// users lists who may pull, in order.
func users(all []Credential) string {
	var names []string
	for _, c := range all {
		names = append(names, c.Auth.Username)
	}
	return strings.Join(names, " ")
}
