package podcert

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"
	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// maxJitter spreads renewals: each begins up to this later than the signer says.
	maxJitter = 5 * time.Minute
	// minLife is when a certificate is renewed at the soonest, whatever its times say:
	// the node's clock may be wrong.
	minLife = time.Minute
	// overdueAfter is how long a renewal may take before users are told.
	overdueAfter = 10 * time.Minute
	// askTimeout bounds one question to the API server.
	askTimeout = 30 * time.Second
	// The pauses between attempts grow from firstPause to lastPause.
	firstPause = 500 * time.Millisecond
	lastPause  = 2 * time.Minute

	reasonOverdue = "CertificateOverdueForRefresh"
	reasonExpired = "CertificateExpired"
)

// refusal is a signer's final no.
type refusal struct {
	kind            string // Denied, Failed
	request         types.NamespacedName
	reason, message string
}

// Error is what is said about the volume, in the kubelet's words.
func (r *refusal) Error() string {
	return fmt.Sprintf("PodCertificateRequest was permanently %s: reason=%q message=%q", r.word(), r.reason, r.message)
}

func (r *refusal) word() string {
	if r.kind == certificatesv1.PodCertificateRequestConditionTypeDenied {
		return "denied"
	}
	return "failed"
}

// event is what users are told once.
func (r *refusal) event() string {
	verb := "failed"
	if r.word() == "denied" {
		verb = "was denied"
	}
	return fmt.Sprintf("PodCertificateRequest %s %s, reason=%q, message=%q", r.request, verb, r.reason, r.message)
}

// keep has a certificate made and renewed until it is dropped, refused, or ctx ends.
func (m *Manager) keep(ctx context.Context, r *record) {
	ctx, cancel := context.WithCancel(ctx)
	var waiting sync.WaitGroup
	defer func() {
		cancel()
		waiting.Wait()
	}()
	waiting.Go(func() {
		select {
		case <-r.dropped:
			cancel()
		case <-ctx.Done():
		}
	})
	var have aging
	for failures := 0; ctx.Err() == nil; {
		got, err := m.obtain(ctx, r, &have)
		var until time.Time
		switch no, refused := errors.AsType[*refusal](err); {
		case ctx.Err() != nil:
			return
		case refused:
			m.tell(r, no.kind, no.event())
			m.set(r, nil, no, true)
			return
		case err != nil:
			m.log.Warn("cannot have a certificate made for a pod; it is tried again with growing pauses",
				zap.String("pod", m.nameOf(r)), zap.String("volume", r.id.volume), zap.Int("source", r.id.source), zap.Error(err))
			if have.certificate == nil {
				m.set(r, nil, fmt.Errorf("%w: %w", errNotIssued, err), false)
			}
			until = time.Now().Add(pause(failures))
			failures++
		default:
			failures = 0
			have = aging{certificate: got}
			m.set(r, got, nil, false)
			until = got.refreshAt
		}
		if _, err := m.wait(ctx, r, &have, until, nil); err != nil {
			return
		}
	}
}

func pause(failures int) time.Duration {
	p := min(firstPause<<min(failures, 16), lastPause)
	return p + rand.N(p/5) //nolint:gosec // it spreads load, and keeps nothing secret
}

// aging is the certificate in use, and what users have been told about its age.
type aging struct {
	*certificate     // nil: there is none
	overdue, expired bool
}

// next returns when users are to be told something.
func (a *aging) next() (at time.Time) {
	if a.certificate == nil {
		return at
	}
	for _, warning := range []struct {
		said bool
		at   time.Time
	}{{a.overdue, a.refreshAt.Add(overdueAfter)}, {a.expired, a.expires}} {
		if !warning.said && (at.IsZero() || warning.at.Before(at)) {
			at = warning.at
		}
	}
	return at
}

// warn tells users that a renewal takes too long.
func (m *Manager) warn(r *record, a *aging) {
	if a.certificate == nil {
		return
	}
	now := time.Now()
	if !a.overdue && !now.Before(a.refreshAt.Add(overdueAfter)) {
		a.overdue = true
		m.tell(r, reasonOverdue, "PodCertificate refresh overdue")
	}
	if !a.expired && !now.Before(a.expires) {
		a.expired = true
		m.tell(r, reasonExpired, "PodCertificate expired")
	}
}

// wait waits for an answer or a time; zero: for ever. The error is that of ctx. A
// request that has gone away is answered with nil.
func (m *Manager) wait(ctx context.Context, r *record, a *aging, until time.Time, answers <-chan *certificatesv1.PodCertificateRequest) (*certificatesv1.PodCertificateRequest, error) {
	for {
		m.warn(r, a)
		at := a.next()
		if at.IsZero() || !until.IsZero() && until.Before(at) {
			at = until
		}
		var timer <-chan time.Time
		if !at.IsZero() {
			timer = time.After(time.Until(at))
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case answer := <-answers:
			return answer, nil
		case <-timer:
			if !until.IsZero() && !time.Now().Before(until) {
				return nil, nil //nolint:nilnil // the time has come, and there is no answer
			}
		}
	}
}

