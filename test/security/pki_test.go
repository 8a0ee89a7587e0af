//go:build e2e

package security

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
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// authority signs certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// loadAuthority reads the authority of a bed from its folder of keys.
func loadAuthority(dir string) (*authority, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key"))
	if err != nil {
		return nil, err
	}
	return &authority{cert: pair.Leaf, key: pair.PrivateKey.(crypto.Signer)}, nil
}

// newAuthority makes one that nobody trusts yet. Its name may be that of
// another: a signature has to tell them apart, not the name.
func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key := newKey(t)
	template := template(name)
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, "making an authority", err)
	cert, err := x509.ParseCertificate(der)
	must(t, "reading an authority back", err)
	return &authority{cert: cert, key: key}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, "making a key", err)
	return key
}

func template(name string, groups ...string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)) // never fails
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name, Organization: groups}, //nolint:misspell // the library's word
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

// client issues a client certificate; change, when given, has the last word.
func (a *authority) client(t *testing.T, name string, groups []string, change func(*x509.Certificate)) *tls.Certificate {
	t.Helper()
	c := template(name, groups...)
	if change != nil {
		change(c)
	}
	return a.issue(t, c)
}

// server issues a serving certificate for the node's address.
func (a *authority) server(t *testing.T, name, ip string) *tls.Certificate {
	t.Helper()
	c := template(name)
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	c.IPAddresses = []net.IP{net.ParseIP(ip)}
	return a.issue(t, c)
}

func (a *authority) issue(t *testing.T, c *x509.Certificate) *tls.Certificate {
	t.Helper()
	key := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, key.Public(), a.key)
	must(t, "making a certificate", err)
	leaf, err := x509.ParseCertificate(der)
	must(t, "reading a certificate back", err)
	keepSecret(string(keyPEM(t, key)))
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func (a *authority) pem() []byte { return certPEM(a.cert.Raw) }

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func keyPEM(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, "encoding a key", err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// replace puts content where the agent reads it, all at once.
func replace(t *testing.T, path string, content []byte) {
	t.Helper()
	must(t, "writing beside "+path, os.WriteFile(path+".new", content, 0o600))
	must(t, "replacing "+path, os.Rename(path+".new", path))
}
