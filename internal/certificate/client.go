package certificate

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	// look is how often the files are read again.
	look = 5 * time.Second
	// patience is how long the API server may answer 401 before the credential
	// counts as no good: its authenticators have moments, too.
	patience = 20 * time.Second
	// reminder is how often a trouble that lasts is spoken of.
	reminder = 10 * time.Minute
)

// Config says where credentials for the API server are.
type Config struct {
	// NodeName is whose certificate is asked for.
	NodeName string
	// Kubeconfig (--kubeconfig) is required, but need not exist if
	// BootstrapKubeconfig (--bootstrap-kubeconfig), which may be empty, does.
	Kubeconfig, BootstrapKubeconfig string
	// CertDir is --cert-dir.
	CertDir string
	// Rotate renews the certificate in time (rotateCertificates).
	Rotate bool
}

// Client is the node's credential for the API server. It is made by New, and
// kept current by Run.
type Client struct {
	cfg   Config
	log   *zap.Logger
	store *store
	sw    *Switch
	main  kubernetes.Interface // for requests with the credential that there is
	kick  chan struct{}        // look now
	pace  pace

	shown   atomic.Pointer[tls.Certificate] // for figures
	figures clientFigures

	// What follows belongs to Run, and to New before it.
	kube    *kubeconfig
	spurned *tls.Certificate // the server has refused it
	said    saying
	key     [sha256.Size]byte // of the generation in use
	rotor   rotor
	joined  join

	boot lone
}

// lone holds the connections of the last request with the bootstrap kubeconfig.
type lone struct {
	mu  sync.Mutex
	gen *generation
}

// pace is how patient a Client is.
type pace struct{ look, patience time.Duration }

// saying is what was logged last.
type saying struct {
	trouble, files string
	at             time.Time
}

// New reads the files, and makes a kubeconfig from the bootstrap kubeconfig if it
// has to be the kubelet's rules (--rotate-certificates). It does not call anybody.
// An error says that there is nothing to begin with: neither a kubeconfig nor a
// bootstrap kubeconfig can be read. A certificate that has expired is none.
func New(cfg Config, log *zap.Logger) (*Client, error) {
	c := &Client{cfg: cfg, log: log, kick: make(chan struct{}, 1), pace: pace{look, patience}, figures: newClientFigures()}
	kube, kubeErr := loadKubeconfig(cfg.Kubeconfig)
	first := kube
	if kubeErr != nil {
		var err error
		if first, err = c.bootstrap(); err != nil {
			return nil, fmt.Errorf("reading the bootstrap kubeconfig (--bootstrap-kubeconfig), since the kubeconfig cannot be used (%w): %w; give one of them", kubeErr, err)
		}
		if first == nil {
			return nil, fmt.Errorf("reading the kubeconfig %s (--kubeconfig): %w; give a readable file, or leave the flag out to run static pods only", cfg.Kubeconfig, kubeErr)
		}
	}
	var certFile, keyFile string
	if kube != nil {
		certFile, keyFile = kube.certFile, kube.keyFile
	}
	var err error
	if c.store, err = newStore(cfg.CertDir, clientPrefix, certFile, keyFile, log, c.poke); err != nil {
		return nil, err
	}
	base, _, err := rest.DefaultServerUrlFor(first.rest)
	if err != nil {
		return nil, fmt.Errorf("reading the address of the API server %q: %w", first.rest.Host, err)
	}
	c.sw = newSwitch(base, c.poke)
	if c.main, err = kubernetes.NewForConfig(c.RESTConfig()); err != nil {
		return nil, fmt.Errorf("making a client to request certificates: %w", err)
	}
	if c.kube = first; kubeErr != nil {
		c.kube = first.server() // a bootstrap credential is for one purpose only
	}
	c.refresh()
	return c, nil
}

// RESTConfig returns a new configuration for clients of the API server, which
// use the newest credential for each call. It has no credential and must not get
// one; rates, content types and a user agent may be set.
func (c *Client) RESTConfig() *rest.Config {
	return &rest.Config{Host: c.sw.base.String(), Transport: c.sw}
}

// CloseIdle closes the connections that nobody uses, after heartbeats have
// failed: they may lead nowhere.
func (c *Client) CloseIdle() { c.sw.closeIdle() }

// CloseAll closes all connections, whatever runs on them, for networks in which
// nothing else tells that they lead nowhere.
func (c *Client) CloseAll() { c.sw.close() }

// bootstrap reads the bootstrap kubeconfig. Neither an error nor one: none is
// configured.
func (c *Client) bootstrap() (*kubeconfig, error) {
	if c.cfg.BootstrapKubeconfig == "" {
		return nil, nil
	}
	return loadKubeconfig(c.cfg.BootstrapKubeconfig)
}

// poke makes Run look at once.
func (c *Client) poke() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// Run keeps the credential current until ctx ends. It has to be called once; the
// error is always nil.
func (c *Client) Run(ctx context.Context) error {
	tick := time.NewTicker(c.pace.look)
	defer tick.Stop()
	defer c.sw.closeIdle()
	defer c.setBoot(nil)
	defer c.joined.stop()
	defer c.rotor.stop()
	for {
		f, d, foreign := c.refresh()
		if c.cfg.Rotate {
			c.rotate(ctx, f, &d, foreign)
		} else {
			c.join(ctx, f, &d)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-c.kick:
		}
	}
}

