package certificate

import (
	"crypto/tls"
	"slices"
	"sync/atomic"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func TestAlternatives(t *testing.T) {
	names, ips := alternatives([]corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: "10.0.0.2"}, {Type: corev1.NodeExternalIP, Address: "2001:db8::1"},
		{Type: corev1.NodeInternalIP, Address: "10.0.0.1"}, {Type: corev1.NodeInternalIP, Address: "10.0.0.2"},
		{Type: corev1.NodeInternalIP, Address: "no-ip"}, {Type: corev1.NodeHostName, Address: "n"},
		{Type: corev1.NodeHostName, Address: "10.0.0.3"}, {Type: corev1.NodeInternalDNS, Address: "n.internal"},
		{Type: corev1.NodeExternalDNS, Address: "n"}, {Type: corev1.NodeInternalDNS, Address: ""}, {Type: "Other", Address: "x"},
	})
	var texts []string
	for _, ip := range ips {
		texts = append(texts, ip.String())
	}
	if want := []string{"n", "n.internal"}; !slices.Equal(names, want) {
		t.Errorf("names %q, want %q", names, want)
	}
	if want := []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "2001:db8::1"}; !slices.Equal(texts, want) {
		t.Errorf("addresses %q, want %q", texts, want)
	}
}

// A serving certificate is asked for when the node has an address, is shown when
// it is signed, and is asked for again when the addresses change.
func TestServing(t *testing.T) {
	n := newNode(t, newAPIServer(t), true)
	n.api.approve = false
	client, err := kubernetes.NewForConfig(&rest.Config{Host: n.api.URL, BearerToken: "good", TLSClientConfig: rest.TLSClientConfig{CAData: certPEM(n.api.ca.cert.Raw)}})
	must(t, err)
	var addresses atomic.Pointer[[]corev1.NodeAddress]
	set := func(a ...corev1.NodeAddress) { addresses.Store(&a) }
	set(corev1.NodeAddress{Type: corev1.NodeHostName, Address: "n"})
	s, err := NewServing(ServingConfig{NodeName: "n", Client: client, CertDir: n.cfg.CertDir, Addresses: func() []corev1.NodeAddress { return *addresses.Load() }}, n.log)
	must(t, err)
	if s.template() != nil {
		t.Error("a certificate is asked for without an address")
	}
	background(t, s.Run)
	if _, err := s.GetCertificate(nil); err == nil || err.Error() != "no serving certificate available for the kubelet" {
		t.Errorf("before there is one: %v", err)
	}
	set(corev1.NodeAddress{Type: corev1.NodeHostName, Address: "n"}, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: "10.0.0.1"})
	eventually(t, "request", func() bool { return n.api.waiting() == 1 })
	if r := n.api.only(t); r.Spec.SignerName != certificatesv1.KubeletServingSignerName || len(r.Spec.Usages) != 2 || r.Spec.Usages[1] != certificatesv1.UsageServerAuth {
		t.Errorf("the request is %+v", r.Spec)
	}
	n.api.set(func() { n.api.approve = true })
	var first *tls.Certificate
	eventually(t, "certificate", func() bool { first, err = s.GetCertificate(nil); return err == nil })
	if first.Leaf.Subject.CommonName != "system:node:n" {
		t.Errorf("it is for %s", first.Leaf.Subject)
	}
	if name := linked(t, n.cfg.CertDir+"/kubelet-server-current.pem"); len(name) != len("kubelet-server-2026-01-01-00-00-00.pem") {
		t.Errorf("linked to %s", name)
	}
	set(corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: "10.0.0.9"})
	eventually(t, "second request", func() bool { return n.api.waiting() >= 2 })
	for i, name := range []string{"kubelet_server_expiration_renew_errors", "kubelet_certificate_manager_server_rotation_seconds", "kubelet_certificate_manager_server_ttl_seconds"} {
		if _, got := gathered(t, s.Collectors()[i]); got != name {
			t.Errorf("a figure is named %s, want %s", got, name)
		}
	}
}
