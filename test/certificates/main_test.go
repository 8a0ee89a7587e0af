//go:build e2e

package certificates

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// patience bounds what takes as long as the machine is slow.
const patience = 90 * time.Second

var rotations = flag.Int("rotations", 1, "how many rotations TestRotation waits for")

// files are where the agent's flags point to. They are ours, not the bed's.
var files struct{ dir, kubeconfig, bootstrap, clientCA string }

var shared bedtest.Shared

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "certificates-")
	if err != nil {
		panic(err)
	}
	files.dir = dir
	files.kubeconfig, files.bootstrap, files.clientCA = dir+"/kubelet.conf", dir+"/bootstrap-kubelet.conf", dir+"/client-ca.crt"
	shared.Options = bed.Options{
		Agent:                 bed.NoAgent,
		AgentArgs:             []string{"--kubeconfig=" + files.kubeconfig, "--bootstrap-kubeconfig=" + files.bootstrap},
		APIServerArgs:         []string{"--enable-bootstrap-token-auth=true"},
		ControllerManagerArgs: []string{"--cluster-signing-duration=2m"},
	}
	code := shared.Run(m)
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// agentName is the agent that the tests are about.
func agentName() string {
	if name := os.Getenv(bed.AgentEnv); name != "" {
		return name
	}
	return bed.Nodeagent
}

// onlyNodeagent skips what is said to be otherwise under the kubelet.
func onlyNodeagent(t *testing.T) {
	t.Helper()
	if agentName() != bed.Nodeagent {
		t.Skip("the kubelet ends when its certificate has expired: docs/adr/0015")
	}
}

var rights sync.Once

// cluster returns the shared bed, in which bootstrap tokens are good for a
// certificate, as in clusters made by kubeadm.
func cluster(t *testing.T) *bed.Bed {
	t.Helper()
	b := shared.Bed(t)
	rights.Do(func() {
		for name, who := range map[string]string{
			"system:node-bootstrapper": "system:bootstrappers",
			"system:certificates.k8s.io:certificatesigningrequests:nodeclient":     "system:bootstrappers",
			"system:certificates.k8s.io:certificatesigningrequests:selfnodeclient": "system:nodes",
		} {
			bind(t, b, name, who)
		}
	})
	return b
}

// bind gives a group a cluster role.
func bind(t *testing.T, b *bed.Bed, role, group string) {
	t.Helper()
	_, err := b.Client().RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: strings.ReplaceAll(role, ":", "-")},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: group}},
	}, metav1.CreateOptions{})
	bedtest.Must(t, "binding "+role, err)
}

func unbind(t *testing.T, b *bed.Bed, role string) {
	t.Helper()
	err := b.Client().RbacV1().ClusterRoleBindings().Delete(t.Context(), strings.ReplaceAll(role, ":", "-"), metav1.DeleteOptions{})
	bedtest.Must(t, "unbinding "+role, err)
}

// agent is the agent of a test, which begins without any file of an earlier one.
type agent struct {
	*bed.Bed
	pki string
	log int // where its log begins
}

// setUp stops the agent that runs and removes its credentials. change has the
// last word on the configuration of the next.
func setUp(t *testing.T, change func(config map[string]any)) *agent {
	t.Helper()
	b := cluster(t)
	bedtest.Must(t, "stopping the agent", b.SwitchAgent(t.Context(), bed.NoAgent))
	a := &agent{Bed: b, pki: filepath.Join(b.RootDir, "pki")}
	for _, path := range []string{a.pki, files.kubeconfig, files.bootstrap} {
		bedtest.Must(t, "removing credentials", os.RemoveAll(path))
	}
	bedtest.Must(t, "making the certificate directory", os.MkdirAll(a.pki, 0o755))
	copyFile(t, filepath.Join(b.Dir, "pki", "ca.crt"), files.clientCA)
	a.configure(t, change)
	return a
}

