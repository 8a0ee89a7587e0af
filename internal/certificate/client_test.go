package certificate

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// only returns the one request there is.
func (s *apiServer) only(t *testing.T) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.requests) != 1 {
		t.Fatalf("%d requests", len(s.requests))
	}
	for _, r := range s.requests {
		return r.DeepCopy()
	}
	return nil
}

func (s *apiServer) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

func TestBootstrapWithRotation(t *testing.T) {
	n := newNode(t, newAPIServer(t), true)
	n.kubeconfig(t, n.cfg.BootstrapKubeconfig, clientcmdapi.AuthInfo{Token: "good"})
	c, stop := n.start(t)
	if _, err := os.Stat(n.cfg.Kubeconfig); err != nil {
		t.Errorf("the kubeconfig is not there from the beginning: %v", err)
	}
	eventually(t, "certificate that the server takes", accepted(t, c))
	r := n.api.only(t)
	if r.GenerateName != "csr-" || r.Spec.Username != "bootstrap" || r.Spec.SignerName != "kubernetes.io/kube-apiserver-client-kubelet" ||
		len(r.Spec.Usages) != 2 || r.Spec.Usages[0] != "digital signature" || r.Spec.Usages[1] != "client auth" {
		t.Errorf("the request is %+v", r)
	}
	config, err := clientcmd.LoadFromFile(n.cfg.Kubeconfig)
	must(t, err)
	if u := config.AuthInfos["default-auth"]; u == nil || u.ClientCertificate != n.pem() || u.ClientKey != n.pem() {
		t.Errorf("the user is %+v", u)
	}
	if name := linked(t, n.pem()); !regexp.MustCompile(`^kubelet-client-\d{4}(-\d\d){5}\.pem$`).MatchString(name) {
		t.Errorf("linked to %s", name)
	}
	stop()
	// The next start needs nobody.
	before := n.api.waiting()
	c, _ = n.start(t)
	if !accepted(t, c)() || n.api.waiting() != before {
		t.Error("the next start has not used what was there")
	}
}

func TestBootstrapWithoutRotation(t *testing.T) {
	n := newNode(t, newAPIServer(t), false)
	n.api.approve = false
	n.kubeconfig(t, n.cfg.BootstrapKubeconfig, clientcmdapi.AuthInfo{Token: "good"})
	_, stop := n.start(t)
	eventually(t, "request", func() bool { return n.api.waiting() == 1 })
	if r := n.api.only(t); !regexp.MustCompile(`^node-csr-[-_A-Za-z0-9]{43}$`).MatchString(r.Name) {
		t.Errorf("the request is named %s", r.Name)
	}
	stop()
	key, err := os.ReadFile(n.cfg.CertDir + "/kubelet-client.key.tmp")
	must(t, err)
	c, _ := n.start(t)
	n.api.set(func() { n.api.approve = true })
	eventually(t, "certificate that the server takes", accepted(t, c))
	n.api.only(t)
	text, err := os.ReadFile(n.pem())
	must(t, err)
	if !bytes.HasSuffix(text, key) {
		t.Error("the certificate has another key than the first request")
	}
	eventually(t, "end of the key that waited", func() bool {
		_, err := os.Stat(n.cfg.CertDir + "/kubelet-client.key.tmp")
		return gone(err)
	})
}

