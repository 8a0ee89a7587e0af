package serving

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
)

// Config says how TLS is served, as the kubelet's configuration does.
type Config struct {
	// CertFile and KeyFile are the pair to serve (tlsCertFile,
	// tlsPrivateKeyFile), in PEM form. With neither, a self-signed pair for
	// HostName is kept in CertDir (--cert-dir) under the kubelet's names.
	CertFile, KeyFile string
	CertDir, HostName string
	// Get returns the pair for each handshake, of which none is made when it
	// fails. It stands in for files and for a self-signed pair.
	Get func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Reload reads the pair again when its files change
	// (ReloadKubeletServerCertificateFile).
	Reload bool
	// MinVersion and CipherSuites have the names of crypto/tls (tlsMinVersion,
	// tlsCipherSuites), Curves its numbers (tlsCurvePreferences); empty for
	// the defaults: TLS 1.2, and what Go thinks safe.
	MinVersion   string
	CipherSuites []string
	Curves       []int32
	// ClientCA is whose certificates clients are asked for. Without one, or
	// without content, they are not asked.
	ClientCA dynamiccertificates.CAContentProvider
}

// recheck is how often the pair is read although no event told of a change.
const recheck = time.Minute

// Serving keeps the certificate of the node's API current. It is made by New.
type Serving struct {
	tls     *tls.Config
	current *dynamiccertificates.DynamicServingCertificateController
	pair    dynamiccertificates.CertKeyContentProvider     // nil if somebody else has it
	file    *dynamiccertificates.DynamicCertKeyPairContent // pair, if it is read again
	recheck time.Duration
	log     *zap.Logger
}

// New reads the pair, or makes one, and checks the settings. It has to be called
// before the client CA's provider runs, which tells it of changes. The library
// has goroutines for the certificates from here on, which Run ends.
func New(cfg Config, log *zap.Logger) (*Serving, error) {
	base, err := settings(cfg, log)
	if err != nil {
		return nil, err
	}
	s := &Serving{recheck: recheck, log: log}
	if cfg.Get != nil {
		base.GetCertificate = cfg.Get
	} else if err := s.load(cfg); err != nil {
		return nil, err
	}
	var ca dynamiccertificates.CAContentProvider
	if cfg.ClientCA != nil && len(cfg.ClientCA.CurrentCABundleContent()) > 0 {
		base.ClientAuth = tls.RequestClientCert
		ca = cfg.ClientCA
	}
	s.current = dynamiccertificates.NewDynamicServingCertificateController(base, ca, s.pair, nil, nil)
	if err := s.current.RunOnce(); err != nil {
		return nil, fmt.Errorf("setting up TLS of the node's API: %w", err)
	}
	if s.pair != nil {
		s.pair.AddListener(s.current)
		s.pair.AddListener(listener(func() { s.show("serving certificate loaded again") }))
	}
	if ca != nil {
		ca.AddListener(s.current)
	}
	s.tls = &tls.Config{
		GetConfigForClient: s.current.GetConfigForClient, MinVersion: base.MinVersion, NextProtos: base.NextProtos,
		ClientAuth: base.ClientAuth,
	}
	return s, nil
}

// listener is a function that is called after a change.
type listener func()

// Enqueue implements dynamiccertificates.Listener.
func (f listener) Enqueue() { f() }

// load reads the pair that is to be served, and makes it first if it is ours.
func (s *Serving) load(cfg Config) error {
	cert, key := cfg.CertFile, cfg.KeyFile
	switch {
	case cert == "" && key == "":
		var err error
		if cert, key, err = selfSigned(cfg.CertDir, cfg.HostName, s.log); err != nil {
			return err
		}
	case cert == "" || key == "":
		return fmt.Errorf("tlsCertFile is %q and tlsPrivateKeyFile is %q: give both files, or neither for a self-signed certificate", cert, key)
	}
	if err := s.open(cert, key, cfg.Reload); err != nil {
		return fmt.Errorf("loading the serving certificate %s (tlsCertFile) with the key %s (tlsPrivateKeyFile): %w; "+
			"both have to be readable, in PEM form, and belong together", cert, key, err)
	}
	s.show("serving certificate loaded")
	return nil
}

// open reads a pair for good, or to be read again. It is tried first in both
// cases: the library keeps goroutines of a pair that it cannot load.
func (s *Serving) open(cert, key string, again bool) error {
	certPEM, err := os.ReadFile(cert)
	if err != nil {
		return err
	}
	keyPEM, err := os.ReadFile(key)
	if err != nil {
		return err
	}
	if s.pair, err = dynamiccertificates.NewStaticCertKeyContent("serving-cert::"+cert+"::"+key, certPEM, keyPEM); err != nil || !again {
		return err
	}
	s.file, err = dynamiccertificates.NewDynamicServingContentFromFiles("serving-cert", cert, key)
	s.pair = s.file
	return err
}

// TLS returns the configuration of a server. Each handshake uses the newest
// certificate and client CA.
func (s *Serving) TLS() *tls.Config { return s.tls.Clone() }

// Run takes over new files and new client CAs until ctx ends; it has to be
// called once. What cannot be used is logged, and what was served before goes on
// being served. When it returns, goroutines of the library are told to end and
// may take a moment. The error is always nil.
func (s *Serving) Run(ctx context.Context) error {
	var loops sync.WaitGroup
	loops.Go(func() { s.current.Run(1, ctx.Done()) })
	if s.file != nil {
		loops.Go(func() { s.file.Run(ctx, 1) })
		loops.Go(func() { wait.UntilWithContext(ctx, s.check, s.recheck) })
	}
	loops.Wait()
	return nil
}

// check finds what the library's watch does not see (doc.go). Should it overlap
// with the library's own reading and put an older content back, the next one
// corrects that.
func (s *Serving) check(ctx context.Context) {
	if err := s.file.RunOnce(ctx); err != nil {
		s.log.Warn("the serving certificate cannot be read again, the one from before stays in use: "+
			"certificate and key have to be readable, in PEM form, and belong together",
			zap.String("files", s.file.Name()), zap.Error(err))
	}
}

// show logs whose certificate is served and until when it is valid.
func (s *Serving) show(what string) {
	crt, key := s.pair.CurrentCertKeyContent()
	pair, err := tls.X509KeyPair(crt, key)
	if err != nil {
		return // it was checked when it was read
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return
	}
	fields := []zap.Field{
		zap.String("files", s.pair.Name()), zap.Stringer("subject", leaf.Subject), zap.Stringer("issuer", leaf.Issuer),
		zap.Strings("names", leaf.DNSNames), zap.Time("until", leaf.NotAfter),
	}
	if time.Now().After(leaf.NotAfter) {
		s.log.Warn(what+", but it has expired: clients that verify it cannot connect; replace the files", fields...)
		return
	}
	s.log.Info(what, fields...)
}