// refresh looks, and lets calls use what it has found. It starts nothing.
func (c *Client) refresh() (f *facts, d decision, foreign bool) {
	f, foreign = c.gather()
	d = decide(f)
	if d.derive && c.derive(f) {
		var again bool
		f, again = c.gather()
		d, foreign = decide(f), foreign || again
	}
	c.spurned = d.spurned
	trouble := d.trouble(f, places{c.cfg.Kubeconfig, c.cfg.BootstrapKubeconfig, c.store.path(), c.cfg.Rotate})
	c.apply(f, &d, trouble)
	c.say(f, trouble)
	if d.usable {
		c.setBoot(nil)
	}
	return f, d, foreign
}

// gather reads everything. foreign is set once for each pair that somebody else
// has put into the certificate directory.
func (c *Client) gather() (f *facts, foreign bool) {
	f = &facts{now: time.Now(), rotate: c.cfg.Rotate, refused: c.sw.refusedSince(), patience: c.pace.patience, shown: c.shown.Load(), spurned: c.spurned}
	kube, err := loadKubeconfig(c.cfg.Kubeconfig)
	if f.kubeErr = err; err == nil {
		if kube.pair == nil && kube.certFile != "" && kube.certFile == c.kube.certFile {
			kube.pair = c.kube.pair // the file is gone or half written: go on with what it was
		}
		c.kube = kube
		c.store.given(kube.certFile, kube.keyFile)
	}
	f.kube = c.kube
	f.boot, f.bootErr = c.bootstrap()
	if c.cfg.Rotate {
		f.stored, foreign, f.storedErr = c.store.stored()
	}
	return f, foreign
}

// derive makes the kubeconfig from the bootstrap kubeconfig, and reports whether
// it has changed.
func (c *Client) derive(f *facts) bool {
	data, err := f.boot.derived(c.store.path())
	if err == nil {
		if have, _ := readFile(c.cfg.Kubeconfig); string(have) == string(data) {
			return false
		}
		err = writeSecret(c.cfg.Kubeconfig, data)
	}
	if err != nil {
		c.log.Error("cannot make the kubeconfig from the bootstrap kubeconfig", zap.Error(err))
		return false
	}
	c.log.Info("made the kubeconfig from the bootstrap kubeconfig; its certificate is kept beside the others",
		zap.String("kubeconfig", c.cfg.Kubeconfig), zap.String("certificate", c.store.path()), zap.NamedError("because", f.kubeErr))
	return true
}

// apply sends calls on with what was decided.
func (c *Client) apply(f *facts, d *decision, trouble string) {
	var wrong error
	if trouble != "" {
		wrong = errors.New(trouble)
	}
	c.shown.Store(d.pair)
	if d.pair == nil && !f.kube.otherwise() {
		c.sw.use(nil, wrong)
		return
	}
	h := sha256.New()
	h.Write(f.kube.digest[:])
	if d.pair != nil {
		h.Write(d.pair.Certificate[0])
	}
	key := [sha256.Size]byte(h.Sum(nil))
	if key == c.key {
		c.sw.use(nil, wrong)
		return
	}
	gen, err := newGeneration(credential{f.kube.rest, d.pair})
	if err != nil {
		c.log.Error("cannot use the credential for the API server; what was used before stays in use", zap.Error(err))
		return
	}
	c.key = key
	c.sw.use(gen, wrong)
	if leaf := leafOf(d.pair); leaf != nil {
		c.log.Info("the API server is shown a client certificate", zap.Stringer("subject", leaf.Subject),
			zap.Stringer("issuer", leaf.Issuer), zap.Time("until", leaf.NotAfter))
	}
}

// say logs what has changed, and once in a while what has not.
func (c *Client) say(f *facts, trouble string) {
	files := ""
	if err := errors.Join(f.kubeErr, f.storedErr); err != nil {
		files = err.Error()
	}
	if files != c.said.files && files != "" && trouble == "" {
		c.log.Warn("a file with the credential for the API server cannot be read; what it said before stays in use", zap.String("because", files))
	}
	switch {
	case trouble == "" && c.said.trouble != "":
		c.log.Info("there is a credential for the API server again")
	case trouble != "" && (trouble != c.said.trouble || f.now.Sub(c.said.at) >= reminder):
		c.log.Error(trouble)
		c.said.at = f.now
	}
	c.said.trouble, c.said.files = trouble, files
}

// requester returns the client that asks for a certificate: with the one that is
// there, or with the bootstrap kubeconfig if there is none that works.
func (c *Client) requester(now *tls.Certificate) (kubernetes.Interface, error) {
	boot, err := c.bootstrap()
	if now != nil || boot == nil || err != nil {
		return c.main, nil //nolint:nilerr // the credential that is there may still work; the trouble is logged elsewhere
	}
	return c.bootstrapClient(boot)
}

func (c *Client) bootstrapClient(boot *kubeconfig) (kubernetes.Interface, error) {
	gen, err := newGeneration(credential{boot.rest, boot.pair})
	if err != nil {
		return nil, err
	}
	c.setBoot(gen)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: gen.server.String(), Transport: gen.rt})
	if err != nil {
		return nil, fmt.Errorf("making a client from the bootstrap kubeconfig: %w", err)
	}
	return client, nil
}

// setBoot closes the connections of the request before.
func (c *Client) setBoot(gen *generation) {
	c.boot.mu.Lock()
	old := c.boot.gen
	c.boot.gen = gen
	c.boot.mu.Unlock()
	if old != nil {
		old.close()
	}
}
