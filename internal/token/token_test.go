package token

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server issues tokens that say their number.
type server struct {
	takes time.Duration
	skew  time.Duration

	mu    sync.Mutex
	fail  error
	count int
}

func (s *server) CreateToken(ctx context.Context, namespace, account string, req *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	s.mu.Lock()
	s.count++
	n, fail := s.count, s.fail
	s.mu.Unlock()
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if fail != nil {
		return nil, fail
	}
	if req.Spec.ExpirationSeconds == nil {
		hour := int64(3600)
		req.Spec.ExpirationSeconds = &hour
	}
	req.Status.Token = fmt.Sprintf("secret-%s-%d", account, n)
	req.Status.ExpirationTimestamp = metav1.NewTime(time.Now().Add(s.skew + time.Duration(*req.Spec.ExpirationSeconds)*time.Second))
	return req, nil
}

func (s *server) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

func (s *server) failWith(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func request(uid types.UID, seconds int64, audiences ...string) *authenticationv1.TokenRequest {
	return &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		Audiences: audiences, ExpirationSeconds: &seconds,
		BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: "p", UID: uid},
	}}
}

func get(t *testing.T, m *Manager, req *authenticationv1.TokenRequest) (string, time.Time) {
	t.Helper()
	got, due, err := m.TokenDue(t.Context(), "ns", "sa", req)
	if err != nil {
		t.Fatal(err)
	}
	return got.Status.Token, due
}

func TestIsDueAsInTheKubelet(t *testing.T) {
	for name, c := range map[string]struct {
		seconds int64
		want    time.Duration
	}{
		"80 % of an hour":         {seconds: 3600, want: 48 * time.Minute},
		"80 % of the shortest":    {seconds: 600, want: 8 * time.Minute},
		"a day of a year":         {seconds: 365 * 24 * 3600, want: 24 * time.Hour},
		"80 % of just over a day": {seconds: 25 * 3600, want: 20 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := &server{}
				m := New(srv, zap.NewNop())
				began := time.Now()
				first, due := get(t, m, request("u", c.seconds))
				if after := due.Sub(began); after > c.want || after < c.want-maxJitter {
					t.Errorf("due after %v, want %v and up to %v less", after, c.want, maxJitter)
				}
				time.Sleep(time.Until(due) - time.Nanosecond)
				if again, _ := get(t, m, request("u", c.seconds)); again != first || srv.asked() != 1 {
					t.Errorf("before it is due: %s after %d questions", again, srv.asked())
				}
				time.Sleep(time.Nanosecond)
				if again, next := get(t, m, request("u", c.seconds)); again == first || !next.After(due) {
					t.Errorf("when it is due: %s, next at %v", again, next)
				}
			})
		})
	}
}

func TestWhatMakesRequestsDifferent(t *testing.T) {
	srv := &server{}
	m := New(srv, zap.NewNop())
	seen := map[string]bool{}
	none := request("a", 3600)
	none.Spec.ExpirationSeconds = nil
	unbound := request("a", 3600)
	unbound.Spec.BoundObjectRef = nil
	account := request("a", 3600)
	account.UID = "account"
	requests := []*authenticationv1.TokenRequest{
		request("a", 3600), request("b", 3600), request("a", 7200), request("a", 3600, "x"), request("a", 3600, "x", "y"),
		request("a", 3600, "x\" \"y"), none, unbound, account,
	}
	for range 2 {
		for _, req := range requests {
			got, _ := get(t, m, req)
			seen[got] = true
			if req.Status.Token != "" {
				t.Error("the caller's request was written to")
			}
		}
	}
	if len(seen) != len(requests) || srv.asked() != len(requests) {
		t.Errorf("%d tokens after %d questions, want %d", len(seen), srv.asked(), len(requests))
	}
	other, err := m.Token(t.Context(), "other", "sa", requests[0])
	if err != nil || seen[other.Status.Token] {
		t.Errorf("another namespace: %v, %v", other, err)
	}
}

func TestEqualRequestsAreOneQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{takes: time.Second}
		m := New(srv, zap.NewNop())
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() { get(t, m, request("u", 3600)) })
		}
		all.Wait()
		if srv.asked() != 1 {
			t.Errorf("%d questions, want 1", srv.asked())
		}
	})
}

func TestWhoGivesUpHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{takes: time.Minute}
		m := New(srv, zap.NewNop())
		brief, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := m.Token(brief, "ns", "sa", request("u", 3600)); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the first: %v", err)
			}
		})
		synctest.Wait()
		began := time.Now()
		all.Go(func() {
			if _, err := m.Token(brief, "ns", "sa", request("u", 3600)); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("one who waits with the first: %v", err)
			}
		})
		get(t, m, request("u", 3600))
		if took := time.Since(began); took != time.Second+time.Minute {
			t.Errorf("the last waited for %v", took)
		}
		all.Wait()
	})
}

func TestAnOldTokenIsBetterThanNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.DebugLevel)
		srv := &server{}
		m := New(srv, zap.New(core))
		first, due := get(t, m, request("u", 3600))
		expires := time.Now().Add(time.Hour)
		time.Sleep(time.Until(due))
		srv.failWith(errors.New("away"))
		for time.Now().Before(expires) {
			got, next := get(t, m, request("u", 3600))
			if got != first || !next.After(time.Now()) {
				t.Fatalf("got %s, next at %v", got, next)
			}
			before := srv.asked()
			if get(t, m, request("u", 3600)); srv.asked() != before {
				t.Fatal("asked again at once after a failure")
			}
			time.Sleep(time.Until(next))
		}
		time.Sleep(time.Second)
		_, err := m.Token(t.Context(), "ns", "sa", request("u", 3600))
		if want := `token "sa"/"ns" expired and refresh failed: away`; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		_, err = m.Token(t.Context(), "ns", "sa", request("u", 3600))
		if want := "failed to fetch token: away"; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		srv.failWith(nil)
		get(t, m, request("u", 3600))
		if logs.Len() == 0 {
			t.Error("nobody was told")
		}
		for _, line := range logs.All() {
			if strings.Contains(fmt.Sprint(line.Message, line.ContextMap()), "secret") {
				t.Errorf("a token in the log: %v", line)
			}
		}
	})
}

func TestAWrongClockDoesNotSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{skew: -2 * time.Hour}
		m := New(srv, zap.NewNop())
		for until := time.Now().Add(time.Hour); time.Now().Before(until); {
			_, due := get(t, m, request("u", 3600))
			time.Sleep(time.Until(due))
		}
		if srv.asked() > 60 {
			t.Errorf("%d questions in an hour", srv.asked())
		}
	})
}

func TestDroppedAndExpiredAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{}
		m := New(srv, zap.NewNop())
		for _, uid := range []types.UID{"a", "b", "c"} {
			get(t, m, request(uid, 600))
		}
		m.Drop("a")
		if len(m.kept) != 2 {
			t.Errorf("%d are kept after a pod is gone", len(m.kept))
		}
		time.Sleep(11 * time.Minute)
		get(t, m, request("d", 600))
		if len(m.kept) != 1 {
			t.Errorf("%d are kept after all others have expired", len(m.kept))
		}
		srv.takes = time.Second
		var all sync.WaitGroup
		all.Go(func() { get(t, m, request("e", 600)) })
		synctest.Wait()
		m.Drop("e")
		all.Wait()
		srv.failWith(errors.New("away"))
		if _, err := m.Token(t.Context(), "ns", "sa", request("f", 600)); err == nil || len(m.kept) != 1 {
			t.Errorf("%v, and %d are kept; want only that of d", err, len(m.kept))
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	m := New(&server{}, zap.NewNop())
	for i := range maxKept + 10 {
		get(t, m, request(types.UID(fmt.Sprint(i)), 3600))
	}
	if len(m.kept) > maxKept {
		t.Errorf("%d tokens are kept", len(m.kept))
	}
}

func TestWithoutAServer(t *testing.T) {
	_, err := New(nil, zap.NewNop()).Token(t.Context(), "ns", "sa", request("u", 3600))
	if err == nil || err.Error() != "cannot use TokenManager when kubelet is in standalone mode" {
		t.Error(err)
	}
}
