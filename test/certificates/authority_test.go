//go:build e2e

package certificates

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"path/filepath"
	"testing"
	"time"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// authority signs certificates beside the cluster's signer.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// authority is the bed's own.
func (a *agent) authority(t *testing.T) *authority {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(a.Dir, "pki/ca.crt"), filepath.Join(a.Dir, "pki/ca.key"))
	bedtest.Must(t, "loading the bed's authority", err)
	return &authority{pair.Leaf, pair.PrivateKey.(crypto.Signer)}
}

// newAuthority is one that nobody knows yet.
func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	bedtest.Must(t, "making a key", err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	bedtest.Must(t, "making an authority", err)
	cert, err := x509.ParseCertificate(der)
	bedtest.Must(t, "reading an authority back", err)
	return &authority{cert, key}
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// client issues a client certificate that ends after a while, which may be over.
func (a *authority) client(t *testing.T, name string, groups []string, life time.Duration) (cert, key []byte) {
	t.Helper()
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	bedtest.Must(t, "making a key", err)
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)) // never fails
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name, Organization: groups}, //nolint:misspell // the library's word
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, signer.Public(), a.key)
	bedtest.Must(t, "issuing a certificate", err)
	private, err := x509.MarshalECPrivateKey(signer)
	bedtest.Must(t, "encoding a key", err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})
}

// node issues a client certificate for the bed's node.
func (a *agent) node(t *testing.T, life time.Duration) (cert, key []byte) {
	t.Helper()
	return a.authority(t).client(t, "system:node:"+a.NodeName, []string{"system:nodes"}, life)
}
