package serving

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"

	"nodeagent.dev/nodeagent/internal/server/serving/filewatch"
)

// Config says how TLS is served, as the kubelet's configuration does.
type Config struct {
	// CertFile and KeyFile are the pair to serve (tlsCertFile,
	// tlsPrivateKeyFile), in PEM form. With neither, a self-signed pair for
	// HostName is kept in CertDir (--cert-dir) under the kubelet's names.
	CertFile, KeyFile string
	CertDir, HostName string
	// Reload reads the pair again when its files change
	// (ReloadKubeletServerCertificateFile).
	Reload bool
	// Certificate, if set, returns the certificate to serve, or nil as long as
	// there is none: then no file is read (serverTLSBootstrap). It is called
	// for each handshake.
	Certificate func() *tls.Certificate
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

// recheck is how often the pair is read although no change was noticed.
const recheck = time.Minute

// Serving keeps the certificate of the node's API current. It is made by New.
type Serving struct {
	tls     *tls.Config
	current *dynamiccertificates.DynamicServingCertificateController
	pair    *dynamiccertificates.DynamicCertKeyPairContent // nil with Config.Certificate
	files   []string                                       // what is read again
	changed chan struct{}                                  // the client CA has changed
	log     *zap.Logger
}

// New reads the pair, or makes one, and checks the settings. It has to be
// called before the client CA's provider runs, which tells it of changes.
func New(cfg Config, log *zap.Logger) (*Serving, error) {
	base, err := settings(cfg, log)
	if err != nil {
		return nil, err
	}
	s := &Serving{changed: make(chan struct{}, 1), log: log}
	var pair dynamiccertificates.CertKeyContentProvider
	if cfg.Certificate != nil {
		base.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if c := cfg.Certificate(); c != nil {
				return c, nil
			}
			return nil, errors.New("no serving certificate available for the kubelet")
		}
	} else if pair, err = s.load(cfg); err != nil {
		return nil, err
	}
	asks := cfg.ClientCA != nil && len(cfg.ClientCA.CurrentCABundleContent()) > 0
	var ca dynamiccertificates.CAContentProvider
	if asks {
		base.ClientAuth = tls.RequestClientCert
		ca = cfg.ClientCA
	}
	s.current = dynamiccertificates.NewDynamicServingCertificateController(base, ca, pair, nil, nil)
	// The library's loops are not used: they miss links that are swapped, and
	// nobody can wait for their end. Their goroutines are there from birth; an
	// ended context ends them.
	ended, end := context.WithCancel(context.Background())
	end()
	s.current.Run(1, ended.Done())
	if s.pair != nil {
		s.pair.Run(ended, 1)
	}
	if err := s.current.RunOnce(); err != nil {
		return nil, fmt.Errorf("setting up TLS of the node's API: %w", err)
	}
	if asks {
		cfg.ClientCA.AddListener(s)
	}
	s.tls = &tls.Config{
		GetConfigForClient: s.current.GetConfigForClient, MinVersion: base.MinVersion, NextProtos: base.NextProtos,
		ClientAuth: base.ClientAuth,
	}
	return s, nil
}

// load reads the pair that is to be served, and makes it first if it is ours.
func (s *Serving) load(cfg Config) (dynamiccertificates.CertKeyContentProvider, error) {
	cert, key := cfg.CertFile, cfg.KeyFile
	switch {
	case cert == "" && key == "":
		var err error
		if cert, key, err = selfSigned(cfg.CertDir, cfg.HostName, s.log); err != nil {
			return nil, err
		}
	case cert == "" || key == "":
		return nil, fmt.Errorf("tlsCertFile is %q and tlsPrivateKeyFile is %q: give both files, or neither for a self-signed certificate", cert, key)
	}
	for _, f := range []*string{&cert, &key} {
		abs, err := filepath.Abs(*f)
		if err != nil {
			return nil, fmt.Errorf("finding the directory of %s: %w", *f, err)
		}
		*f = abs
	}
	// Tried first, because the library keeps a goroutine of a pair that it cannot load.
	_, err := tls.LoadX509KeyPair(cert, key)
	var pair *dynamiccertificates.DynamicCertKeyPairContent
	if err == nil {
		pair, err = dynamiccertificates.NewDynamicServingContentFromFiles("serving-cert", cert, key)
	}
	if err != nil {
		return nil, fmt.Errorf("loading the serving certificate %s (tlsCertFile) with the key %s (tlsPrivateKeyFile): %w; "+
			"both have to be readable, in PEM form, and belong together", cert, key, err)
	}
	s.pair, s.files = pair, []string{cert, key}
	s.show("serving certificate loaded")
	if !cfg.Reload {
		s.files = nil
	}
	return pair, nil
}

// TLS returns the configuration of a server. Each handshake uses the newest
// certificate and client CA.
func (s *Serving) TLS() *tls.Config { return s.tls.Clone() }

// Enqueue implements dynamiccertificates.Listener: the client CA has changed.
func (s *Serving) Enqueue() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Run takes over new files and new client CAs until ctx ends. What cannot be
// used is logged, and what was served before goes on being served. The error is
// always nil.
func (s *Serving) Run(ctx context.Context) error {
	told := ""
	check := func() {
		err := s.reload(ctx)
		if err == nil {
			told = ""
			return
		}
		if text := err.Error(); text != told {
			told = text
			s.log.Warn("the serving certificate or the client CA cannot be read again, the one from before stays in use: "+
				"certificate and key have to be readable, in PEM form, and belong together",
				zap.Strings("files", s.files), zap.Error(err))
		}
	}
	filewatch.Run(ctx, filewatch.Config{Paths: s.files, Every: recheck, Hints: s.changed}, check, s.log)
	return nil
}

func (s *Serving) reload(ctx context.Context) error {
	if len(s.files) == 0 {
		return s.current.RunOnce()
	}
	before, _ := s.pair.CurrentCertKeyContent()
	err := errors.Join(s.pair.RunOnce(ctx), s.current.RunOnce())
	if after, _ := s.pair.CurrentCertKeyContent(); string(before) != string(after) {
		s.show("serving certificate loaded again")
	}
	return err
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
		zap.Strings("files", s.files), zap.Stringer("subject", leaf.Subject), zap.Stringer("issuer", leaf.Issuer),
		zap.Strings("names", leaf.DNSNames), zap.Time("until", leaf.NotAfter),
	}
	if time.Now().After(leaf.NotAfter) {
		s.log.Warn(what+", but it has expired: clients that verify it cannot connect; replace the files", fields...)
		return
	}
	s.log.Info(what, fields...)
}
