package access

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/util/webhook"
	authorizerwebhook "k8s.io/apiserver/plugin/pkg/authorizer/webhook"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	certutil "k8s.io/client-go/util/cert"
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

// recheck is how often the CA file is read although no event told of a change.
const recheck = time.Minute

const (
	// reviewTimeout ends the wait for an API server that does not answer, all
	// attempts together.
	reviewTimeout = 30 * time.Second
	// firstPause is the shortest pause between two attempts, as in Kubernetes.
	firstPause = 500 * time.Millisecond
)

// Log lines that strangers can cause: this many of a kind are written per
// minute, and after those one in a hundred.
const (
	strangerLines = 20
	strangerEvery = 100
)

// Access decides about requests. It is made by New.
type Access struct {
	node    string
	ca      dynamiccertificates.CAContentProvider
	file    *dynamiccertificates.DynamicFileCAContent // nil without a client CA
	recheck time.Duration
	users   authenticator.Request
	review  authorizer.UnconditionalAuthorizer
	log     *zap.Logger
	// guests logs what callers cause. It is made when somebody has caused something:
	// it counts lines in half a MiB.
	guests func() *zap.Logger
}

// New reads the client CA. clients is the nil interface without an API server;
// then whatever would ask it is an error that says what to set. The library has
// goroutines for the CA file from here on, which Run ends.
func New(cfg Config, clients Clients, log *zap.Logger) (*Access, error) {
	a := &Access{node: cfg.NodeName, recheck: recheck, log: log, guests: sync.OnceValue(func() *zap.Logger {
		return log.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core {
			return zapcore.NewSamplerWithOptions(c, time.Minute, strangerLines, strangerEvery)
		}))
	})}
	pauses := webhook.DefaultRetryBackoffWithInitialDelay(firstPause)
	var err error
	if a.review, err = newReview(cfg, clients, &pauses); err != nil {
		return nil, err
	}
	who := authenticatorfactory.DelegatingAuthenticatorConfig{
		Anonymous:                &apiserver.AnonymousAuthConfig{Enabled: cfg.Anonymous},
		CacheTTL:                 cfg.TokenCacheTTL,
		TokenAccessReviewTimeout: reviewTimeout,
		WebhookRetryBackoff:      &pauses,
	}
	if cfg.Webhook {
		if clients == nil {
			return nil, errors.New("no client provided, cannot use webhook authentication: without an API server " +
				"(no --kubeconfig) nobody can check tokens; set authentication.webhook.enabled to false, or give a kubeconfig")
		}
		who.TokenAccessReviewClient = clients.AuthenticationV1()
	}
	if err := a.openCA(cfg.ClientCAFile); err != nil {
		return nil, err
	}
	who.ClientCertificateCAContentProvider = a.ca
	if a.users, _, err = who.New(); err != nil {
		return nil, fmt.Errorf("setting up authentication: %w", err)
	}
	return a, nil
}

// newReview returns what says whether a user may do something.
func newReview(cfg Config, clients Clients, pauses *wait.Backoff) (authorizer.UnconditionalAuthorizer, error) {
	switch cfg.Mode {
	case AlwaysAllow:
		return authorizerfactory.NewAlwaysAllowAuthorizer(), nil
	case Webhook:
		if clients == nil {
			return nil, errors.New("no client provided, cannot use webhook authorization: without an API server " +
				"(no --kubeconfig) nobody can be asked who may call; set authorization.mode to AlwaysAllow, or give a kubeconfig")
		}
		// What authorizerfactory would make, but for its compiler of CEL, which is
		// for conditions that a kubelet's configuration has no place for.
		review, err := authorizerwebhook.NewFromInterface(clients.AuthorizationV1(), cfg.AllowedTTL, cfg.DeniedTTL, *pauses,
			authorizer.DecisionNoOpinion, authorizerfactory.NewDelegatingAuthorizerMetrics(), nil)
		if err != nil {
			return nil, fmt.Errorf("setting up authorization: %w", err)
		}
		return review, nil
	case "":
		return nil, errors.New("no authorization mode specified: set authorization.mode to Webhook or AlwaysAllow")
	default:
		return nil, fmt.Errorf("unknown authorization mode %s: set authorization.mode to Webhook or AlwaysAllow", cfg.Mode)
	}
}

// openCA reads the CAs in a file; none for "".
func (a *Access) openCA(path string) error {
	if path == "" {
		a.ca = dynamiccertificates.NewUnionCAContentProvider()
		return nil
	}
	// Tried first: the library keeps goroutines of a file that it cannot load.
	_, err := certutil.NewPool(path)
	if err == nil {
		a.file, err = dynamiccertificates.NewDynamicCAContentFromFile("client-ca-bundle", path)
	}
	if err != nil {
		return fmt.Errorf("reading the client CA (authentication.x509.clientCAFile) %s: %w; "+
			"give a readable file with certificates in PEM form", path, err)
	}
	a.ca = a.file
	return nil
}

// ClientCA returns the CAs of client certificates: no content without a file.
// Listeners are told of changes during Run, and have to be added before it.
func (a *Access) ClientCA() dynamiccertificates.CAContentProvider { return a.ca }

// Run reads the client CA again whenever its file changes, until ctx ends; it
// has to be called once. A file that cannot be used is logged, and the CAs from
// before stay in use. When it returns, goroutines of the library are told to end
// and may take a moment. The error is always nil.
func (a *Access) Run(ctx context.Context) error {
	if a.file == nil {
		<-ctx.Done()
		return nil
	}
	var loops sync.WaitGroup
	loops.Go(func() { a.file.Run(ctx, 1) })
	loops.Go(func() { wait.UntilWithContext(ctx, a.check, a.recheck) })
	loops.Wait()
	return nil
}

// check finds what the library's watch does not see (doc.go). Should it overlap
// with the library's own reading and put an older content back, the next one
// corrects that.
func (a *Access) check(ctx context.Context) {
	if err := a.file.RunOnce(ctx); err != nil {
		a.log.Warn("the client CA cannot be read again, the one from before stays in use: give a readable file "+
			"with certificates in PEM form", zap.String("file", a.file.Name()), zap.Error(err))
	}
}
