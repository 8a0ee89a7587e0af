package serving

import (
	"crypto/tls"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
)

// A pair of somebody else is shown from when it is there, and no other before.
func TestGivenPair(t *testing.T) {
	var pair atomic.Pointer[tls.Certificate]
	dir := t.TempDir()
	addr, log := start(t, Config{CertDir: dir, HostName: "own", Get: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		if p := pair.Load(); p != nil {
			return p, nil
		}
		return nil, errors.New("no serving certificate available for the kubelet")
	}})
	if _, err := shake(t, addr, nil); err == nil || !strings.Contains(err.Error(), "internal error") {
		t.Errorf("a handshake before there is a pair: %v", err)
	}
	log.await(t, "no serving certificate available for the kubelet")
	for _, name := range []string{"one", "two"} {
		cert, key := newPair(t, name)
		p, err := tls.X509KeyPair(cert, key)
		must(t, err)
		pair.Store(&p)
		if got := shown(t, addr); got != name {
			t.Errorf("shown %s, want %s", got, name)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("a pair of its own was made: %v, %v", left, err)
	}
}
