package credential

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/distribution/reference"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Config is what the node's configuration says about image credentials.
type Config struct {
	// DockerConfigs are the files to look for the node's own credentials in;
	// the first good one counts. See [DockerConfigPaths].
	DockerConfigs []string
	// ProviderConfig (--image-credential-provider-config) is a
	// CredentialProviderConfig or a directory of them, ProviderBinDir
	// (--image-credential-provider-bin-dir) where the programs are. Both are
	// given, or none.
	ProviderConfig, ProviderBinDir string
	// ServiceAccountTokens is the feature KubeletServiceAccountTokenForCredentialProviders:
	// without it, a configuration with tokenAttributes is refused.
	ServiceAccountTokens bool
}

// Tokens gets tokens of service accounts. It may keep them until they expire.
type Tokens interface {
	// Token returns a token for an audience, bound to a pod, and when it expires.
	Token(ctx context.Context, namespace, serviceAccount, podName string, podUID types.UID, audience string) (string, time.Time, error)
}

// ServiceAccounts looks service accounts up.
type ServiceAccounts interface {
	// ServiceAccount returns an account's UID and annotations.
	ServiceAccount(ctx context.Context, namespace, name string) (types.UID, map[string]string, error)
}

// Deps are the ports of a store. Tokens and ServiceAccounts are needed when a
// provider has tokenAttributes.
type Deps struct {
	Tokens          Tokens
	ServiceAccounts ServiceAccounts
	// Observe, if set, is told of each run of a provider's program: how long it
	// took and whether it failed.
	Observe func(provider string, took time.Duration, failed bool)
}

// Store finds credentials. It is safe for concurrent use and has no goroutines
// but those of a [Store.For] under way.
type Store struct {
	files     *nodeFiles
	providers []*provider
	hash      string
	log       *zap.Logger
}

// New returns a store. It fails when the providers' configuration is not valid
// or a program is missing, as the kubelet does at its start.
func New(cfg Config, deps Deps, log *zap.Logger) (*Store, error) {
	s := &Store{files: newNodeFiles(cfg.DockerConfigs, log), log: log}
	if cfg.ProviderConfig == "" && cfg.ProviderBinDir == "" {
		return s, nil
	}
	if cfg.ProviderConfig == "" || cfg.ProviderBinDir == "" {
		return nil, errors.New("image credential providers need both a configuration (--image-credential-provider-config) " +
			"and a directory of programs (--image-credential-provider-bin-dir): give both or none")
	}
	wire, err := newWire()
	if err != nil {
		return nil, fmt.Errorf("prepare to talk to image credential providers: %w", err)
	}
	configured, hash, err := readProviders(wire, cfg.ProviderConfig)
	if err != nil {
		return nil, fmt.Errorf("read the configuration of image credential providers: %w", err)
	}
	if errs := validateProviders(configured, cfg.ServiceAccountTokens); len(errs) > 0 {
		return nil, fmt.Errorf("the configuration of image credential providers in %q is not valid, correct it: %w",
			cfg.ProviderConfig, errs.ToAggregate())
	}
	s.hash = hash
	for _, c := range configured {
		p, err := newProvider(c, cfg.ProviderBinDir, deps, wire, log)
		if err != nil {
			return nil, fmt.Errorf("image credential provider %q: %w", c.Name, err)
		}
		s.providers = append(s.providers, p)
	}
	return s, nil
}

// ProviderConfigHash identifies the providers' configuration, as the label of
// the kubelet's metric credential_provider_config_info does; "" without
// providers.
func (s *Store) ProviderConfigHash() string { return s.hash }

// For returns the credentials to pull an image for a pod with, in the order they
// are to be tried; none means to pull anonymously. secrets are the pod's pull
// secrets that exist, in the pod's order; those of other types are ignored.
//
// A secret that cannot be read is an error, and so are a bad reference and a
// context that is done. A provider that fails is logged and left out, as the
// kubelet does.
func (s *Store) For(ctx context.Context, p *corev1.Pod, secrets []*corev1.Secret, image string) ([]Credential, error) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return nil, fmt.Errorf("couldn't parse image name %q: %w", image, err)
	}
	repository := named.Name()
	fromSecrets, err := s.secrets(secrets)
	if err != nil {
		return nil, err
	}
	found := fromSecrets.lookup(repository)
	found = append(found, s.files.keyring().lookup(repository)...)
	provided, err := s.ask(ctx, p, repository)
	if err != nil {
		return nil, fmt.Errorf("get credentials for image %q: %w", repository, err)
	}
	return append(found, provided.lookup(repository)...), nil
}

// secrets makes the keyring of a pod's pull secrets.
func (s *Store) secrets(secrets []*corev1.Secret) (*keyring, error) {
	ring := &keyring{}
	for _, secret := range secrets {
		if secret == nil {
			continue
		}
		var entries map[string]entry
		var err error
		configJSON, dockercfg := secret.Data[corev1.DockerConfigJsonKey], secret.Data[corev1.DockerConfigKey]
		switch {
		case secret.Type == corev1.SecretTypeDockerConfigJson && len(configJSON) > 0:
			entries, err = parseConfigJSON(configJSON)
		case secret.Type == corev1.SecretTypeDockercfg && len(dockercfg) > 0:
			entries, err = parseDockercfg(dockercfg)
		default:
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("the image pull secret %s/%s (%s) cannot be used, correct it: %w", secret.Namespace, secret.Name, secret.Type, err)
		}
		source := Source{Secret: &SecretSource{UID: secret.UID, Namespace: secret.Namespace, Name: secret.Name}}
		if bad := ring.add(entries, source); bad > 0 {
			s.log.Warn("Entries of an image pull secret are left out: their names are no registry addresses",
				zap.String("namespace", secret.Namespace), zap.String("secret", secret.Name), zap.Int("entries", bad))
		}
	}
	return ring, nil
}

// ask runs the providers that are for a repository, all at once, and keeps their
// order. Its error is the context's.
func (s *Store) ask(ctx context.Context, p *corev1.Pod, repository string) (*keyring, error) {
	ring := &keyring{}
	answers := make([]answer, len(s.providers))
	var all sync.WaitGroup
	for i, provider := range s.providers {
		if provider.isFor(repository) {
			all.Go(func() { answers[i] = provider.provide(ctx, p, repository) })
		}
	}
	all.Wait()
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	for i, a := range answers {
		log := s.log.With(zap.String("provider", s.providers[i].name), zap.String("image", repository))
		if a.err != nil {
			log.Warn("An image credential provider gave no credentials", zap.String("namespace", p.Namespace),
				zap.String("pod", p.Name), zap.Error(a.err))
			continue
		}
		source := Source{ServiceAccount: a.account, Node: a.account == nil}
		if bad := ring.add(a.entries, source); bad > 0 {
			log.Warn("Entries of a provider's answer are left out: their names are no registry addresses", zap.Int("entries", bad))
		}
	}
	return ring, nil
}
