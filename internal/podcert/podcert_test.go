package podcert

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestKeys(t *testing.T) {
	for keyType, want := range map[string]string{
		"RSA3072": "RSA 3072", "RSA4096": "RSA 4096", "ECDSAP256": "P-256", "ECDSAP384": "P-384", "ECDSAP521": "P-521", "ED25519": "Ed25519",
	} {
		t.Run(keyType, func(t *testing.T) {
			key, proof, err := newKey(keyType)
			if err != nil {
				t.Fatal(err)
			}
			block, _ := pem.Decode(key)
			private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			request, err := x509.ParseCertificateRequest(proof)
			if err != nil {
				t.Fatal(err)
			}
			if err := request.CheckSignature(); err != nil {
				t.Error(err)
			}
			if len(request.Subject.Names)+len(request.Extensions)+len(request.DNSNames) > 0 {
				t.Errorf("the request says %v", request.Subject)
			}
			var got string
			var same bool
			switch private := private.(type) {
			case *rsa.PrivateKey:
				got, same = fmt.Sprint("RSA ", private.N.BitLen()), private.PublicKey.Equal(request.PublicKey)
			case *ecdsa.PrivateKey:
				got, same = private.Params().Name, private.PublicKey.Equal(request.PublicKey)
			case ed25519.PrivateKey:
				got, same = "Ed25519", private.Public().(ed25519.PublicKey).Equal(request.PublicKey)
			}
			if got != want || !same {
				t.Errorf("got %s, its public key in the request: %v", got, same)
			}
		})
	}
	if _, _, err := newKey("DSA"); err == nil || !strings.Contains(err.Error(), `unknown key type "DSA"`) {
		t.Errorf("got %v", err)
	}
}

func TestWhatIsRequested(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.signWith(issue)
		w.expect(pod("u"), "req-1 intermediate")
		r := w.made[0]
		if len(r.OwnerReferences) != 1 || r.OwnerReferences[0].UID != "u" || r.OwnerReferences[0].Kind != "Pod" ||
			r.OwnerReferences[0].APIVersion != "v1" || r.OwnerReferences[0].Name != "p-u" || r.OwnerReferences[0].Controller != nil {
			t.Errorf("owners %+v", r.OwnerReferences)
		}
		s := r.Spec
		if r.Namespace != "ns" || s.PodName != "p-u" || s.PodUID != "u" || s.ServiceAccountName != "sa" || s.ServiceAccountUID != "account-ns-sa" ||
			s.NodeName != "node" || s.NodeUID != "uid-of-node" || s.SignerName != "example.com/signer" || *s.MaxExpirationSeconds != 7200 ||
			fmt.Sprint(s.UnverifiedUserAnnotations) != "map[example.com/a:b]" || len(s.StubPKCS10Request) == 0 {
			t.Errorf("requested %+v", r)
		}
		w.expectTold("[u] []")
		if n := w.watching(); n != 0 {
			t.Errorf("%d watches while nothing is open", n)
		}
	})
}

func TestIsRenewedAndInUseUntilThen(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.signWith(issue)
		p := pod("u")
		w.expect(p, "req-1 intermediate")
		began := time.Now()
		first, _, _ := w.Certificate(t.Context(), p, "v", 1)
		w.signWith(nil)
		w.told()
		time.Sleep(30*time.Minute - time.Second)
		synctest.Wait()
		if w.requested() != 1 {
			t.Error("renewed before the signer said so")
		}
		time.Sleep(maxJitter + time.Second)
		synctest.Wait()
		if w.requested() != 2 {
			t.Fatalf("%d requests, want a second one", w.requested())
		}
		w.expect(p, "req-1 intermediate")
		w.expectTold("[] []")
		time.Sleep(overdueAfter)
		w.expectTold(`[] [p-u "" true CertificateOverdueForRefresh: PodCertificate refresh overdue]`)
		time.Sleep(time.Until(began.Add(time.Hour)))
		w.expectTold(`[] [p-u "" true CertificateExpired: PodCertificate expired]`)
		w.expect(p, "req-1 intermediate") // as the kubelet
		time.Sleep(time.Hour)
		w.expectTold("[] []")
		w.answer("req-2", issue)
		w.expectTold("[u] []")
		w.expect(p, "req-2 intermediate")
		if second, _, _ := w.Certificate(t.Context(), p, "v", 1); string(second) == string(first) {
			t.Error("the new certificate has the old key")
		}
		if w.requested() != 2 {
			t.Errorf("%d requests", w.requested())
		}
	})
}

