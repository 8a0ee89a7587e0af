package token

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// A token is due once 80 % of its life are over, or a day, as in the kubelet. Up
	// to maxJitter earlier, so that not all pods of a node come at once.
	maxAge    = 24 * time.Hour
	maxJitter = 10 * time.Second
	// minLife is how long a token is good at least, whatever its times say: the
	// node's clock may be wrong, and asking without end would not set it right.
	minLife = time.Minute
	// retryAfter is when a refresh that failed is tried again. Until then the token,
	// which is still valid, is handed out.
	retryAfter = time.Minute
	// sweepEvery is how often expired tokens are looked for.
	sweepEvery = time.Minute
	// maxKept bounds the tokens in memory. What is over it is not kept.
	maxKept = 16384
)

// Client asks for tokens.
type Client interface {
	// CreateToken asks the API server for a token of a service account.
	CreateToken(ctx context.Context, namespace, serviceAccount string, req *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error)
}

// Manager hands out tokens. It is safe for concurrent use.
type Manager struct {
	client Client // nil: there is no API server
	log    *zap.Logger

	mu    sync.Mutex
	kept  map[key]*entry
	swept time.Time
}

// key is all that makes two requests the same.
type key struct {
	namespace, account string
	uid                types.UID // the account's, as a precondition
	audiences          string
	expiration         int64 // seconds, -1: none asked for
	bound              authenticationv1.BoundObjectReference
}

// entry is what is known about one request. The Manager's lock guards it.
type entry struct {
	token *authenticationv1.TokenRequest // nil: none yet
	due   time.Time
	// asking is closed when the question that is under way has been answered; nil:
	// nobody asks.
	asking chan struct{}
}

// New returns a Manager that has no tokens yet. A nil client stands for a node
// without an API server.
func New(client Client, log *zap.Logger) *Manager {
	return &Manager{client: client, log: log, kept: map[key]*entry{}}
}

// Token returns the request with its status, from memory while the token is not due.
// The answer is shared and not to be changed. When the refresh of a token fails, the
// token is handed out until it expires. Equal requests at the same time are one
// question to the API server.
func (m *Manager) Token(ctx context.Context, namespace, serviceAccount string, req *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	got, _, err := m.TokenDue(ctx, namespace, serviceAccount, req)
	return got, err
}

// TokenDue is [Manager.Token] and says when to ask again.
func (m *Manager) TokenDue(ctx context.Context, namespace, serviceAccount string, req *authenticationv1.TokenRequest) (got *authenticationv1.TokenRequest, due time.Time, err error) {
	if m.client == nil {
		return nil, time.Time{}, errors.New("cannot use TokenManager when kubelet is in standalone mode")
	}
	k := keyOf(namespace, serviceAccount, req)
	for {
		e, others := m.look(k)
		switch {
		case others != nil: // somebody asks already: look again once the answer is there
			select {
			case <-others:
				continue
			case <-ctx.Done():
				return nil, time.Time{}, fmt.Errorf("failed to fetch token: %w", ctx.Err())
			}
		case e.asking == nil:
			return e.token, e.due, nil
		}
		got, err := m.client.CreateToken(ctx, namespace, serviceAccount, req.DeepCopy())
		return m.answered(k, e.asking, got, err)
	}
}

// look returns a copy of what is known about a request. Its asking is nil when the
// token is good; else the caller is to ask. Others is not nil when somebody does.
func (m *Manager) look(k key) (e entry, others <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.kept[k]
	if known == nil {
		known = &entry{}
		m.kept[k] = known
	}
	if known.asking != nil {
		return entry{}, known.asking
	}
	if known.token == nil || !time.Now().Before(known.due) {
		known.asking = make(chan struct{})
	}
	return *known, nil
}

// answered notes an answer of the API server, or its failure, and returns what the
// caller gets.
func (m *Manager) answered(k key, asked chan struct{}, got *authenticationv1.TokenRequest, err error) (*authenticationv1.TokenRequest, time.Time, error) {
	if err == nil && (got == nil || got.Status.Token == "") {
		err = errors.New("the API server answered without a token")
	}
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	close(asked)
	e := m.kept[k]
	if e == nil || e.asking != asked {
		e = &entry{} // the pod has been dropped meanwhile
	}
	e.asking = nil
	if err == nil {
		got.ObjectMeta = metav1.ObjectMeta{} // nobody wants it, and there is one for each pod
		e.token, e.due = got, dueAt(got, now)
		m.sweep(now)
		if len(m.kept) > maxKept {
			delete(m.kept, k)
		}
		return e.token, e.due, nil
	}
	if e.token == nil {
		m.forget(k, e)
		return nil, time.Time{}, fmt.Errorf("failed to fetch token: %w", err)
	}
	if expired(e.token, now) {
		m.forget(k, e)
		return nil, time.Time{}, fmt.Errorf("token %q/%q expired and refresh failed: %w", k.account, k.namespace, err)
	}
	e.due = now.Add(retryAfter)
	if expires := e.token.Status.ExpirationTimestamp.Time; expires.Before(e.due) {
		e.due = expires
	}
	m.log.Warn("cannot refresh a service account token; the old one is still valid and is used until it expires",
		zap.String("serviceAccount", k.namespace+"/"+k.account), zap.String("pod", k.bound.Name), zap.Error(err))
	return e.token, e.due, nil
}

// forget drops an entry, if it is still the one for its request.
func (m *Manager) forget(k key, e *entry) {
	if m.kept[k] == e {
		delete(m.kept, k)
	}
}

// sweep drops expired tokens, once in a while.
func (m *Manager) sweep(now time.Time) {
	if now.Sub(m.swept) < sweepEvery {
		return
	}
	m.swept = now
	for k, e := range m.kept {
		if e.asking == nil && expired(e.token, now) {
			delete(m.kept, k)
		}
	}
}

// Drop forgets the tokens that are bound to a pod.
func (m *Manager) Drop(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k := range m.kept {
		if k.bound.UID == uid {
			delete(m.kept, k) // whoever asks for it closes its channel
		}
	}
}

func expired(t *authenticationv1.TokenRequest, now time.Time) bool {
	return now.After(t.Status.ExpirationTimestamp.Time)
}

// dueAt says when a token that has just come is to be refreshed.
func dueAt(t *authenticationv1.TokenRequest, now time.Time) time.Time {
	expires := t.Status.ExpirationTimestamp.Time
	life := expires.Sub(now)
	if t.Spec.ExpirationSeconds != nil {
		life = time.Duration(*t.Spec.ExpirationSeconds) * time.Second
	}
	due := expires.Add(-life / 5)
	if old := expires.Add(maxAge - life); old.Before(due) {
		due = old
	}
	due = due.Add(-rand.N(maxJitter)) //nolint:gosec // it spreads load, and keeps nothing secret
	if soonest := now.Add(minLife); due.Before(soonest) {
		return soonest
	}
	return due
}

func keyOf(namespace, account string, req *authenticationv1.TokenRequest) key {
	k := key{namespace: namespace, account: account, uid: req.UID, audiences: fmt.Sprintf("%q", req.Spec.Audiences), expiration: -1}
	if req.Spec.ExpirationSeconds != nil {
		k.expiration = *req.Spec.ExpirationSeconds
	}
	if req.Spec.BoundObjectRef != nil {
		k.bound = *req.Spec.BoundObjectRef
	}
	return k
}