// configure writes the agent's configuration: with rotation, unless change says
// otherwise.
func (a *agent) configure(t *testing.T, change func(config map[string]any)) {
	t.Helper()
	text, err := os.ReadFile(a.KubeletConfig)
	bedtest.Must(t, "reading the configuration", err)
	config := map[string]any{}
	bedtest.Must(t, "reading the configuration", json.Unmarshal(text, &config))
	config["rotateCertificates"], config["serverTLSBootstrap"] = true, false
	config["tlsCertFile"], config["tlsPrivateKeyFile"] = filepath.Join(a.Dir, "pki/node-serving.crt"), filepath.Join(a.Dir, "pki/node-serving.key")
	config["authentication"].(map[string]any)["x509"] = map[string]any{"clientCAFile": files.clientCA}
	if change != nil {
		change(config)
	}
	text, err = json.Marshal(config)
	bedtest.Must(t, "writing the configuration", err)
	bedtest.Must(t, "writing the configuration", os.WriteFile(a.KubeletConfig, text, 0o600))
}

// start starts the agent, which need not become healthy without a credential.
func (a *agent) start(t *testing.T) {
	t.Helper()
	a.log = len(a.Component("agent").Log())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	bedtest.Must(t, "starting the agent", a.SwitchAgent(ctx, agentName()))
}

// said is what the agent has logged since its start.
func (a *agent) said() string { return a.Component("agent").Log()[a.log:] }

// ready waits for the node to be ready by what this agent says, not by what one
// before it has said.
func (a *agent) ready(t *testing.T) {
	t.Helper()
	a.heard(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	bedtest.Must(t, "waiting for the node", a.WaitNodeReady(ctx))
}

// heard waits for a lease that is renewed from now on.
func (a *agent) heard(t *testing.T) {
	t.Helper()
	from := time.Now()
	eventually(t, "a renewed lease", func() bool {
		l, err := a.Client().CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(t.Context(), a.NodeName, metav1.GetOptions{})
		return err == nil && l.Spec.RenewTime != nil && l.Spec.RenewTime.After(from)
	})
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !so(); <-tick.C {
		if time.Now().After(end) || t.Context().Err() != nil {
			t.Fatalf("no %s after %s", what, patience)
		}
	}
}

// bootstrapKubeconfig writes a kubeconfig with a bootstrap token that the API
// server knows.
func (a *agent) bootstrapKubeconfig(t *testing.T, id string) {
	t.Helper()
	const secret = "0123456789abcdef"
	_, err := a.Client().CoreV1().Secrets("kube-system").Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-" + id}, Type: corev1.SecretTypeBootstrapToken,
		StringData: map[string]string{"token-id": id, "token-secret": secret, "usage-bootstrap-authentication": "true"},
	}, metav1.CreateOptions{})
	bedtest.Must(t, "making a bootstrap token", err)
	t.Cleanup(func() {
		_ = a.Client().CoreV1().Secrets("kube-system").Delete(context.Background(), "bootstrap-token-"+id, metav1.DeleteOptions{})
	})
	a.kubeconfig(t, files.bootstrap, &clientcmdapi.AuthInfo{Token: id + "." + secret})
}

// kubeconfig writes one for the bed's API server, at once.
func (a *agent) kubeconfig(t *testing.T, path string, user *clientcmdapi.AuthInfo) {
	t.Helper()
	admin, err := a.RESTConfig()
	bedtest.Must(t, "reading the administrator's kubeconfig", err)
	config := clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: admin.Host, CertificateAuthority: filepath.Join(a.Dir, "pki", "ca.crt")}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": user},
		Contexts:       map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "x",
	}
	bedtest.Must(t, "writing a kubeconfig", clientcmd.WriteToFile(config, path+".new"))
	bedtest.Must(t, "writing a kubeconfig", os.Rename(path+".new", path))
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	bedtest.Must(t, "reading a file", err)
	bedtest.Must(t, "writing a file", os.WriteFile(to+".new", text, 0o600))
	bedtest.Must(t, "writing a file", os.Rename(to+".new", to))
}