// Whatever a crash leaves between two files of a bootstrap, the next start ends
// with one certificate, and asks again only if it has to.
func TestBootstrapAfterACut(t *testing.T) {
	for name, cut := range map[string]func(t *testing.T, n *node, key []byte){
		"before the kubeconfig": func(t *testing.T, n *node, _ []byte) { must(t, os.Remove(n.cfg.Kubeconfig)) },
		"before the key is removed": func(t *testing.T, n *node, key []byte) {
			must(t, os.Remove(n.cfg.Kubeconfig), os.WriteFile(n.cfg.CertDir+"/"+pendingKey, key, 0o600))
		},
		"before the link": func(t *testing.T, n *node, key []byte) {
			must(t, os.Remove(n.cfg.Kubeconfig), os.WriteFile(n.cfg.CertDir+"/"+pendingKey, key, 0o600), os.Remove(n.pem()))
		},
		"half a key": func(t *testing.T, n *node, key []byte) {
			must(t, os.Remove(n.cfg.Kubeconfig), os.WriteFile(n.cfg.CertDir+"/"+pendingKey, key[:40], 0o600), os.Remove(n.pem()))
		},
		"half a kubeconfig":           func(t *testing.T, n *node, _ []byte) { must(t, os.Truncate(n.cfg.Kubeconfig, 100)) },
		"an empty kubeconfig":         func(t *testing.T, n *node, _ []byte) { must(t, os.Truncate(n.cfg.Kubeconfig, 0)) },
		"everything is there":         func(t *testing.T, n *node, _ []byte) {},
		"the certificates were wiped": func(t *testing.T, n *node, _ []byte) { must(t, os.RemoveAll(n.cfg.CertDir)) },
	} {
		for _, rotate := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", rotation"}[rotate], func(t *testing.T) {
				n := newNode(t, newAPIServer(t), rotate)
				n.kubeconfig(t, n.cfg.BootstrapKubeconfig, clientcmdapi.AuthInfo{Token: "good"})
				c, stop := n.start(t)
				eventually(t, "certificate", accepted(t, c))
				stop()
				text, err := os.ReadFile(n.pem())
				must(t, err)
				cut(t, n, text[bytes.Index(text, []byte("-----BEGIN EC")):])
				c, _ = n.start(t)
				eventually(t, "certificate after the cut", accepted(t, c))
				eventually(t, "whole kubeconfig", func() bool {
					k, err := loadKubeconfig(n.cfg.Kubeconfig)
					return err == nil && k.pair != nil
				})
				if got := n.api.waiting(); got > 2 {
					t.Errorf("%d requests", got)
				}
			})
		}
	}
}

// An answer to a request that can never be good any more: another key.
func TestBootstrapDenied(t *testing.T) {
	n := newNode(t, newAPIServer(t), false)
	n.api.approve = false
	n.kubeconfig(t, n.cfg.BootstrapKubeconfig, clientcmdapi.AuthInfo{Token: "good"})
	c, _ := n.start(t)
	eventually(t, "request", func() bool { return n.api.waiting() == 1 })
	n.api.set(func() {
		for _, r := range n.api.requests {
			r.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateDenied, Status: "True", Reason: "No"}}
			r.ResourceVersion = "2"
		}
	})
	n.api.set(func() { n.api.approve = true })
	eventually(t, "certificate after a denial", accepted(t, c))
	if got := n.api.waiting(); got != 2 {
		t.Errorf("%d requests", got)
	}
	if n.logs.FilterMessageSnippet("cannot get a client certificate").Len() != 1 {
		t.Errorf("the log: %v", n.logs.All())
	}
}

// The library's rotation stores a new pair, and calls use it.
func TestRotation(t *testing.T) {
	n := newNode(t, newAPIServer(t), true)
	cert, key := n.api.ca.issue(t, time.Minute) // of an hour and a minute: it is time
	n.put(t, [][]byte{cert, key})
	n.kubeconfig(t, n.cfg.Kubeconfig, clientcmdapi.AuthInfo{ClientCertificate: n.pem(), ClientKey: n.pem()})
	n.cfg.BootstrapKubeconfig = ""
	c, _ := n.start(t)
	if !accepted(t, c)() {
		t.Error("the certificate from before is not used")
	}
	eventually(t, "renewed certificate", func() bool {
		pair := c.shown.Load()
		return pair != nil && !bytes.Equal(certPEM(pair.Certificate[0]), cert)
	})
	if r := n.api.only(t); r.Spec.Username != "system:node:n" {
		t.Errorf("asked for by %s", r.Spec.Username)
	}
	if !accepted(t, c)() {
		t.Error("the new certificate is not used")
	}
	if got := figure(t, c.Collectors()[1]); got < 3500 || got > 3600 {
		t.Errorf("it ends in %v seconds", got)
	}
}

