package check

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"nodeagent.dev/nodeagent/internal/config"
)

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// pair makes a certificate that signs itself.
func pair(t *testing.T, name, group string, life time.Duration) (cert, key []byte) {
	t.Helper()
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name, Organization: []string{group}}, //nolint:misspell // a field of crypto/x509
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	must(t, err)
	private, err := x509.MarshalECPrivateKey(signer)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})
}

// apiServer takes everybody for whom the certificate says, if it has not expired.
func apiServer(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if len(r.TLS.PeerCertificates) == 0 || time.Now().After(r.TLS.PeerCertificates[0].NotAfter) || !strings.HasSuffix(r.URL.Path, "/selfsubjectreviews") {
			w.WriteHeader(http.StatusUnauthorized)
			_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Code: 401, Reason: metav1.StatusReasonUnauthorized, Message: "Unauthorized"})
			return
		}
		who := r.TLS.PeerCertificates[0].Subject
		_ = json.NewEncoder(w).Encode(authenticationv1.SelfSubjectReview{
			TypeMeta: metav1.TypeMeta{Kind: "SelfSubjectReview", APIVersion: "authentication.k8s.io/v1"},
			Status:   authenticationv1.SelfSubjectReviewStatus{UserInfo: authenticationv1.UserInfo{Username: who.CommonName, Groups: who.Organization}}, //nolint:misspell // a field of crypto/x509
		})
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// world is a node whose kubeconfig has a certificate of its own.
func world(t *testing.T, name, group string, life time.Duration) *config.Config {
	t.Helper()
	dir, s := t.TempDir(), apiServer(t)
	cert, key := pair(t, name, group, life)
	must(t, clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: s.URL, CertificateAuthorityData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": {ClientCertificateData: cert, ClientKeyData: key}},
		Contexts:       map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "x",
	}, dir+"/kubelet.conf"))
	cfg := &config.Config{}
	cfg.NodeName, cfg.RootDir, cfg.CertDir, cfg.Kubeconfig = "n", dir, dir+"/pki", dir+"/kubelet.conf"
	cfg.Server.Enabled = true
	return cfg
}

// levels are the lines in short: "ok what".
func levels(lines []line) string {
	var texts []string
	for _, l := range lines {
		what, _, _ := strings.Cut(l.what, " (")
		texts = append(texts, string(l.level)+" "+what)
	}
	return strings.Join(texts, ", ")
}

func TestCredentials(t *testing.T) {
	for name, c := range map[string]struct {
		make func(t *testing.T) *config.Config
		want string
		says string
	}{
		"good": {func(t *testing.T) *config.Config { return world(t, "system:node:n", "system:nodes", time.Hour) },
			"ok kubeconfig, ok CA of the API server, ok client certificate, ok bootstrap kubeconfig, ok API server", "knows us as system:node:n (system:nodes)"},
		"expired": {func(t *testing.T) *config.Config { return world(t, "system:node:n", "system:nodes", -time.Minute) },
			"ok kubeconfig, ok CA of the API server, problem client certificate, warning bootstrap kubeconfig, problem API server", "has expired at"},
		"nearly": {func(t *testing.T) *config.Config { return world(t, "system:node:n", "system:nodes", time.Minute) },
			"ok kubeconfig, ok CA of the API server, warning client certificate, ok bootstrap kubeconfig, ok API server", "rotateCertificates"},
		"another node's": {func(t *testing.T) *config.Config { return world(t, "system:node:m", "system:nodes", time.Hour) },
			"ok kubeconfig, ok CA of the API server, problem client certificate, ok bootstrap kubeconfig, problem API server", "--hostname-override"},
		"no node's": {func(t *testing.T) *config.Config { return world(t, "system:node:n", "others", time.Hour) },
			"ok kubeconfig, ok CA of the API server, problem client certificate, ok bootstrap kubeconfig, ok API server", "system:nodes"},
		"no kubeconfig": {func(t *testing.T) *config.Config {
			cfg := world(t, "system:node:n", "system:nodes", time.Hour)
			must(t, os.Remove(cfg.Kubeconfig))
			return cfg
		}, "problem kubeconfig, problem client certificate, warning bootstrap kubeconfig", "--bootstrap-kubeconfig"},
		"to be bootstrapped": {func(t *testing.T) *config.Config {
			cfg := world(t, "system:node:n", "system:nodes", time.Hour)
			cfg.BootstrapKubeconfig = cfg.RootDir + "/bootstrap.conf"
			must(t, os.Rename(cfg.Kubeconfig, cfg.BootstrapKubeconfig))
			return cfg
		}, "ok kubeconfig, problem client certificate, ok bootstrap kubeconfig", "kubectl get csr"},
		"bootstrap kubeconfig is gone": {func(t *testing.T) *config.Config {
			cfg := world(t, "system:node:n", "system:nodes", -time.Hour)
			cfg.BootstrapKubeconfig = cfg.RootDir + "/bootstrap.conf"
			return cfg
		}, "ok kubeconfig, ok CA of the API server, problem client certificate, problem bootstrap kubeconfig, problem API server", "kubeadm token create"},
		"standalone": {func(*testing.T) *config.Config {
			cfg := &config.Config{}
			cfg.Standalone = true
			return cfg
		}, "ok API server", "static pods only"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := c.make(t)
			lines := credentials(t.Context(), cfg)
			if got := levels(lines); got != c.want {
				t.Errorf("got  %s\nwant %s\n%+v", got, c.want, lines)
			}
			text := ""
			for _, l := range lines {
				text += l.text + "; " + l.todo + "\n"
			}
			if !strings.Contains(text, c.says) || strings.Contains(text, "PRIVATE KEY") {
				t.Errorf("no %q in\n%s", c.says, text)
			}
		})
	}
}

