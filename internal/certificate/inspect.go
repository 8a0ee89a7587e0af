package certificate

import (
	"context"
	"crypto/x509"
	"fmt"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	certutil "k8s.io/client-go/util/cert"
)

// Found is what a kubeconfig or a file with a certificate says, without secrets.
type Found struct {
	// Path is the file; Err is why it cannot be used.
	Path string
	Err  error
	// Server is the address of the API server, in kubeconfigs.
	Server string
	// Authorities are whom the API server's certificate may come from. Empty:
	// those of the machine.
	Authorities []*x509.Certificate
	// Insecure: the API server may show any certificate.
	Insecure bool
	// Leaf is the certificate; nil if there is none, or if it cannot be read
	// (LeafErr).
	Leaf    *x509.Certificate
	LeafErr error
	// Otherwise: there is a token or another credential that is no certificate.
	Otherwise bool
}

// Inspection is what all files with credentials say.
type Inspection struct {
	Kubeconfig Found
	// Bootstrap is nil if no bootstrap kubeconfig is configured.
	Bootstrap *Found
	// Stored is the newest client certificate in the certificate directory.
	Stored Found
	// Used is the certificate that an agent would show now; nil for none.
	Used *x509.Certificate
	// Trouble is what an agent would say about it, "" if nothing is wrong.
	Trouble string
}

// Inspect reads the files as Client does, and changes nothing.
func Inspect(cfg Config) Inspection {
	f := read(cfg)
	i := Inspection{Kubeconfig: found(cfg.Kubeconfig, f.kube, f.kubeErr)}
	if cfg.BootstrapKubeconfig != "" {
		b := found(cfg.BootstrapKubeconfig, f.boot, f.bootErr)
		i.Bootstrap = &b
	}
	i.Stored = ReadCertificate(storedPath(cfg))
	d := decide(f)
	i.Used = leafOf(d.pair)
	i.Trouble = d.trouble(f, places{cfg.Kubeconfig, cfg.BootstrapKubeconfig, storedPath(cfg), cfg.Rotate})
	return i
}

func storedPath(cfg Config) string { return filepath.Join(cfg.CertDir, clientPrefix+"-current.pem") }

// read gathers facts from files alone.
func read(cfg Config) *facts {
	f := &facts{now: time.Now(), rotate: cfg.Rotate}
	f.kube, f.kubeErr = loadKubeconfig(cfg.Kubeconfig)
	if cfg.BootstrapKubeconfig != "" {
		f.boot, f.bootErr = loadKubeconfig(cfg.BootstrapKubeconfig)
	}
	if f.kube == nil {
		f.kube = &kubeconfig{rest: &rest.Config{}}
		if f.boot != nil {
			f.kube = f.boot.server()
		}
	}
	if cfg.Rotate {
		path := storedPath(cfg)
		f.stored, f.storedErr = readPair(path, path)
	}
	return f
}

func found(path string, k *kubeconfig, err error) Found {
	f := Found{Path: path, Err: err}
	if err != nil {
		return f
	}
	f.Server, f.Insecure, f.Leaf, f.LeafErr, f.Otherwise = k.rest.Host, k.rest.Insecure, leafOf(k.pair), k.pairErr, k.otherwise()
	if len(k.rest.CAData) > 0 {
		if f.Authorities, err = certutil.ParseCertsPEM(k.rest.CAData); err != nil {
			f.Err = fmt.Errorf("reading the authorities of the API server: %w", err)
		}
	}
	return f
}

// ReadCertificate reads a file with a certificate and its key.
func ReadCertificate(path string) Found {
	pair, err := readPair(path, path)
	return Found{Path: path, Err: err, Leaf: leafOf(pair)}
}

// ReadPair reads a certificate and its key from two files.
func ReadPair(certFile, keyFile string) Found {
	pair, err := readPair(certFile, keyFile)
	return Found{Path: certFile, Err: err, Leaf: leafOf(pair)}
}

// ReadAuthorities reads a file with certificates of authorities.
func ReadAuthorities(path string) ([]*x509.Certificate, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	all, err := certutil.ParseCertsPEM(text)
	if err != nil {
		return nil, fmt.Errorf("reading the authorities in %s: %w", path, err)
	}
	return all, nil
}

// WhoAmI asks the API server for whom it takes the holder of the credential that
// an agent would use now.
func WhoAmI(ctx context.Context, cfg Config) (name string, groups []string, err error) {
	f := read(cfg)
	if f.kubeErr != nil {
		return "", nil, f.kubeErr
	}
	gen, err := newGeneration(credential{f.kube.rest, decide(f).pair})
	if err != nil {
		return "", nil, err
	}
	defer gen.close()
	client, err := kubernetes.NewForConfig(&rest.Config{Host: gen.server.String(), Transport: gen.rt})
	if err != nil {
		return "", nil, fmt.Errorf("making a client for %s: %w", gen.server, err)
	}
	me, err := client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return "", nil, fmt.Errorf("asking %s who we are: %w", gen.server, err)
	}
	return me.Status.UserInfo.Username, me.Status.UserInfo.Groups, nil
}
