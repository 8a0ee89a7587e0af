package status

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestRefusedStatusDoesNotHoldUpOthers(t *testing.T) {
	pods := []*corev1.Pod{newPod("good")}
	for i := range 3 * senders {
		pods = append(pods, newPod(fmt.Sprint("bad", i)))
	}
	s := newServer(pods...)
	s.setRule(func(_ context.Context, c call) error {
		if c.name != "good" {
			return apierrors.NewInvalid(schema.GroupKind{Kind: "Pod"}, c.name, nil)
		}
		return nil
	})
	run(t, s, func(t *testing.T, w *Writer) {
		for _, p := range pods[1:] {
			w.Publish(p, saying("refused"), false)
		}
		for i := range 20 {
			w.Publish(s.pod("good"), saying(strconv.Itoa(i)), false)
			synctest.Wait() // no time passes
			if got := s.message("good"); got != strconv.Itoa(i) {
				t.Fatalf("the API has %q, want %d at once", got, i)
			}
			pass(777 * time.Millisecond)
		}
		s.setRule(nil)
		pass(retryPodMax)
		for _, p := range pods[1:] {
			if got := s.message(p.Name); got != "refused" {
				t.Errorf("%s: %q after the cause was healed", p.Name, got)
			}
		}
	})
}

func TestOutage(t *testing.T) {
	const pods, outage = 200, time.Minute
	errs := map[string]func(ctx context.Context) error{
		"connection refused": func(context.Context) error { return fmt.Errorf("dial tcp: connection refused") },
		"unavailable":        func(context.Context) error { return apierrors.NewServiceUnavailable("no etcd") },
		"too many requests":  func(context.Context) error { return apierrors.NewTooManyRequests("slow down", 1) },
		"internal error":     func(context.Context) error { return apierrors.NewInternalError(fmt.Errorf("etcd")) },
	}
	for name, fail := range errs {
		t.Run(name, func(t *testing.T) {
			s := newServer()
			for i := range pods {
				p := newPod(fmt.Sprint("p", i))
				p.ResourceVersion = "1"
				s.pods[p.Name] = p
			}
			s.version = 1
			s.setRule(func(ctx context.Context, _ call) error { return fail(ctx) })
			run(t, s, func(t *testing.T, w *Writer) {
				// Statuses go on changing while nobody listens.
				for tick := range 6 {
					for name, p := range s.pods {
						w.Publish(p, saying(name+" "+strconv.Itoa(tick)), false)
					}
					pass(outage / 6)
				}
				perSecond := map[time.Duration]int{}
				calls := s.requests()
				for _, c := range calls {
					perSecond[c.at.Sub(calls[0].at).Truncate(time.Second)]++
				}
				for second, n := range perSecond {
					if limit := 5 * senders; n > limit || second > 3*time.Second && n > senders {
						t.Errorf("%d requests in second %s of the outage", n, second)
					}
				}
				if len(calls) < 60 {
					t.Errorf("%d requests in a minute: the end of the outage would be noticed late", len(calls))
				}
				s.setRule(nil)
				pass(3 * time.Second)
				for name := range s.pods {
					if got, want := s.message(name), name+" 5"; got != want {
						t.Errorf("%s: the API has %q 3 s after the outage, want %q", name, got, want)
					}
				}
				if n := len(s.requests()) - len(calls); n > pods {
					t.Errorf("%d requests to deliver %d statuses", n, pods)
				}
			})
		})
	}
}

// A server that swallows requests holds a sender for the time of a request and
// not longer.
func TestHangingServer(t *testing.T) {
	s := newServer(newPod("a"))
	s.setRule(func(ctx context.Context, _ call) error { <-ctx.Done(); return ctx.Err() })
	run(t, s, func(t *testing.T, w *Writer) {
		w.Publish(s.pod("a"), saying("1"), false)
		pass(5 * time.Second)
		s.setRule(nil)
		pass(requestTimeout)
		if got := s.message("a"); got != "1" {
			t.Errorf("the API has %q", got)
		}
	})
}

func TestEndDoesNotWaitForAHangingServer(t *testing.T) {
	s := newServer(newPod("a"))
	s.setRule(func(ctx context.Context, _ call) error { <-ctx.Done(); return ctx.Err() })
	begin := time.Time{}
	run(t, s, func(t *testing.T, w *Writer) {
		begin = time.Now()
		w.Publish(s.pod("a"), saying("1"), false)
		synctest.Wait()
		t.Cleanup(func() {
			if took := time.Since(begin); took != 0 {
				t.Errorf("the end took %s", took)
			}
		})
	})
}