func TestNoIsForGood(t *testing.T) {
	for kind, c := range map[string]struct{ err, event string }{
		"Denied": {
			err:   `PodCertificateRequest was permanently denied: reason="UnsupportedKeyType" message="try ED25519"`,
			event: `Denied: PodCertificateRequest ns/req-%d was denied, reason="UnsupportedKeyType", message="try ED25519"`,
		},
		"Failed": {
			err:   `PodCertificateRequest was permanently failed: reason="UnsupportedKeyType" message="try ED25519"`,
			event: `Failed: PodCertificateRequest ns/req-%d failed, reason="UnsupportedKeyType", message="try ED25519"`,
		},
	} {
		t.Run(kind, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.signWith(refuse(kind))
				w.expect(pod("u"), c.err)
				w.expectTold(`[u] [p-u "" true ` + fmt.Sprintf(c.event, 1) + "]")
				w.signWith(issue)
				time.Sleep(24 * time.Hour)
				began := time.Now()
				w.expect(pod("u"), c.err)
				if time.Since(began) > 0 || w.requested() != 1 {
					t.Errorf("%d requests, and waited for %v", w.requested(), time.Since(began))
				}
				w.expect(pod("later"), "req-2 intermediate")
				w.told()
				w.signWith(refuse(kind))
				time.Sleep(30*time.Minute + maxJitter + time.Minute)
				w.expectTold(`[later] [p-later "" true ` + fmt.Sprintf(c.event, 3) + "]")
				w.expect(pod("later"), c.err)
				if got, want := fmt.Sprint(w.States()), fmt.Sprintf("map[{example.com/signer %s}:2]", strings.ToLower(kind)); got != want {
					t.Errorf("states %s, want %s", got, want)
				}
			})
		})
	}
}

func TestWaitsForTheFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		began := time.Now()
		w.expect(pod("u"), "credential bundle is not issued yet")
		if waited := time.Since(began); waited != firstAnswer {
			t.Errorf("waited for %v", waited)
		}
		brief, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := w.Certificate(brief, pod("u"), "v", 1); !errors.Is(err, errNotIssued) {
			t.Errorf("got %v", err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if w.requested() != 1 || w.watching() != 1 {
			t.Errorf("%d requests and %d watches while one is open", w.requested(), w.watching())
		}
		w.answer("req-1", issue)
		w.expect(pod("u"), "req-1 intermediate")
	})
}

func TestASignerFasterThanTheAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.expect(pod("keeps-the-watch"), "credential bundle is not issued yet")
		w.signWith(issue)
		w.mu.Lock()
		w.atOnce = true
		w.mu.Unlock()
		w.expect(pod("u"), "req-2 intermediate")
	})
}

func TestARequestThatIsDeleted(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.expect(pod("u"), "credential bundle is not issued yet")
		w.signWith(issue)
		w.remove("req-1")
		if got := w.has(pod("u")); !strings.HasSuffix(got, " intermediate") {
			t.Errorf("got %s", got)
		}
	})
	inBubble(t, func(t *testing.T, w *world) { // unseen, during an outage
		w.expect(pod("u"), "credential bundle is not issued yet")
		w.failWith(errors.New("away"))
		time.Sleep(time.Minute)
		w.remove("req-1")
		w.failWith(nil)
		w.signWith(issue)
		time.Sleep(5 * time.Minute)
		if got := w.has(pod("u")); !strings.HasSuffix(got, " intermediate") {
			t.Errorf("got %s", got)
		}
	})
}

func TestAnOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.failWith(notFound())
		if got := w.has(pod("u")); !strings.HasPrefix(got, "credential bundle is not issued yet: look up service account ns/sa: ") {
			t.Error(got)
		}
		time.Sleep(time.Hour)
		if n := w.logs.Len(); n < 5 || n > 60 {
			t.Errorf("%d log lines in an hour", n)
		}
		w.failWith(nil)
		w.signWith(issue)
		time.Sleep(3 * time.Minute)
		w.expect(pod("u"), "req-1 intermediate")
		// What was requested before an outage is heard of after it.
		w.signWith(nil)
		w.expect(pod("v"), "credential bundle is not issued yet")
		w.failWith(errors.New("away"))
		w.answer("req-2", issue)
		time.Sleep(20 * time.Minute)
		w.failWith(nil)
		time.Sleep(3 * time.Minute)
		w.expect(pod("v"), "req-2 intermediate")
		w.mu.Lock()
		lists := w.lists
		w.mu.Unlock()
		if lists > 60 {
			t.Errorf("%d lists", lists)
		}
	})
}

func TestDrop(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.signWith(issue)
		w.expect(pod("renewed"), "req-1 intermediate")
		w.signWith(nil)
		w.expect(pod("open"), "credential bundle is not issued yet")
		w.Drop("renewed")
		w.Drop("open")
		w.Drop("never")
		if n := w.watching(); n != 0 || len(w.records) != 0 {
			t.Errorf("%d watches and %d records", n, len(w.records))
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if w.requested() != 2 {
			t.Errorf("%d requests", w.requested())
		}
		w.signWith(issue)
		w.expect(pod("open"), "req-3 intermediate")
	})
}

func TestManyPods(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.signWith(issue)
		var all sync.WaitGroup
		for i := range 100 {
			all.Go(func() {
				if got := w.has(pod(types.UID(fmt.Sprint(i)))); !strings.HasSuffix(got, " intermediate") {
					t.Error(got)
				}
			})
		}
		all.Wait()
		w.mu.Lock()
		requests, lists := len(w.made), w.lists
		w.mu.Unlock()
		if requests != 100 || lists > 5 {
			t.Errorf("%d requests, %d lists", requests, lists)
		}
	})
}

func TestNoKeyInAnyLogLineOrError(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.signWith(func(r *certificatesv1.PodCertificateRequest) {
			issue(r)
			r.Status.CertificateChain = ""
		})
		got := w.has(pod("u"))
		if !strings.Contains(got, "was issued without a certificate") {
			t.Error(got)
		}
		all := got
		for _, line := range w.logs.All() {
			all += fmt.Sprint(line.Message, line.ContextMap())
		}
		if w.logs.Len() == 0 || strings.Contains(all, "PRIVATE") {
			t.Error(all)
		}
	})
}

func TestAWrongClockDoesNotSpin(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.signWith(func(r *certificatesv1.PodCertificateRequest) {
			issue(r)
			for _, at := range []*time.Time{&r.Status.BeginRefreshAt.Time, &r.Status.NotAfter.Time} {
				*at = at.Add(-24 * time.Hour)
			}
		})
		w.has(pod("u"))
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := w.requested(); n > 60 {
			t.Errorf("%d requests in an hour", n)
		}
	})
}

func TestNoSuchSourceAndNoServer(t *testing.T) {
	m := New("node", Deps{}, zap.NewNop())
	if _, _, err := m.Certificate(t.Context(), pod("u"), "v", 1); err == nil {
		t.Error("a certificate without an API server")
	}
	inBubble(t, func(t *testing.T, w *world) {
		for _, source := range []int{-1, 0, 2} {
			if _, _, err := w.Certificate(t.Context(), pod("u"), "v", source); err == nil || !strings.Contains(err.Error(), "is no podCertificate") {
				t.Errorf("source %d: %v", source, err)
			}
		}
	})
}