// obtain requests a certificate and waits for the answer.
func (m *Manager) obtain(ctx context.Context, r *record, have *aging) (*certificate, error) {
	key, made, err := m.request(ctx, r)
	if err != nil {
		return nil, err
	}
	name := types.NamespacedName{Namespace: made.Namespace, Name: made.Name}
	answers := m.open.follow(name)
	defer m.open.unfollow(name)
	answer, err := m.wait(ctx, r, have, time.Time{}, answers)
	if err != nil {
		return nil, err
	}
	if answer == nil {
		return nil, fmt.Errorf("PodCertificateRequest %q appears to have been deleted", name.String())
	}
	condition := verdict(answer)
	if condition.Type != certificatesv1.PodCertificateRequestConditionTypeIssued {
		return nil, &refusal{kind: condition.Type, request: name, reason: condition.Reason, message: condition.Message}
	}
	status := &answer.Status
	chain := cleaned(status.CertificateChain)
	if len(chain) == 0 || status.BeginRefreshAt == nil || status.NotAfter == nil {
		return nil, fmt.Errorf("PodCertificateRequest %q was issued without a certificate, or without beginRefreshAt or notAfter", name.String())
	}
	refreshAt := status.BeginRefreshAt.Add(rand.N(maxJitter)) //nolint:gosec // it spreads load, and keeps nothing secret
	if soonest := time.Now().Add(minLife); refreshAt.Before(soonest) {
		refreshAt = soonest
	}
	return &certificate{key: key, chain: chain, refreshAt: refreshAt, expires: status.NotAfter.Time}, nil
}

// request makes a key and asks for a certificate.
func (m *Manager) request(ctx context.Context, r *record) (key []byte, made *certificatesv1.PodCertificateRequest, err error) {
	p := m.podOf(r)
	bounded, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	account, err := m.deps.Client.ServiceAccount(bounded, p.Namespace, p.Spec.ServiceAccountName)
	if err != nil {
		return nil, nil, fmt.Errorf("look up service account %s/%s: %w", p.Namespace, p.Spec.ServiceAccountName, err)
	}
	node, err := m.deps.Client.Node(bounded)
	if err != nil {
		return nil, nil, fmt.Errorf("look up node %s: %w", m.node, err)
	}
	key, proof, err := m.newKey(ctx, r.wanted.KeyType)
	if err != nil {
		return nil, nil, err
	}
	bounded, cancel = context.WithTimeout(ctx, askTimeout)
	defer cancel()
	made, err = m.deps.Client.Create(bounded, &certificatesv1.PodCertificateRequest{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: p.Namespace, GenerateName: "req-",
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: p.Name, UID: p.UID}},
		},
		Spec: certificatesv1.PodCertificateRequestSpec{
			SignerName: r.wanted.SignerName,
			PodName:    p.Name, PodUID: p.UID,
			ServiceAccountName: p.Spec.ServiceAccountName, ServiceAccountUID: account,
			NodeName: types.NodeName(m.node), NodeUID: node,
			MaxExpirationSeconds:      r.wanted.MaxExpirationSeconds,
			StubPKCS10Request:         proof,
			UnverifiedUserAnnotations: r.wanted.UserAnnotations,
		},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("create a PodCertificateRequest for pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	return key, made, nil
}

func (m *Manager) newKey(ctx context.Context, keyType string) (key, proof []byte, err error) {
	select {
	case m.making <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	defer func() { <-m.making }()
	return newKey(keyType)
}

// State counts certificates for metrics, as the kubelet names them.
type State struct {
	Signer string
	// State is not_yet_issued, fresh, overdue_for_refresh, expired, denied or failed.
	State string
}

// States says how many certificates are in which state.
func (m *Manager) States() map[State]int {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	states := map[State]int{}
	for _, r := range m.records {
		states[State{Signer: r.wanted.SignerName, State: r.state(now)}]++
	}
	return states
}

func (r *record) state(now time.Time) string {
	no, refused := errors.AsType[*refusal](r.err)
	switch {
	case refused:
		return no.word()
	case r.certificate == nil:
		return "not_yet_issued"
	case now.After(r.certificate.expires):
		return "expired"
	case now.After(r.certificate.refreshAt.Add(overdueAfter)):
		return "overdue_for_refresh"
	}
	return "fresh"
}
