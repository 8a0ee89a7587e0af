package credential

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	configv1 "k8s.io/kubelet/config/v1"
)

// tokenRules are a provider's tokenAttributes.
type tokenRules struct {
	attributes configv1.ServiceAccountTokenAttributes
	tokens     Tokens
	accounts   ServiceAccounts
}

// identity is on whose behalf a provider is asked. The zero value is the node.
type identity struct {
	account     *ServiceAccountSource
	annotations map[string]string
	token       string
	expires     time.Time
	perToken    bool // answers count for this token only, not for the account
}

// caller is an identity as a key: without the secret.
type caller struct {
	namespace, name string
	uid             types.UID
	annotations     string // JSON, keys in order
	token           string // hash
}

// identify gets a pod's service account and its token. ask is false when the
// provider wants no question about such a pod.
func (t *tokenRules) identify(ctx context.Context, p *corev1.Pod) (id identity, ask bool, err error) {
	name := p.Spec.ServiceAccountName
	if name == "" {
		return identity{}, !*t.attributes.RequireServiceAccount, nil
	}
	uid, all, err := t.accounts.ServiceAccount(ctx, p.Namespace, name)
	if err != nil {
		return identity{}, false, fmt.Errorf("get service account %s/%s: %w", p.Namespace, name, err)
	}
	passed := map[string]string{}
	for _, key := range t.attributes.RequiredServiceAccountAnnotationKeys {
		value, ok := all[key]
		if !ok {
			return identity{}, false, nil
		}
		passed[key] = value
	}
	for _, key := range t.attributes.OptionalServiceAccountAnnotationKeys {
		if value, ok := all[key]; ok {
			passed[key] = value
		}
	}
	token, expires, err := t.tokens.Token(ctx, p.Namespace, name, p.Name, p.UID, t.attributes.ServiceAccountTokenAudience)
	if err == nil && token == "" {
		err = errors.New("it is empty")
	}
	if err != nil {
		return identity{}, false, fmt.Errorf("get a token of service account %s/%s for audience %q: %w",
			p.Namespace, name, t.attributes.ServiceAccountTokenAudience, err)
	}
	return identity{
		account:     &ServiceAccountSource{UID: uid, Namespace: p.Namespace, Name: name},
		annotations: passed, token: token, expires: expires,
		perToken: t.attributes.CacheType == configv1.TokenServiceAccountTokenCacheType,
	}, true, nil
}

// caller makes the key that answers are kept under, or, exactly, the one under
// which askers share a run.
func (id identity) caller(exactly bool) caller {
	if id.account == nil {
		return caller{}
	}
	c := caller{namespace: id.account.Namespace, name: id.account.Name, uid: id.account.UID}
	text, err := json.Marshal(id.annotations)
	if err == nil { // a map of strings cannot fail
		c.annotations = string(text)
	}
	if exactly || id.perToken {
		sum := sha256.Sum256([]byte(id.token))
		c.token = hex.EncodeToString(sum[:])
	}
	return c
}
