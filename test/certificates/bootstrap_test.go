//go:build e2e

package certificates

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// client signs for nodes that want to talk to the API server, serving for their
// own port.
const (
	clientSigner  = certificatesv1.KubeAPIServerClientKubeletSignerName
	servingSigner = certificatesv1.KubeletServingSignerName
)

// requests returns the certificate requests for a signer, and forgets them for
// the next test.
func (a *agent) requests(t *testing.T, signer string) []certificatesv1.CertificateSigningRequest {
	t.Helper()
	list, err := a.Client().CertificatesV1().CertificateSigningRequests().List(t.Context(), metav1.ListOptions{FieldSelector: "spec.signerName=" + signer})
	bedtest.Must(t, "listing certificate requests", err)
	return list.Items
}

func (a *agent) forgetRequests(t *testing.T) {
	t.Helper()
	bedtest.Must(t, "deleting certificate requests",
		a.Client().CertificatesV1().CertificateSigningRequests().DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}))
}

func (a *agent) approve(t *testing.T, r *certificatesv1.CertificateSigningRequest) {
	t.Helper()
	r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "Test",
	})
	_, err := a.Client().CertificatesV1().CertificateSigningRequests().UpdateApproval(t.Context(), r.Name, r, metav1.UpdateOptions{})
	bedtest.Must(t, "approving "+r.Name, err)
}

// pem is the newest client certificate on the disk.
func (a *agent) pem() string { return filepath.Join(a.pki, "kubelet-client-current.pem") }

// shape checks that files look as the kubelet leaves them.
func (a *agent) shape(t *testing.T) {
	t.Helper()
	target, err := os.Readlink(a.pem())
	bedtest.Must(t, "reading the link to the certificate", err)
	if !regexp.MustCompile(`^` + a.pki + `/kubelet-client-\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d\.pem$`).MatchString(target) {
		t.Errorf("the link leads to %s", target)
	}
	info, err := os.Stat(a.pem())
	bedtest.Must(t, "looking at the certificate", err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the certificate has the mode %v", info.Mode())
	}
	text, err := os.ReadFile(a.pem())
	bedtest.Must(t, "reading the certificate", err)
	if !regexp.MustCompile(`(?s)^-----BEGIN CERTIFICATE-----.*-----BEGIN EC PRIVATE KEY-----.*-----END EC PRIVATE KEY-----\n$`).Match(text) {
		t.Error("the file is not a certificate and then its EC key")
	}
	if _, err := os.Lstat(filepath.Join(a.pki, "kubelet-client.key.tmp")); err == nil {
		t.Error("the key of the request is still there")
	}
	config, err := clientcmd.LoadFromFile(files.kubeconfig)
	bedtest.Must(t, "reading the kubeconfig", err)
	admin, err := a.RESTConfig()
	bedtest.Must(t, "reading the administrator's kubeconfig", err)
	user, cluster, context := config.AuthInfos["default-auth"], config.Clusters["default-cluster"], config.Contexts["default-context"]
	if len(config.AuthInfos)+len(config.Clusters)+len(config.Contexts) != 3 || config.CurrentContext != "default-context" ||
		user == nil || user.ClientCertificate != a.pem() || user.ClientKey != a.pem() || user.Token != "" ||
		cluster == nil || cluster.Server != admin.Host || cluster.CertificateAuthority != filepath.Join(a.Dir, "pki/ca.crt") ||
		context == nil || context.AuthInfo != "default-auth" || context.Cluster != "default-cluster" || context.Namespace != "default" {
		t.Errorf("the kubeconfig is %+v, with %+v and %+v", config, user, cluster)
	}
}