// A kubeconfig with a certificate in it, as kubeadm makes it on control planes,
// is replaced by one of the node's own.
func TestRotationOfInlineData(t *testing.T) {
	n := newNode(t, newAPIServer(t), true)
	cert, key := n.api.ca.issue(t, 24*time.Hour)
	n.kubeconfig(t, n.cfg.Kubeconfig, clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key})
	before, err := os.ReadFile(n.cfg.Kubeconfig)
	must(t, err)
	c, _ := n.start(t)
	eventually(t, "certificate of its own", func() bool {
		pair := c.shown.Load()
		return pair != nil && !bytes.Equal(certPEM(pair.Certificate[0]), cert)
	})
	if after, err := os.ReadFile(n.cfg.Kubeconfig); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the kubeconfig is now %s, %v", after, err)
	}
	if names := listing(t, n.cfg.CertDir); len(names) != 3 {
		t.Errorf("in the directory: %v", names)
	}
}

// Every way out of a certificate that has expired, while the agent runs.
func TestRecovery(t *testing.T) {
	for _, rotate := range []bool{false, true} {
		for name, repair := range map[string]func(t *testing.T, n *node){
			"a new pem": func(t *testing.T, n *node) { n.put(t, n.issue(t)) },
			"a new pem in the link's place": func(t *testing.T, n *node) {
				pair := n.issue(t)
				must(t, os.WriteFile(n.pem()+".x", append(pair[0], pair[1]...), 0o600), os.Rename(n.pem()+".x", n.pem()))
			},
			"a new pem in the same file": func(t *testing.T, n *node) {
				pair := n.issue(t)
				must(t, os.WriteFile(n.pem(), append(pair[0], pair[1]...), 0o600))
			},
			"a new kubeconfig": func(t *testing.T, n *node) {
				pair := n.issue(t)
				n.kubeconfig(t, n.cfg.Kubeconfig, clientcmdapi.AuthInfo{ClientCertificateData: pair[0], ClientKeyData: pair[1]})
			},
			"a bootstrap kubeconfig": func(t *testing.T, n *node) {
				n.kubeconfig(t, n.cfg.BootstrapKubeconfig, clientcmdapi.AuthInfo{Token: "good"})
			},
			"another token": func(t *testing.T, n *node) {
				n.kubeconfig(t, n.cfg.BootstrapKubeconfig, clientcmdapi.AuthInfo{Token: "bad"})
				eventually(t, "use of the token", func() bool { return n.api.count("") > 0 })
				n.kubeconfig(t, n.cfg.BootstrapKubeconfig, clientcmdapi.AuthInfo{Token: "good"})
			},
		} {
			t.Run(name+map[bool]string{true: ", rotation"}[rotate], func(t *testing.T) {
				t.Parallel()
				n := newNode(t, newAPIServer(t), rotate)
				n.put(t, n.expired(t))
				n.kubeconfig(t, n.cfg.Kubeconfig, clientcmdapi.AuthInfo{ClientCertificate: n.pem(), ClientKey: n.pem()})
				c, _ := n.start(t)
				if _, err := ask(t, c); err == nil || !strings.Contains(err.Error(), "401") {
					t.Errorf("with an expired certificate: %v", err)
				}
				if got := figure(t, c.Collectors()[1]); got > -59 || got < -120 {
					t.Errorf("it has ended %v seconds ago", got)
				}
				repair(t, n)
				eventually(t, "certificate that the server takes", accepted(t, c))
				loud := n.logs.FilterLevelExact(zap.ErrorLevel).FilterMessageSnippet("has expired at").Len()
				if loud < 1 || loud > 3 {
					t.Errorf("the log speaks of it %d times: %v", loud, n.logs.All())
				}
				eventually(t, "word of the recovery", func() bool { return n.logs.FilterMessageSnippet("again").Len() == 1 })
			})
		}
	}
}

