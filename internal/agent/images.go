package agent

import (
	"context"
	"fmt"
	"os"
	"time"

	"go.uber.org/zap"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/events"
	"nodeagent.dev/nodeagent/internal/image"
	"nodeagent.dev/nodeagent/internal/image/credential"
	"nodeagent.dev/nodeagent/internal/image/pullrecord"
	"nodeagent.dev/nodeagent/internal/objects"
	"nodeagent.dev/nodeagent/internal/token"
)

// newImages returns what makes images present.
func (p *parts) newImages(ctx context.Context, have given, recorder *events.Recorder) (*image.Puller, error) {
	cfg := p.cfg.Images
	home, err := os.UserHomeDir()
	if err != nil {
		home = "" // a service without $HOME has no docker configuration there
	}
	found, err := credential.New(credential.Config{
		DockerConfigs:  credential.DockerConfigPaths(p.cfg.RootDir, home),
		ProviderConfig: cfg.CredentialConfig, ProviderBinDir: cfg.CredentialBinDir,
		ServiceAccountTokens: p.cfg.Features.Enabled("KubeletServiceAccountTokenForCredentialProviders"),
	}, p.credentialDeps(have.tokens), p.log.Named("credential"))
	if err != nil {
		return nil, err
	}
	if hash := found.ProviderConfigHash(); hash != "" {
		p.metrics.Images.Providers(hash)
	}
	keys := keyring{credentials: found, objects: have.objects, standalone: p.api.main == nil, log: p.log.Named("image")}
	puller := image.Config{
		PullQPS: float64(cfg.PullQPS), PullBurst: cfg.PullBurst, Serialize: cfg.Serialize, MaxParallel: cfg.MaxParallel,
		Keyring: keys, Events: recorder, MissingSecrets: keys.missing,
		Hooks: p.imageHooks(),
	}
	if cfg.Verification != "" {
		records, err := pullrecord.New(pullrecord.Config{RootDir: p.cfg.RootDir, Policy: cfg.Verification, Allowlist: cfg.Preloaded,
			Checked: p.metrics.Images.Checked}, p.log.Named("pullrecord"))
		if err != nil {
			return nil, err
		}
		stored, err := p.runtime.Images(ctx)
		if err != nil {
			return nil, fmt.Errorf("look which images are there: %w", err)
		}
		if err := records.Reconcile(stored); err != nil {
			p.log.Warn("some records of pulled images are left as they are", zap.Error(err))
		}
		puller.Records = records
		p.metrics.Images.Records(records.Sizes)
	}
	return image.New(puller, p.runtime, p.log.Named("image"))
}

// credentialDeps is what credential providers are told of service accounts; a node
// without an API server has none.
func (p *parts) credentialDeps(tokens *token.Manager) credential.Deps {
	observe := p.metrics.Images.Provider
	if p.api.main == nil {
		return credential.Deps{Observe: observe}
	}
	a := accounts{p.api.main.CoreV1(), tokens}
	return credential.Deps{Tokens: a, ServiceAccounts: a, Observe: observe}
}

// keyring finds the credentials of pods.
type keyring struct {
	credentials *credential.Store
	objects     *objects.Store
	standalone  bool
	log         *zap.Logger
}

// For implements image.Keyring.
func (k keyring) For(ctx context.Context, p *corev1.Pod, ref string) ([]credential.Credential, error) {
	secrets, _ := k.secrets(ctx, p)
	return k.credentials.For(ctx, p, secrets, ref)
}

// secrets are the pod's imagePullSecrets, and the names of those that do not exist
// or cannot be had. A pull may go well without them.
func (k keyring) secrets(ctx context.Context, p *corev1.Pod) (found []*corev1.Secret, missing []string) {
	names := containerspec.PullSecrets(p)
	if k.standalone || len(names) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	refer(k.objects, p)
	for _, name := range names {
		secret, err := k.objects.Secret(ctx, p.Namespace, name)
		if err == nil {
			found = append(found, secret)
			continue
		}
		missing = append(missing, name)
		if !apierrors.IsNotFound(err) {
			k.log.Warn("cannot read an image pull secret; trying without it", zap.String("secret", p.Namespace+"/"+name), zap.Error(err))
		}
	}
	return found, missing
}

func (k keyring) missing(ctx context.Context, p *corev1.Pod) []string {
	_, missing := k.secrets(ctx, p)
	return missing
}

// accounts speaks for service accounts with the API server.
type accounts struct {
	api    corev1client.CoreV1Interface
	tokens *token.Manager
}

// Token implements credential.Tokens.
func (a accounts) Token(ctx context.Context, namespace, account, podName string, uid types.UID, audience string) (string, time.Time, error) {
	got, err := a.tokens.Token(ctx, namespace, account, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{
			Audiences:      []string{audience},
			BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: podName, UID: uid},
		},
	})
	if err != nil {
		return "", time.Time{}, fmt.Errorf("request a token of service account %s/%s: %w", namespace, account, err)
	}
	return got.Status.Token, got.Status.ExpirationTimestamp.Time, nil
}

// ServiceAccount implements credential.ServiceAccounts.
func (a accounts) ServiceAccount(ctx context.Context, namespace, name string) (types.UID, map[string]string, error) {
	got, err := a.api.ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", nil, err
	}
	return got.UID, got.Annotations, nil
}
