package certificate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/go-logr/zapr"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/certificate"
	"k8s.io/klog/v2"
)

// errNoServing is what handshakes get before there is a certificate, in the
// kubelet's words.
var errNoServing = errors.New("no serving certificate available for the kubelet")

// ServingConfig says for whom a serving certificate is asked (serverTLSBootstrap).
type ServingConfig struct {
	NodeName string
	// Client asks for it, as the node.
	Client kubernetes.Interface
	// Addresses are the node's, as its status has them now. Another list makes
	// another request.
	Addresses func() []corev1.NodeAddress
	// DNSOnly also asks while there is no IP (gate AllowDNSOnlyNodeCSR).
	DNSOnly bool
	// CertDir is --cert-dir. CertFile and KeyFile are served until there is a
	// pair in it; they may be empty (tlsCertFile, tlsPrivateKeyFile).
	CertDir           string
	CertFile, KeyFile string
}

// Serving is a serving certificate that the cluster signs and that is renewed in
// time. Somebody has to approve its requests.
type Serving struct {
	cfg     ServingConfig
	manager certificate.Manager
	figures servingFigures
	log     *zap.Logger // what is said again and again
}

// NewServing reads the certificate that is there, if there is one.
func NewServing(cfg ServingConfig, log *zap.Logger) (*Serving, error) {
	pairs, err := newStore(cfg.CertDir, serverPrefix, cfg.CertFile, cfg.KeyFile, log, nil)
	if err != nil {
		return nil, err
	}
	s := &Serving{cfg: cfg, figures: newServingFigures(), log: quietly(log)}
	quiet := klog.NewContext(context.Background(), zapr.NewLogger(s.log))
	s.manager, err = certificate.NewManager(&certificate.Config{
		Ctx:         &quiet,
		ClientsetFn: func(*tls.Certificate) (kubernetes.Interface, error) { return cfg.Client, nil },
		GetTemplate: s.template,
		SignerName:  certificatesv1.KubeletServingSignerName,
		GetUsages:   certificate.DefaultKubeletServingGetUsages, CertificateStore: told{pairs, log},
		CertificateRotation: s.figures.rotations, CertificateRenewFailure: s.figures.failures,
	})
	if err != nil {
		return nil, fmt.Errorf("preparing requests for a serving certificate (serverTLSBootstrap): %w", err)
	}
	return s, nil
}

// GetCertificate implements crypto/tls.Config.GetCertificate.
func (s *Serving) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if pair := s.manager.Current(); pair != nil {
		return pair, nil
	}
	s.log.Warn("somebody has called and was sent away, since there is no serving certificate available for the kubelet: "+
		"its request has to be approved (kubectl get csr, kubectl certificate approve NAME); logs, exec and metrics do not work before",
		zap.String("signer", certificatesv1.KubeletServingSignerName))
	return nil, errNoServing
}

// Run asks for certificates until ctx ends. It has to be called once; the error
// is always nil.
func (s *Serving) Run(ctx context.Context) error {
	s.manager.Start()
	<-ctx.Done()
	s.manager.Stop()
	return nil
}

// Collectors are the figures about it, under the kubelet's names.
func (s *Serving) Collectors() []prometheus.Collector {
	return []prometheus.Collector{s.figures.failures, s.figures.rotations,
		ttl("server", "the Kubelet's serving certificate", func() *x509.Certificate { return leafOf(s.manager.Current()) })}
}

// template is what is asked for now, nil while the node has no address.
func (s *Serving) template() *x509.CertificateRequest {
	names, ips := alternatives(s.cfg.Addresses())
	if len(ips) == 0 && (len(names) == 0 || !s.cfg.DNSOnly) {
		return nil
	}
	return &x509.CertificateRequest{Subject: subject(s.cfg.NodeName), DNSNames: names, IPAddresses: ips}
}

// alternatives are the names and addresses that a node is reached by, each once
// and sorted.
func alternatives(addresses []corev1.NodeAddress) (names []string, ips []net.IP) {
	var found []string
	for _, a := range addresses {
		ip, err := netip.ParseAddr(a.Address)
		switch a.Type {
		case corev1.NodeHostName, corev1.NodeExternalDNS, corev1.NodeInternalDNS:
			if err == nil && a.Type == corev1.NodeHostName {
				found = append(found, ip.String())
			} else if a.Address != "" {
				names = append(names, a.Address)
			}
		case corev1.NodeExternalIP, corev1.NodeInternalIP:
			if err == nil {
				found = append(found, ip.String())
			}
		}
	}
	slices.Sort(names)
	slices.Sort(found)
	for _, text := range slices.Compact(found) {
		ips = append(ips, net.ParseIP(text))
	}
	return slices.Compact(names), ips
}

// told is a store that logs what is put into it.
type told struct {
	*store
	log *zap.Logger
}

// Update implements certificate.Store.
func (t told) Update(cert, key []byte) (*tls.Certificate, error) {
	pair, err := t.store.Update(cert, key)
	if err == nil {
		t.log.Info("the cluster has signed a serving certificate", zap.Strings("names", pair.Leaf.DNSNames),
			zap.Stringers("addresses", pair.Leaf.IPAddresses), zap.Stringer("issuer", pair.Leaf.Issuer), zap.Time("until", pair.Leaf.NotAfter))
	}
	return pair, err
}