// Nothing is written, whatever there is to do.
func TestChangesNothing(t *testing.T) {
	cfg := world(t, "system:node:n", "system:nodes", time.Hour)
	cfg.API.Rotate, cfg.BootstrapKubeconfig = true, cfg.RootDir+"/bootstrap.conf"
	must(t, os.Rename(cfg.Kubeconfig, cfg.BootstrapKubeconfig))
	cfg.Runtime.Endpoint = "unix://" + cfg.RootDir + "/no.sock"
	var out bytes.Buffer
	problems, err := Run(t.Context(), cfg, &out)
	must(t, err)
	if problems < 2 || strings.Count(out.String(), "problem ") != problems || !strings.Contains(out.String(), "no.sock") {
		t.Errorf("%d problems in\n%s", problems, out.String())
	}
	if entries, err := os.ReadDir(cfg.RootDir); err != nil || len(entries) != 1 {
		t.Errorf("in the directory: %v, %v", entries, err)
	}
}

func TestServing(t *testing.T) {
	dir := t.TempDir()
	write := func(cert, key string, life time.Duration) {
		c, k := pair(t, "n", "g", life)
		if cert == key {
			c = append(c, k...)
		}
		must(t, os.WriteFile(key, k, 0o600), os.WriteFile(cert, c, 0o600))
	}
	cfg := &config.Config{}
	cfg.CertDir, cfg.Server.Enabled = dir, true
	check := func(what string, want level) {
		t.Helper()
		if got := serving(cfg); len(got) != 1 || got[0].level != want {
			t.Errorf("%s: %+v, want %s", what, got, want)
		}
	}
	check("a self-signed pair that is to be made", fine)
	write(dir+"/kubelet.crt", dir+"/kubelet.key", time.Hour)
	check("a self-signed pair", fine)
	write(dir+"/kubelet.crt", dir+"/kubelet.key", -time.Second)
	check("one that has expired", problem)
	must(t, os.Truncate(dir+"/kubelet.key", 10))
	check("half a pair", problem)
	cfg.Server.TLS.Request = true
	check("one that the cluster has not signed yet", warning)
	write(dir+"/kubelet-server-current.pem", dir+"/kubelet-server-current.pem", time.Hour)
	check("one that the cluster has signed", fine)
	cfg.Server.TLS.Request, cfg.Server.TLS.CertFile, cfg.Server.TLS.KeyFile = false, dir+"/c", dir+"/k"
	check("files that are missing", problem)
	write(dir+"/c", dir+"/k", time.Minute)
	check("files that are to be replaced soon", warning)
	cfg.Server.Enabled = false
	if got := serving(cfg); len(got) != 0 {
		t.Errorf("without a port: %+v", got)
	}
}

func TestClientCA(t *testing.T) {
	dir := t.TempDir()
	cfg := &config.Config{}
	cfg.Server.Enabled, cfg.Server.Access.ClientCAFile = true, dir+"/ca.crt"
	for name, c := range map[string]struct {
		life time.Duration
		want level
	}{"good": {time.Hour, fine}, "expired": {-time.Second, problem}, "missing": {0, problem}} {
		_ = os.Remove(dir + "/ca.crt")
		if c.life != 0 {
			cert, _ := pair(t, "ca", "g", c.life)
			must(t, os.WriteFile(dir+"/ca.crt", cert, 0o600))
		}
		if got := clientCA(cfg); len(got) != 1 || got[0].level != c.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestRootDir(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/file", nil, 0o600))
	for path, want := range map[string]level{dir: fine, dir + "/new": fine, dir + "/file": problem, dir + "/file/below": problem} {
		if got := rootDir(path); got.level != want && (got.level != warning || !strings.Contains(got.text, "full")) {
			t.Errorf("%s: %+v, want %s", path, got, want)
		}
	}
}

type answer struct {
	driver string
	err    error
}

func (a answer) CgroupDriver(context.Context) (string, error) { return a.driver, a.err }

func TestDriver(t *testing.T) {
	cfg := &config.Config{}
	cfg.Cgroup.Driver = "systemd"
	for _, c := range []struct {
		runtime answer
		want    level
		says    string
	}{
		{answer{driver: "systemd"}, fine, "systemd for both"},
		{answer{driver: "cgroupfs"}, warning, "configure cgroupfs"},
		{answer{}, warning, "does not say"},
		{answer{err: errors.New("unimplemented")}, warning, "unimplemented"},
		{answer{err: context.DeadlineExceeded}, problem, "deadline"},
	} {
		if got := driver(t.Context(), cfg, c.runtime); got.level != c.want || !strings.Contains(got.text+got.todo, c.says) {
			t.Errorf("%+v: %+v, want %s", c.runtime, got, c.want)
		}
	}
}
