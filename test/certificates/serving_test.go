//go:build e2e

package certificates

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// shown makes a handshake with the node's port and returns the certificate.
func (a *agent) shown(t *testing.T) (cert *x509.Certificate, err error) {
	t.Helper()
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} // looked at below
	// An agent that has just said that it is healthy may not listen here yet.
	eventually(t, "listener on the node's port", func() bool {
		var conn net.Conn
		if conn, err = dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(a.AgentURL(), "https://")); err != nil {
			return !errors.Is(err, syscall.ECONNREFUSED)
		}
		cert = conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
		return conn.Close() == nil
	})
	return cert, err
}

// The cluster signs what the node's port shows, once somebody has approved it.
func TestServingCertificate(t *testing.T) {
	a := setUp(t, func(config map[string]any) {
		config["serverTLSBootstrap"], config["tlsCertFile"], config["tlsPrivateKeyFile"] = true, "", ""
	})
	a.forgetRequests(t)
	a.bootstrapKubeconfig(t, "dddddd")
	a.start(t)
	a.ready(t)
	var all []certificatesv1.CertificateSigningRequest
	eventually(t, "request for a serving certificate", func() bool { all = a.requests(t, servingSigner); return len(all) > 0 })
	r := &all[0]
	usages := []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth}
	if r.Spec.Username != "system:node:"+a.NodeName || !slices.Equal(r.Spec.Usages, usages) {
		t.Errorf("the request of %s is for %v", r.Spec.Username, r.Spec.Usages)
	}
	if _, err := a.shown(t); err == nil || !strings.Contains(err.Error(), "internal error") {
		t.Errorf("a handshake before the approval: %v", err)
	}
	eventually(t, "word in the log of why", func() bool {
		return strings.Contains(a.said(), "no serving certificate available for the kubelet")
	})

	a.approve(t, r)
	var leaf *x509.Certificate
	eventually(t, "serving certificate", func() bool {
		var err error
		leaf, err = a.shown(t)
		return err == nil
	})
	pool := x509.NewCertPool()
	pool.AddCert(a.authority(t).cert)
	for _, name := range []string{a.NodeName, a.NodeIP} {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: name}); err != nil {
			t.Errorf("as %s: %v", name, err)
		}
	}
	if s := leaf.Subject; s.CommonName != "system:node:"+a.NodeName || !slices.Equal(s.Organization, []string{"system:nodes"}) { //nolint:misspell // the library's word
		t.Errorf("the certificate is for %s", s)
	}
	if target, err := os.Readlink(filepath.Join(a.pki, "kubelet-server-current.pem")); err != nil || !strings.HasPrefix(target, a.pki+"/kubelet-server-2") {
		t.Errorf("the link leads to %s: %v", target, err)
	}
	untouched := a.workload(t, "serving")
	out, err := a.Kubectl(t.Context(), "exec", "serving", "--", "echo", "hello")
	if err != nil || out != "hello\n" {
		t.Errorf("exec: %q, %v", out, err)
	}
	// A certificate that is there is shown by the next start, too.
	bedtest.Must(t, "restarting the agent", a.Component("agent").Restart(t.Context()))
	if again, err := a.shown(t); err != nil || !again.Equal(leaf) && again.NotBefore.Before(leaf.NotBefore) {
		t.Errorf("after a restart: %v, %v", again, err)
	}
	untouched(t)
}

// A new client CA lets its clients in and no others.
func TestClientCA(t *testing.T) {
	a := setUp(t, nil)
	a.bootstrapKubeconfig(t, "eeeeee")
	a.start(t)
	a.ready(t)
	other := newAuthority(t, "other-ca")
	code := func(by *authority) int {
		cert, key := by.client(t, "somebody", []string{"system:masters"}, patience)
		pair, err := tls.X509KeyPair(cert, key)
		bedtest.Must(t, "reading a certificate", err)
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
			InsecureSkipVerify: true, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil },
		}}}
		resp, err := client.Get(a.AgentURL() + "/pods")
		if err != nil {
			t.Logf("asking for pods: %v", err)
			return 0
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	mine := a.authority(t)
	if in, out := code(mine), code(other); in != http.StatusOK || out != http.StatusUnauthorized {
		t.Errorf("the old CA's client gets %d, the new one's %d", in, out)
	}
	bedtest.Must(t, "writing the CA", os.WriteFile(files.clientCA+".new", other.pem(), 0o600))
	bedtest.Must(t, "writing the CA", os.Rename(files.clientCA+".new", files.clientCA))
	eventually(t, "200 for the new CA's client and 401 for the old one's", func() bool {
		return code(other) == http.StatusOK && code(mine) == http.StatusUnauthorized
	})
	copyFile(t, filepath.Join(a.Dir, "pki", "ca.crt"), files.clientCA)
	eventually(t, "200 for the old CA's client again", func() bool { return code(mine) == http.StatusOK })
	untouched := a.workload(t, "ca")
	if out, err := a.Kubectl(t.Context(), "logs", "ca", "--tail=1"); err != nil || out == "" {
		t.Errorf("logs: %q, %v", out, err)
	}
	untouched(t)
}
