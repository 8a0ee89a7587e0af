package access

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	certutil "k8s.io/client-go/util/cert"

	"nodeagent.dev/nodeagent/internal/server/serving/filewatch"
)

// Values of Config.Mode, as in the kubelet's configuration.
const (
	AlwaysAllow = "AlwaysAllow"
	Webhook     = "Webhook"
)

// Config says who may call, as the kubelet's configuration does.
type Config struct {
	NodeName string
	// Anonymous lets requests without credentials be those of
	// system:anonymous (authentication.anonymous.enabled). Wrong credentials
	// are refused nevertheless.
	Anonymous bool
	// Webhook asks the API server about bearer tokens
	// (authentication.webhook.enabled), TokenCacheTTL is how long an answer
	// holds; 0 asks every time.
	Webhook       bool
	TokenCacheTTL time.Duration
	// ClientCAFile holds the CAs of client certificates
	// (authentication.x509.clientCAFile) and is read again when it changes; ""
	// for none.
	ClientCAFile string
	// Mode is AlwaysAllow or Webhook (authorization.mode). AllowedTTL and
	// DeniedTTL are how long answers of the API server hold; 0 asks every time.
	Mode                  string
	AllowedTTL, DeniedTTL time.Duration
}

// Clients are the parts of the API server's client that are used. Every caller
// of the node's port can make requests of it: it should have a rate limit that
// it shares with nothing else.
type Clients interface {
	AuthenticationV1() authenticationclient.AuthenticationV1Interface
	AuthorizationV1() authorizationclient.AuthorizationV1Interface
}

// recheck is how often the CA file is read although no change was noticed.
const recheck = time.Minute

// Log lines that strangers can cause: this many of a kind are written per
// minute, and after those one in a hundred.
const (
	strangerLines = 20
	strangerEvery = 100
)

// Access decides about requests. It is made by New.
type Access struct {
	node   string
	ca     dynamiccertificates.CAContentProvider
	file   *dynamiccertificates.DynamicFileCAContent // nil without a client CA
	path   string
	users  authenticator.Request
	review reviewer
	log    *zap.Logger
	// guests logs what callers cause.
	guests *zap.Logger
}

// New reads the client CA. clients is the nil interface without an API server;
// then whatever would ask it is an error that says what to set.
func New(cfg Config, clients Clients, log *zap.Logger) (*Access, error) {
	a := &Access{node: cfg.NodeName, log: log, guests: log.WithOptions(
		zap.WrapCore(func(c zapcore.Core) zapcore.Core {
			return zapcore.NewSamplerWithOptions(c, time.Minute, strangerLines, strangerEvery)
		}))}
	if cfg.Webhook && clients == nil {
		return nil, errors.New("no client provided, cannot use webhook authentication: without an API server " +
			"(no --kubeconfig) nobody can check tokens; set authentication.webhook.enabled to false, or give a kubeconfig")
	}
	switch cfg.Mode {
	case AlwaysAllow:
		a.review = alwaysAllow{}
	case Webhook:
		if clients == nil {
			return nil, errors.New("no client provided, cannot use webhook authorization: without an API server " +
				"(no --kubeconfig) nobody can be asked who may call; set authorization.mode to AlwaysAllow, or give a kubeconfig")
		}
		a.review = newReviews(clients.AuthorizationV1().SubjectAccessReviews(), cfg.AllowedTTL, cfg.DeniedTTL)
	case "":
		return nil, errors.New("no authorization mode specified: set authorization.mode to Webhook or AlwaysAllow")
	default:
		return nil, fmt.Errorf("unknown authorization mode %s: set authorization.mode to Webhook or AlwaysAllow", cfg.Mode)
	}
	// Without a file, this knows no certificate.
	a.ca = dynamiccertificates.NewUnionCAContentProvider()
	if cfg.ClientCAFile != "" {
		file, err := openCA(cfg.ClientCAFile)
		if err != nil {
			return nil, fmt.Errorf("reading the client CA (authentication.x509.clientCAFile) %s: %w; "+
				"give a readable file with certificates in PEM form", cfg.ClientCAFile, err)
		}
		if a.path, err = filepath.Abs(cfg.ClientCAFile); err != nil {
			return nil, fmt.Errorf("finding the directory of %s: %w", cfg.ClientCAFile, err)
		}
		a.ca, a.file = file, file
	}
	var tokens authenticator.Token
	if cfg.Webhook {
		tokens = newTokens(clients.AuthenticationV1().TokenReviews(), cfg.TokenCacheTTL)
	}
	a.users = newUsers(a.ca, tokens, cfg.Anonymous)
	return a, nil
}

// openCA returns the CAs in a file. The library's own loop of reloads is not
// used: it misses links that are swapped, and nobody can wait for its end. It has
// a goroutine from birth, which an ended context ends; only one that failed to
// be born keeps it, so the file is tried before.
func openCA(path string) (*dynamiccertificates.DynamicFileCAContent, error) {
	if _, err := certutil.NewPool(path); err != nil {
		return nil, err
	}
	file, err := dynamiccertificates.NewDynamicCAContentFromFile("client-ca-bundle", path)
	if err != nil {
		return nil, err
	}
	ended, end := context.WithCancel(context.Background())
	end()
	file.Run(ended, 1)
	return file, nil
}

// ClientCA returns the CAs of client certificates: no content without a file.
// Listeners are told of changes during Run, and have to be added before it.
func (a *Access) ClientCA() dynamiccertificates.CAContentProvider { return a.ca }

// Run reads the client CA again whenever its file changes, until ctx ends. A
// file that cannot be used is logged, and the CAs from before stay in use. The
// error is always nil.
func (a *Access) Run(ctx context.Context) error {
	if a.file == nil {
		<-ctx.Done()
		return nil
	}
	told := ""
	reload := func() {
		err := a.file.RunOnce(ctx)
		if err == nil {
			told = ""
			return
		}
		if text := err.Error(); text != told {
			told = text
			a.log.Warn("the client CA cannot be read again, the one from before stays in use: give a readable file "+
				"with certificates in PEM form", zap.String("file", a.path), zap.Error(err))
		}
	}
	filewatch.Run(ctx, filewatch.Config{Paths: []string{a.path}, Every: recheck}, reload, a.log)
	return nil
}
