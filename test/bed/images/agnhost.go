package images

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// agnhostRecipe is raised when what is below changes.
const agnhostRecipe = "2"

// agnhostTree is what tests expect to find beside the program: its second name,
// a key for servers, a folder for uploads, and a user who is in a group.
func agnhostTree(program string) (*tree, error) {
	t := newTree()
	if err := t.copy("agnhost", program); err != nil {
		return nil, err
	}
	t.link("agnhost-2", "agnhost")
	t.folder("uploads", 0o755)
	const user = "user-defined-in-image"
	t.file("etc/passwd", 0o644, []byte(passwd+user+":x:1000:1000::/home/"+user+":/bin/sh\n"))
	t.file("etc/group", 0o644, []byte(group+user+":x:1000:\ngroup-defined-in-image:x:50000:"+user+"\n"))
	certificate, key, err := selfSigned("localhost")
	if err != nil {
		return nil, err
	}
	t.file("localhost.crt", 0o644, certificate)
	t.file("localhost.key", 0o644, key)
	return t, nil
}

// selfSigned makes a certificate that nobody trusts and its key, as PEM.
func selfSigned(host string) (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key for an image: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore:   time.Unix(0, 0), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, fmt.Errorf("make a certificate for an image: %w", err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, fmt.Errorf("encode a key for an image: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), nil
}

func writeAgnhost(path, base, program string) error {
	busybox, err := Busybox(base)
	if err != nil {
		return err
	}
	t, err := agnhostTree(program)
	if err != nil {
		return err
	}
	img, err := above(busybox, t, v1.Config{
		Entrypoint: []string{"/agnhost"}, Cmd: []string{"pause"},
		Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
	})
	if err != nil {
		return err
	}
	refs := map[name.Tag]v1.Image{}
	if err := tag(refs, img, AgnhostName); err != nil {
		return err
	}
	return write(path, refs)
}
