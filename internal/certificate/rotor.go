package certificate

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"time"

	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/client-go/util/certificate"
	"k8s.io/klog/v2"
)

// rotor is the library's Manager, made anew when files have changed.
type rotor struct {
	manager certificate.Manager
	// key is why the manager was made; another one makes another manager.
	key rotorKey
	err string // why there is none, once logged
}

// rotorKey is what a Manager has read when it was made, as far as somebody else
// than itself changes it.
type rotorKey struct {
	kube, boot [sha256.Size]byte
	refused    bool
}

func (r *rotor) stop() {
	if r.manager != nil {
		r.manager.Stop()
		r.manager = nil
	}
}

// subject is the node's, as certificates of nodes have it.
func subject(nodeName string) pkix.Name {
	return pkix.Name{CommonName: "system:node:" + nodeName, Organization: []string{"system:nodes"}} //nolint:misspell // a field of crypto/x509
}

// rotate keeps a Manager running that knows the newest files. One that has worked
// so far is left alone while nothing is wrong.
func (c *Client) rotate(ctx context.Context, f *facts, d *decision, foreign bool) {
	key := c.rotor.key
	if !d.usable {
		key = rotorKey{refused: d.refused && f.boot != nil}
		if f.kube != nil && f.kube.pair != nil {
			key.kube = sha256.Sum256(f.kube.pair.Certificate[0])
		}
		if f.boot != nil {
			key.boot = f.boot.digest
		}
	}
	if c.rotor.manager != nil && key == c.rotor.key && !foreign {
		return
	}
	c.rotor.stop()
	c.rotor.key = key
	c.store.refuse(key.refused && !d.usable)
	conf := &certificate.Config{
		ClientsetFn: c.requester,
		Template:    &x509.CertificateRequest{Subject: subject(c.cfg.NodeName)},
		SignerName:  certificatesv1.KubeAPIServerClientKubeletSignerName,
		GetUsages:   certificate.DefaultKubeletClientGetUsages, CertificateStore: c.store,
		CertificateRenewFailure: c.figures.failures,
	}
	if f.kubeErr == nil && f.kube.pair != nil && current(f.kube.pair.Leaf, f.now) && !key.refused {
		// What is part of a kubeconfig may be more powerful than a node's, and is
		// replaced at once.
		conf.BootstrapCertificatePEM, conf.BootstrapKeyPEM = f.kube.certPEM, f.kube.keyPEM
	}
	quiet := klog.NewContext(context.Background(), zapr.NewLogger(quietly(c.log)))
	conf.Ctx = &quiet
	manager, err := certificate.NewManager(conf)
	if err != nil {
		if err.Error() != c.rotor.err {
			c.rotor.err = err.Error()
			c.log.Error("cannot rotate the client certificate; tried again every few seconds", zap.Error(err))
		}
		return
	}
	c.rotor.err = ""
	c.rotor.manager = manager
	manager.Start()
	context.AfterFunc(ctx, manager.Stop)
}

// quietly is a log for the library, which repeats itself for as long as something
// is wrong: each of its messages is taken once in ten minutes.
func quietly(log *zap.Logger) *zap.Logger {
	return log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, 10*time.Minute, 1, 0)
	}), zap.WithCaller(false))
}