// asked checks a request for a client certificate.
func (a *agent) asked(t *testing.T, r *certificatesv1.CertificateSigningRequest, user, name string) {
	t.Helper()
	usages := []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth}
	if r.Spec.Username != user || !regexp.MustCompile(name).MatchString(r.Name) || !slices.Equal(r.Spec.Usages, usages) || r.Spec.ExpirationSeconds != nil {
		t.Errorf("the request %s of %s wants %v (seconds: %v), want one of %s named %s for %v",
			r.Name, r.Spec.Username, r.Spec.Usages, r.Spec.ExpirationSeconds, user, name, usages)
	}
}

// A node joins with a token; either agent goes on with what the other has left.
func TestBootstrap(t *testing.T) {
	a := setUp(t, nil)
	a.forgetRequests(t)
	a.bootstrapKubeconfig(t, "aaaaaa")
	a.start(t)
	a.ready(t)
	a.shape(t)
	pair, err := tls.LoadX509KeyPair(a.pem(), a.pem())
	bedtest.Must(t, "loading the certificate", err)
	if s := pair.Leaf.Subject; s.CommonName != "system:node:"+a.NodeName || !slices.Equal(s.Organization, []string{"system:nodes"}) { //nolint:misspell // the library's word
		t.Errorf("the certificate is for %s", s)
	}
	first := a.requests(t, clientSigner)
	slices.SortFunc(first, func(x, y certificatesv1.CertificateSigningRequest) int {
		return x.CreationTimestamp.Compare(y.CreationTimestamp.Time)
	})
	if len(first) == 0 {
		t.Fatal("there is no request")
	}
	a.asked(t, &first[0], "system:bootstrap:aaaaaa", `^csr-[a-z0-9]{5}$`)

	other := map[string]string{bed.Nodeagent: bed.Kubelet, bed.Kubelet: bed.Nodeagent}[agentName()]
	bedtest.Must(t, "removing the bootstrap kubeconfig", os.Remove(files.bootstrap))
	bedtest.Must(t, "switching to "+other, a.SwitchAgent(t.Context(), other))
	a.ready(t)
	a.shape(t)
	for _, r := range a.requests(t, clientSigner) {
		if r.CreationTimestamp.After(first[0].CreationTimestamp.Time) && !strings.HasPrefix(r.Spec.Username, "system:node:") {
			t.Errorf("%s has asked for a certificate as %s", other, r.Spec.Username)
		}
	}
}

// Without rotation one request is made under a name that says what it is for,
// and a new start goes on with it.
func TestBootstrapWithoutRotation(t *testing.T) {
	a := setUp(t, func(config map[string]any) { config["rotateCertificates"] = false })
	a.forgetRequests(t)
	const approver = "system:certificates.k8s.io:certificatesigningrequests:nodeclient"
	unbind(t, a.Bed, approver)
	defer bind(t, a.Bed, approver, "system:bootstrappers")
	a.bootstrapKubeconfig(t, "bbbbbb")
	// The kubelet does nothing else before it has a certificate.
	launch := func() { bedtest.Must(t, "starting the agent", a.LaunchAgent(t.Context(), agentName())) }
	launch()
	var all []certificatesv1.CertificateSigningRequest
	eventually(t, "request", func() bool { all = a.requests(t, clientSigner); return len(all) > 0 })
	a.asked(t, &all[0], "system:bootstrap:bbbbbb", `^node-csr-[-_A-Za-z0-9]{43}$`)
	pending := filepath.Join(a.pki, "kubelet-client.key.tmp")
	key, err := os.ReadFile(pending)
	bedtest.Must(t, "reading the key of the request", err)

	bedtest.Must(t, "killing the agent", a.Component("agent").Kill(t.Context()))
	launch()
	a.approve(t, &all[0])
	a.ready(t)
	a.shape(t)
	if again := a.requests(t, clientSigner); len(again) != 1 || again[0].UID != all[0].UID {
		t.Errorf("there are %d requests", len(again))
	}
	text, err := os.ReadFile(a.pem())
	bedtest.Must(t, "reading the certificate", err)
	if !strings.HasSuffix(string(text), string(key)) {
		t.Error("the certificate has another key than the first request")
	}
}
