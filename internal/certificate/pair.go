package certificate

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// parsePair reads a certificate with its chain and its key in PEM form, in any
// order, from one or two texts. Leaf is set.
func parsePair(cert, key []byte) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	if pair.Leaf == nil {
		if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return nil, err
		}
	}
	return &pair, nil
}

// readPair reads a pair from its files, which may be one.
func readPair(certFile, keyFile string) (*tls.Certificate, error) {
	if certFile == "" || keyFile == "" {
		return nil, errors.New("a client certificate needs a certificate and a key, and one of them is not given")
	}
	cert, err := readFile(certFile)
	if err != nil {
		return nil, err
	}
	key := cert
	if keyFile != certFile {
		if key, err = readFile(keyFile); err != nil {
			return nil, err
		}
	}
	pair, err := parsePair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate %s with the key %s: %w", certFile, keyFile, err)
	}
	return pair, nil
}

// leafOf returns the certificate itself, nil for no pair.
func leafOf(pair *tls.Certificate) *x509.Certificate {
	if pair == nil {
		return nil
	}
	return pair.Leaf
}

// current reports whether a certificate may be used at a time by its own dates.
// The beginning does not count: clocks differ, and the server decides.
func current(leaf *x509.Certificate, now time.Time) bool {
	return leaf != nil && !now.After(leaf.NotAfter)
}

// same reports whether two pairs have the same certificate; neither is one.
func same(a, b *tls.Certificate) bool {
	if a == nil || b == nil {
		return a == b
	}
	return sha256.Sum256(a.Certificate[0]) == sha256.Sum256(b.Certificate[0])
}
