//go:build e2e

package localapi

import (
	"crypto/tls"
	"flag"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

const (
	// patience bounds what takes as long as the machine is slow, aLife what takes
	// as long as several pods live.
	patience = 90 * time.Second
	aLife    = 5 * time.Minute
)

// readOnlyPort is free: each bed has an address of its own.
const readOnlyPort = "10255"

// shared is the bed that all tests use, each with pods of its own.
var shared = bedtest.Shared{Options: bed.Options{KubeletConfig: func(config map[string]any) {
	config["enableSystemLogQuery"] = true
	config["readOnlyPort"] = 10255
}}}

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("4") // the tests wait more than they compute
	}
	os.Exit(shared.Run(m))
}

// cluster returns the shared bed.
func cluster(t *testing.T) *bed.Bed {
	t.Helper()
	return shared.Bed(t)
}

var must = bedtest.Must

// await watches a pod until done says so, and returns it as it was then.
func await(t *testing.T, b *bed.Bed, name, what string, done func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	return bedtest.Await(t, b.Client(), name, what, patience, done)
}

// withSidecar gives a pod an init container that ends, and a sidecar.
func withSidecar(p *corev1.Pod) *corev1.Pod {
	always := corev1.ContainerRestartPolicyAlways
	first, second := p.Spec.Containers[0], p.Spec.Containers[0]
	first.Name, first.Command = "init", []string{"true"}
	second.Name, second.RestartPolicy, second.Command = "side", &always, []string{"sh", "-c", bedtest.Obeys}
	p.Spec.InitContainers = []corev1.Container{first, second}
	return p
}

// dial returns a connection to a socket below the agent's root directory, of which
// the kubelet's modes are expected.
func dial(t *testing.T, b *bed.Bed, dir, name string) *grpc.ClientConn {
	t.Helper()
	path := filepath.Join(b.RootDir, dir, name)
	for at, want := range map[string]os.FileMode{filepath.Dir(path): os.ModeDir | 0o750, path: os.ModeSocket | 0o755} {
		info, err := os.Lstat(at)
		must(t, "looking at a socket", err)
		if info.Mode() != want {
			t.Errorf("%s is %s, want %s", at, info.Mode(), want)
		}
	}
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, "making a client", err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// caller sends requests to the node's ports.
type caller struct {
	client *http.Client
	base   string
}

// direct calls the port with the API server's certificate.
func direct(t *testing.T, b *bed.Bed) caller {
	t.Helper()
	client, err := b.AgentClient()
	must(t, "making a client of the agent", err)
	t.Cleanup(client.CloseIdleConnections)
	client.Timeout = patience
	return caller{client, b.AgentURL()}
}

// readOnly calls the port that everybody may read.
func readOnly(t *testing.T, b *bed.Bed) caller {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return caller{&http.Client{Transport: transport, Timeout: patience}, "http://" + b.NodeIP + ":" + readOnlyPort}
}

// asNode is a caller with the node's own certificate, which has no rights here.
func asNode(t *testing.T, b *bed.Bed, c caller) caller {
	t.Helper()
	path := filepath.Join(b.Dir, "pki", "node")
	pair, err := tls.LoadX509KeyPair(path+".crt", path+".key")
	must(t, "reading the node's certificate", err)
	transport := c.client.Transport.(*http.Transport).Clone()
	transport.TLSClientConfig.Certificates = []tls.Certificate{pair}
	t.Cleanup(transport.CloseIdleConnections)
	return caller{&http.Client{Transport: transport, Timeout: patience}, c.base}
}

// answer is what a request came to.
type answer struct {
	code   int
	body   string
	header http.Header
}

// ask sends a request, with headers as "name: value", and returns the answer. It
// does not follow where it is sent to.
func (c caller) ask(t *testing.T, method, path string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, c.base+path, http.NoBody)
	must(t, "making a request", err)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	client := *c.client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(req)
	must(t, method+" "+path, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(t, "reading the answer to "+method+" "+path, err)
	return answer{resp.StatusCode, string(body), resp.Header}
}

// expect sends a request and checks the code, and that the body is text or, where
// it begins with ^, matches; ^^ stands for the beginning of the text.
func (c caller) expect(t *testing.T, method, path string, code int, body string) answer {
	t.Helper()
	a := c.ask(t, method, path)
	if ok := a.body == body || strings.HasPrefix(body, "^") && regexp.MustCompile(strings.TrimPrefix(body, "^")).MatchString(a.body); !ok || a.code != code {
		t.Errorf("%s %s: %d %.300q, want %d %.300q", method, path, a.code, a.body, code, body)
	}
	return a
}