// A cluster that has got another CA refuses a certificate that is good by its
// dates. A bootstrap kubeconfig, or one with a newer certificate, is the way out.
func TestRefused(t *testing.T) {
	for _, rotate := range []bool{false, true} {
		for name, repair := range map[string]func(t *testing.T, n *node){
			"a bootstrap kubeconfig": func(t *testing.T, n *node) {
				n.kubeconfig(t, n.cfg.BootstrapKubeconfig, clientcmdapi.AuthInfo{Token: "good"})
			},
			"a new kubeconfig": func(t *testing.T, n *node) {
				pair := n.issue(t)
				n.kubeconfig(t, n.cfg.Kubeconfig, clientcmdapi.AuthInfo{ClientCertificateData: pair[0], ClientKeyData: pair[1]})
			},
			"a new pem": func(t *testing.T, n *node) { n.put(t, n.issue(t)) },
		} {
			t.Run(name+map[bool]string{true: ", rotation"}[rotate], func(t *testing.T) {
				t.Parallel()
				n := newNode(t, newAPIServer(t), rotate)
				cert, key := newAuthority(t, "another").issue(t, 24*time.Hour)
				n.put(t, [][]byte{cert, key})
				n.kubeconfig(t, n.cfg.Kubeconfig, clientcmdapi.AuthInfo{ClientCertificate: n.pem(), ClientKey: n.pem()})
				c, _ := n.start(t)
				eventually(t, "word of the refusal", func() bool {
					_, _ = ask(t, c)
					return n.logs.FilterMessageSnippet("401 Unauthorized").Len() > 0
				})
				repair(t, n)
				eventually(t, "certificate that the server takes", accepted(t, c))
			})
		}
	}
}

// issue and expired are pairs of the node.
func (n *node) issue(t *testing.T) [][]byte {
	t.Helper()
	cert, key := n.api.ca.issue(t, 24*time.Hour)
	return [][]byte{cert, key}
}

func (n *node) expired(t *testing.T) [][]byte {
	t.Helper()
	cert, key := n.api.ca.issue(t, -time.Minute)
	return [][]byte{cert, key}
}

// What was read stays in use when files vanish or are half written.
func TestFilesVanish(t *testing.T) {
	for _, rotate := range []bool{false, true} {
		n := newNode(t, newAPIServer(t), rotate)
		n.cfg.BootstrapKubeconfig = ""
		n.put(t, n.issue(t))
		n.kubeconfig(t, n.cfg.Kubeconfig, clientcmdapi.AuthInfo{ClientCertificate: n.pem(), ClientKey: n.pem()})
		c, err := New(n.cfg, n.log)
		must(t, err)
		t.Cleanup(c.sw.close)
		for _, harm := range []func() error{
			func() error { return os.Truncate(n.pem(), 100) },
			func() error { return os.Truncate(n.cfg.Kubeconfig, 50) },
			func() error { return os.RemoveAll(n.cfg.CertDir) },
			func() error { return os.Remove(n.cfg.Kubeconfig) },
		} {
			must(t, harm())
			for range 3 {
				c.refresh()
			}
			if !accepted(t, c)() {
				t.Error("what was read is not used any more")
			}
		}
		if warned := n.logs.FilterLevelExact(zap.WarnLevel).Len(); warned < 1 || warned > 8 {
			t.Errorf("%d warnings: %v", warned, n.logs.All())
		}
		if n.logs.FilterLevelExact(zap.ErrorLevel).Len() > 0 {
			t.Errorf("errors: %v", n.logs.All())
		}
	}
}

func TestNewWithoutAnything(t *testing.T) {
	n := newNode(t, newAPIServer(t), true)
	for _, c := range []struct {
		boot string
		says []string
	}{
		{"", []string{n.cfg.Kubeconfig, "--kubeconfig"}},
		{n.cfg.BootstrapKubeconfig, []string{n.cfg.Kubeconfig, n.cfg.BootstrapKubeconfig, "--bootstrap-kubeconfig"}},
	} {
		cfg := n.cfg
		cfg.BootstrapKubeconfig = c.boot
		_, err := New(cfg, zap.NewNop())
		for _, text := range c.says {
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%v does not say %q", err, text)
			}
		}
	}
}

// Secrets are in no line of the log.
func TestLogHasNoSecrets(t *testing.T) {
	n := newNode(t, newAPIServer(t), true)
	n.kubeconfig(t, n.cfg.BootstrapKubeconfig, clientcmdapi.AuthInfo{Token: "good-secret-token"})
	_, stop := n.start(t)
	eventually(t, "refused token", func() bool { return n.api.count("") > 0 })
	stop()
	for _, e := range n.logs.All() {
		line := e.Message
		for _, v := range e.ContextMap() {
			line += " " + strings.TrimSpace(strings.ReplaceAll(fmt.Sprint(v), "\n", " "))
		}
		if strings.Contains(line, "good-secret-token") || strings.Contains(line, "PRIVATE KEY") {
			t.Errorf("the log says %s", line)
		}
	}
}
