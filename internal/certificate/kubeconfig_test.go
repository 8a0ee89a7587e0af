package certificate

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const plainKubeconfig = `apiVersion: v1
kind: Config
current-context: x
clusters: [{name: c, cluster: {server: "https://api:6443", certificate-authority: ca.crt}}]
users: [{name: u, user: {client-certificate: pki/node.pem, client-key: pki/node.pem}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
`

func TestLoadKubeconfig(t *testing.T) {
	ca, dir := newAuthority(t, "ca"), t.TempDir()
	path := dir + "/kubelet.conf"
	cert, key := ca.issue(t, time.Hour)
	must(t, os.WriteFile(path, []byte(plainKubeconfig), 0o600), os.WriteFile(dir+"/ca.crt", certPEM(ca.cert.Raw), 0o600))
	k, err := loadKubeconfig(path)
	must(t, err)
	if k.pair != nil || k.pairErr == nil || k.rest.Host != "https://api:6443" || k.otherwise() || k.certFile != dir+"/pki/node.pem" {
		t.Errorf("without its certificate: %+v", k)
	}
	must(t, os.Mkdir(dir+"/pki", 0o700), os.WriteFile(dir+"/pki/node.pem", append(cert, key...), 0o600))
	same, err := loadKubeconfig(path)
	must(t, err)
	if same.pair == nil || same.pair.Leaf.Subject.CommonName != "system:node:n" || same.digest != k.digest {
		t.Errorf("with it: %+v", same)
	}
	must(t, os.WriteFile(dir+"/ca.crt", certPEM(newAuthority(t, "ca").cert.Raw), 0o600))
	if other, err := loadKubeconfig(path); err != nil || other.digest == k.digest {
		t.Errorf("another CA has the same digest: %v", err)
	}
}

func TestLoadKubeconfigHostile(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/ca.crt", certPEM(newAuthority(t, "ca").cert.Raw), 0o600))
	for name, c := range map[string]struct {
		text string
		make func(path string) error
		says string
	}{
		"missing":           {make: func(string) error { return nil }, says: "no such file"},
		"empty":             {text: "", says: "current-context"},
		"garbage":           {text: "\x00\x01{{{", says: "kubelet.conf"},
		"a pipe":            {make: func(path string) error { return syscall.Mkfifo(path, 0o600) }, says: "no regular file"},
		"a directory":       {make: func(path string) error { return os.Mkdir(path, 0o700) }, says: "no regular file"},
		"a device":          {make: func(path string) error { return os.Symlink("/dev/zero", path) }, says: "no regular file"},
		"huge":              {make: func(path string) error { return os.WriteFile(path, make([]byte, maxFileBytes+1), 0o600) }, says: "larger than"},
		"no such context":   {text: strings.Replace(plainKubeconfig, "current-context: x", "current-context: z", 1), says: `"z"`},
		"no such cluster":   {text: strings.Replace(plainKubeconfig, "cluster: c,", "cluster: d,", 1), says: `"d"`},
		"no CA file":        {text: strings.Replace(plainKubeconfig, "ca.crt", "none.crt", 1), says: "none.crt"},
		"two ways at once":  {text: strings.Replace(plainKubeconfig, "user: {", "user: {token: a, username: b, password: c, ", 1), says: "more than one authentication method"},
		"null in the lists": {text: strings.Replace(plainKubeconfig, "clusters: [", "clusters: [null, ", 1), says: ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := dir + "/kubelet.conf"
			must(t, os.RemoveAll(path))
			if c.make == nil {
				c.make = func(path string) error { return os.WriteFile(path, []byte(c.text), 0o600) }
			}
			must(t, c.make(path))
			k, err := loadKubeconfig(path)
			if c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("got %+v, %v, want %q", k, err, c.says)
			}
		})
	}
}

// The kubeconfig that is made has nothing of the bootstrap credential.
func TestDerived(t *testing.T) {
	n := newNode(t, newAPIServer(t), true)
	n.kubeconfig(t, n.cfg.BootstrapKubeconfig, clientcmdapi.AuthInfo{Token: "good"})
	boot, err := loadKubeconfig(n.cfg.BootstrapKubeconfig)
	must(t, err)
	text, err := boot.derived(n.pem())
	must(t, err)
	if strings.Contains(string(text), "good") {
		t.Errorf("the token is in\n%s", text)
	}
	must(t, writeSecret(n.cfg.Kubeconfig, text))
	info, err := os.Stat(n.cfg.Kubeconfig)
	must(t, err)
	if info.Mode() != 0o600 {
		t.Errorf("the mode is %v", info.Mode())
	}
	config, err := clientcmd.Load(text)
	must(t, err)
	if c := config.Clusters["default-cluster"]; c.Server != n.api.URL || len(c.CertificateAuthorityData) == 0 || c.CertificateAuthority != "" {
		t.Errorf("the cluster is %+v", c)
	}
	if names := listing(t, n.dir); len(names) != 2 {
		t.Errorf("in the directory: %v", names)
	}
}

// A kubeconfig that is a link stays one, and its target is replaced.
func TestWriteSecretThroughALink(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(dir+"/real", 0o700), os.WriteFile(dir+"/real/k", []byte("old"), 0o600), os.Symlink("real/k", dir+"/k"))
	must(t, writeSecret(dir+"/k", []byte("new")))
	if text, err := os.ReadFile(dir + "/real/k"); err != nil || string(text) != "new" || linked(t, dir+"/k") != "k" {
		t.Errorf("%q, %v", text, err)
	}
}
