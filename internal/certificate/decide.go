package certificate

import (
	"crypto/tls"
	"fmt"
	"time"
)

// facts is what is known at one instant.
type facts struct {
	now    time.Time
	rotate bool // rotateCertificates
	// kube is the kubeconfig as last read, kubeErr why it cannot be read now.
	kube    *kubeconfig
	kubeErr error
	// stored is the newest pair in the certificate directory, with rotation only.
	// When it cannot be read, storedErr says why and stored is what it was before.
	stored    *tls.Certificate
	storedErr error
	// boot is the bootstrap kubeconfig; bootErr is why it cannot be used. Both
	// are nil if none is configured.
	boot    *kubeconfig
	bootErr error
	// refused is since when the API server answers every call with 401. After
	// patience the credential counts as no good.
	refused  time.Time
	patience time.Duration
	// shown is the pair in use, spurned one that was refused before.
	shown, spurned *tls.Certificate
}

// decision is what follows from facts.
type decision struct {
	// pair is the client certificate to show, nil for none.
	pair *tls.Certificate
	// usable is false if the API server is not going to accept what there is.
	usable bool
	// expired and refused say why it is not; neither means there is nothing.
	expired, refused bool
	// spurned is a pair that the server has refused, nil for none.
	spurned *tls.Certificate
	// derive: the kubeconfig is to be made from the bootstrap kubeconfig.
	derive bool
	// enrol: the bootstrap kubeconfig is to be used to ask for a certificate.
	enrol bool
}

// decide chooses the credential. Without rotation it is the kubeconfig's. With
// it, the newest pair in the certificate directory comes first, as for the
// kubelet; but one that has expired or is refused does not hide one that can work.
func decide(f *facts) decision {
	var d decision
	var candidates []*tls.Certificate
	if f.rotate && f.stored != nil {
		candidates = append(candidates, f.stored)
	}
	if f.kube != nil && f.kube.pair != nil {
		candidates = append(candidates, f.kube.pair)
	}
	refused := !f.refused.IsZero() && f.now.Sub(f.refused) >= f.patience
	if d.spurned = f.spurned; refused {
		d.spurned = f.shown
	}
	for _, c := range candidates {
		if current(c.Leaf, f.now) && (d.pair == nil || d.spurned != nil && same(d.pair, d.spurned)) {
			d.pair = c
		}
	}
	d.refused = refused && same(d.pair, f.shown)
	switch {
	case d.pair != nil:
		d.usable = !d.refused
	case f.kube != nil && f.kube.otherwise():
		d.usable = !d.refused
	case len(candidates) > 0:
		d.expired = true
		d.pair = candidates[0]
		for _, c := range candidates {
			if c.Leaf.NotAfter.After(d.pair.Leaf.NotAfter) {
				d.pair = c
			}
		}
	}
	if f.boot == nil {
		return d
	}
	// The kubelet's rule: only a certificate that is valid makes a kubeconfig one.
	valid := f.kubeErr == nil && f.kube != nil && f.kube.pair != nil && current(f.kube.pair.Leaf, f.now)
	d.derive = f.rotate && !valid
	d.enrol = !d.usable || !f.rotate && !valid
	return d
}

// places are where credentials come from, for those who read about trouble.
type places struct {
	kubeconfig, bootstrap, pem string
	rotate                     bool
}

// trouble says what is wrong and what to do about it, "" if nothing is.
func (d *decision) trouble(f *facts, at places) string {
	if d.usable {
		return ""
	}
	what := "there is no client certificate for the API server yet"
	switch leaf := leafOf(d.pair); {
	case d.expired:
		what = fmt.Sprintf("the client certificate of %s has expired at %s", leaf.Subject.CommonName, leaf.NotAfter.UTC().Format(time.RFC3339))
	case d.refused && leaf != nil:
		what = fmt.Sprintf("the API server refuses the client certificate of %s that was issued by %q (401 Unauthorized)", leaf.Subject.CommonName, leaf.Issuer.CommonName)
	case d.refused:
		what = "the API server refuses the credential in the kubeconfig (401 Unauthorized)"
	case f.kubeErr != nil:
		what += " (" + f.kubeErr.Error() + ")"
	}
	var todo string
	switch {
	case f.boot != nil:
		todo = fmt.Sprintf("one is asked for with %s (--bootstrap-kubeconfig); if that goes on, look for the request with kubectl get csr and approve it, and at the bootstrap token, which may have expired", at.bootstrap)
	case f.bootErr != nil:
		todo = fmt.Sprintf("put a bootstrap kubeconfig with a valid token at %s, which cannot be used now (%v)", at.bootstrap, f.bootErr)
	default:
		todo = "put a new certificate into the kubeconfig"
	}
	if f.boot == nil {
		where := at.kubeconfig
		if at.rotate {
			where = at.pem + " or " + at.kubeconfig
		}
		todo += fmt.Sprintf("; or replace %s (nodeagent check shows what is in them); it counts within seconds, no restart is needed", where)
	}
	return what + ": pods that are here go on running, but nothing new is heard of them or for them; " + todo
}
