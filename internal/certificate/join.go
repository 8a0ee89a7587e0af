package certificate

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/client-go/kubernetes"
	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/certificate"
	"k8s.io/client-go/util/certificate/csr"
	"k8s.io/client-go/util/keyutil"
	"k8s.io/klog/v2"
)

const (
	// pendingKey is the key of a request that has not been answered.
	pendingKey = "kubelet-client.key.tmp"
	// issueTimeout is how long a request is waited for.
	issueTimeout = time.Hour
	// A request that failed is repeated after pauses between these.
	firstPause, longestPause = 2 * time.Second, 32 * time.Second
)

// join is what gets a certificate when there is no rotation: one request with
// the bootstrap kubeconfig, which is repeated until it is answered.
type join struct {
	cancel context.CancelFunc
	ended  chan struct{}
	digest [sha256.Size]byte // of the bootstrap kubeconfig in use
}

func (j *join) stop() {
	if j.cancel != nil {
		j.cancel()
		<-j.ended
		j.cancel = nil
	}
}

// join starts and stops that request.
func (c *Client) join(ctx context.Context, f *facts, d *decision) {
	if !d.enrol {
		c.joined.stop()
		return
	}
	if c.joined.cancel != nil && c.joined.digest == f.boot.digest {
		return
	}
	c.joined.stop()
	ctx, cancel := context.WithCancel(ctx)
	c.joined = join{cancel: cancel, ended: make(chan struct{}), digest: f.boot.digest}
	ended, boot := c.joined.ended, f.boot
	go func() {
		defer close(ended)
		c.enrol(ctx, boot)
	}()
}

// enrol asks until there is a certificate.
func (c *Client) enrol(ctx context.Context, boot *kubeconfig) {
	logged := klog.NewContext(ctx, zapr.NewLogger(quietly(c.log)))
	said := ""
	for pause := firstPause; ctx.Err() == nil; pause = min(2*pause, longestPause) {
		err := c.enrolOnce(logged, boot)
		if err == nil {
			c.poke()
			return
		}
		if ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			c.log.Error("cannot get a client certificate with the bootstrap kubeconfig; tried again until it works", zap.Error(err))
		}
		c.figures.failures.Inc()
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// enrolOnce makes a request and stores what comes of it. When it is interrupted
// anywhere, the next one goes on with the same key and so with the same request.
func (c *Client) enrolOnce(ctx context.Context, boot *kubeconfig) error {
	client, err := c.bootstrapClient(boot)
	if err != nil {
		return err
	}
	pending := filepath.Join(c.cfg.CertDir, pendingKey)
	key, err := c.requestKey(pending)
	if err != nil {
		return err
	}
	cert, err := request(ctx, client, key, c.cfg.NodeName)
	if err != nil {
		if spent(err) {
			c.forget(pending)
		}
		return err
	}
	if _, err := c.store.Update(cert, key); err != nil {
		return err
	}
	if err := os.Remove(pending); err != nil && !gone(err) {
		c.log.Warn("the key of the request cannot be removed; it is of no more use", zap.Error(err))
	}
	kubeconfig, err := boot.derived(c.store.path())
	if err != nil {
		return fmt.Errorf("making the kubeconfig from the bootstrap kubeconfig: %w", err)
	}
	return writeSecret(c.cfg.Kubeconfig, kubeconfig)
}

// requestKey returns the key to use, in PEM form: that of the newest certificate,
// that of the request before, or a new one.
func (c *Client) requestKey(pending string) ([]byte, error) {
	data, err := readFile(pending)
	if err == nil {
		if _, err := keyutil.ParsePrivateKeyPEM(data); err == nil {
			return data, nil
		}
	} else if !gone(err) {
		return nil, fmt.Errorf("reading the key of the last certificate request: %w; remove the file", err)
	} else if pair, err := readPair(c.store.path(), c.store.path()); err == nil {
		if data, err := keyutil.MarshalPrivateKeyToPEM(pair.PrivateKey); err == nil {
			return data, nil
		}
	}
	if data, err = keyutil.MakeEllipticPrivateKeyPEM(); err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	return data, writeSecret(pending, data)
}

// forget makes the next request one with a new key: this one's cannot succeed.
func (c *Client) forget(pending string) {
	data, err := keyutil.MakeEllipticPrivateKeyPEM()
	if err == nil {
		err = writeSecret(pending, data)
	}
	if err != nil {
		c.log.Warn("cannot make another key for the certificate request", zap.Error(err))
	}
}

// spent reports whether a request of the same name will never be answered: it was
// denied or failed, or its certificate has expired or belongs to somebody else.
func spent(err error) bool {
	for _, text := range []string{"retrieved csr is not compatible", "is denied", "signing request failed"} {
		if strings.Contains(err.Error(), text) {
			return true
		}
	}
	return false
}

// request asks for a certificate for a key, or finds the request that was made
// for it before, and waits until it is issued.
func request(ctx context.Context, client kubernetes.Interface, keyPEM []byte, nodeName string) ([]byte, error) {
	parsed, err := keyutil.ParsePrivateKeyPEM(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("reading the key for a certificate request: %w", err)
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, errors.New("the key for a certificate request cannot sign")
	}
	name := subject(nodeName)
	csrPEM, err := certutil.MakeCSR(key, &name, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("making a certificate request: %w", err)
	}
	usages := certificate.DefaultKubeletClientGetUsages(key)
	if _, isRSA := key.(*rsa.PrivateKey); isRSA {
		// In the order in which the kubelet's bootstrap has them: the name depends on it.
		usages = []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth, certificatesv1.UsageKeyEncipherment}
	}
	id, err := requestName(key.Public(), name.CommonName, name.Organization, usages) //nolint:misspell // a field of crypto/x509
	if err != nil {
		return nil, err
	}
	made, uid, err := csr.RequestCertificateWithContext(ctx, client, csrPEM, id, certificatesv1.KubeAPIServerClientKubeletSignerName, nil, usages, key)
	if err != nil {
		return nil, fmt.Errorf("asking the API server for a client certificate: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, issueTimeout)
	defer cancel()
	cert, err := csr.WaitForCertificate(ctx, client, made, uid)
	if err != nil {
		return nil, fmt.Errorf("waiting for the certificate request %s to be approved and signed: %w", made, err)
	}
	return cert, nil
}

// requestName is the kubelet's name for a request: a digest of all that matters
// of it, so that a request that was made before a crash is found again.
func requestName(public any, commonName string, organizations []string, usages []certificatesv1.KeyUsage) (string, error) { //nolint:misspell // crypto/x509 spells it so
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", fmt.Errorf("reading the public key of a certificate request: %w", err)
	}
	parts := []string{string(der), commonName}
	parts = append(parts, organizations...) //nolint:misspell // as above
	for _, u := range usages {
		parts = append(parts, string(u))
	}
	hash := sha512.New512_256()
	for _, p := range parts {
		// The delimiter is not in the alphabet: no two lists have one digest.
		_, _ = hash.Write([]byte(base64.RawURLEncoding.EncodeToString([]byte(p)) + "|"))
	}
	return "node-csr-" + base64.RawURLEncoding.EncodeToString(hash.Sum(nil)), nil
}
