package objects

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	clienttesting "k8s.io/client-go/testing"
)

func TestReferencesAreCounted(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.srv.put(configMap("a", "1"))
		w.srv.put(secret("s", "1"))
		w.Want("p1", "ns", []string{"a", "a", ""}, []string{"s"})
		w.expectWatched("[configmaps/a secrets/s]")
		w.expectNews("[[p1] [p1]]")
		w.Want("p2", "ns", []string{"a"}, nil)
		w.expectNews("[]") // it can read what is there
		w.srv.put(configMap("a", "2"))
		w.expectNews("[[p1 p2]]")
		w.expectValue("a", "2")
		w.Want("p1", "ns", []string{"a"}, []string{"t"})
		w.expectWatched("[configmaps/a secrets/t]")
		w.Want("p1", "ns", []string{"b"}, []string{"t"})
		w.expectWatched("[configmaps/a configmaps/b secrets/t]")
		w.Want("p1", "ns", []string{"b"}, nil)
		w.expectWatched("[configmaps/a configmaps/b]")
		w.srv.put(configMap("a", "3"))
		w.expectNews("[[p2]]")
		w.Drop("p2")
		w.Drop("p2")
		w.Drop("nobody")
		w.expectWatched("[configmaps/b]")
		if got := w.value("a"); !strings.Contains(got, "no pod") {
			t.Errorf("an object that nobody wants: %s", got)
		}
		w.Drop("p1")
		w.expectWatched("[]")
		if len(w.entries)+len(w.pods)+len(w.unstarted) != 0 {
			t.Errorf("kept: %v %v %v", w.entries, w.pods, w.unstarted)
		}
		if n := w.srv.count("list configmaps a"); n != 1 {
			t.Errorf("a was listed %d times", n)
		}
	})
}

func TestSameNamesInOtherPlaces(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		other := configMap("a", "other")
		other.Namespace = "other"
		w.srv.put(configMap("a", "mine"))
		w.srv.put(other)
		w.srv.put(secret("a", "hidden"))
		w.Want("p1", "ns", []string{"a"}, []string{"a"})
		w.Want("p2", "other", []string{"a"}, nil)
		w.Want("p3", "", []string{"a"}, nil) // would be the objects of all namespaces
		w.expectWatched("[configmaps/a configmaps/a secrets/a]")
		w.expectValue("a", "mine")
		if cm, err := w.ConfigMap(t.Context(), "other", "a"); err != nil || cm.Data["key"] != "other" {
			t.Errorf("got %v, %v", cm, err)
		}
		if s, err := w.Secret(t.Context(), "ns", "a"); err != nil || string(s.Data["key"]) != "hidden" || s.ManagedFields != nil {
			t.Errorf("got %v, %v", s, err)
		}
		w.news()
		w.srv.remove(other)
		w.expectNews("[[p2]]")
		w.expectValue("a", "mine")
	})
}

func TestNotFoundThenMadeThenDeletedThenMadeAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.Want("p", "ns", []string{"a"}, []string{"s"})
		w.expectNews("[]")
		_, err := w.ConfigMap(t.Context(), "ns", "a")
		if !apierrors.IsNotFound(err) || err.Error() != `configmap "a" not found` {
			t.Errorf("got %v", err)
		}
		_, err = w.Secret(t.Context(), "ns", "s")
		if !apierrors.IsNotFound(err) || err.Error() != `secret "s" not found` {
			t.Errorf("got %v", err)
		}
		w.srv.put(configMap("a", "1"))
		w.expectNews("[[p]]")
		w.expectValue("a", "1")
		w.srv.remove(configMap("a", ""))
		w.expectNews("[[p]]")
		w.expectValue("a", `configmap "a" not found`)
		again := configMap("a", "2")
		again.UID = "another"
		w.srv.put(again)
		w.expectNews("[[p]]")
		w.expectValue("a", "2")
	})
}

func TestImmutableIsReadOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		fixed := configMap("a", "1")
		fixed.Immutable = new(true)
		w.srv.put(fixed)
		w.srv.put(secret("s", "1"))
		w.Want("p", "ns", []string{"a"}, []string{"s"})
		w.expectWatched("[secrets/s]")
		w.expectValue("a", "1")
		if n := w.srv.count("watch configmaps a"); n != 0 {
			t.Errorf("an object that is immutable was watched %d times", n)
		}
		w.news()
		later := secret("s", "2")
		later.Immutable = new(true)
		w.srv.put(later)
		w.expectNews("[[p]]")
		w.expectWatched("[]")
		if s, err := w.Secret(t.Context(), "ns", "s"); err != nil || string(s.Data["key"]) != "2" {
			t.Errorf("got %v, %v", s, err)
		}
		w.Want("p2", "ns", []string{"a"}, nil)
		w.Drop("p")
		time.Sleep(time.Hour)
		w.expectValue("a", "1")
		// Unreferenced, it is forgotten: the next one may be another.
		w.Drop("p2")
		fixed.Data["key"], fixed.UID = "2", "another"
		w.srv.remove(fixed)
		w.srv.put(fixed)
		w.Want("p3", "ns", []string{"a"}, nil)
		w.expectValue("a", "2")
		if n := w.srv.count("list configmaps a"); n != 2 {
			t.Errorf("listed %d times", n)
		}
	})
}

// What a cache has may be older than the pod that wants the object.
func TestFirstListIsTheNewestState(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.Want("p", "ns", []string{"a"}, []string{"s"})
		synctest.Wait()
		lists := 0
		for _, a := range w.srv.client.Actions() {
			l, ok := a.(clienttesting.ListActionImpl)
			if !ok || slices.Contains([]string{"services", "runtimeclasses"}, a.GetResource().Resource) {
				continue
			}
			lists++
			if l.ListOptions.ResourceVersion != "" {
				t.Errorf("%s was listed at version %q", a.GetResource().Resource, l.ListOptions.ResourceVersion)
			}
		}
		if lists != 2 {
			t.Errorf("%d lists", lists)
		}
	})
}

func TestForbidden(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.srv.put(secret("s", "hidden"))
		w.srv.fail(apierrors.NewForbidden(corev1.Resource("secrets"), "s", errors.New("no relationship found")))
		w.Want("p", "ns", nil, []string{"s"})
		began := time.Now()
		_, err := w.Secret(t.Context(), "ns", "s")
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "listing secret ns/s") || !strings.Contains(err.Error(), `secrets "s" is forbidden`) {
			t.Errorf("got %v", err)
		}
		if waited := time.Since(began); waited != firstAnswer {
			t.Errorf("waited %s", waited)
		}
		time.Sleep(time.Hour)
		if n := w.srv.count("list secrets s"); n < 60 || n > 400 {
			t.Errorf("asked %d times in an hour", n)
		}
		if n := w.logs.FilterField(zap.String("what", "secret ns/s")).Len(); n != 1 {
			t.Errorf("said %d times", n)
		}
		began = time.Now()
		if _, err = w.Secret(t.Context(), "ns", "s"); !apierrors.IsForbidden(err) || time.Since(began) != 0 {
			t.Errorf("a failure that is known was waited for %s: %v", time.Since(began), err)
		}
		w.expectNews("[]")
		w.srv.fail(nil)
		time.Sleep(2 * time.Minute)
		w.expectNews("[[p]]")
		if s, err := w.Secret(t.Context(), "ns", "s"); err != nil || string(s.Data["key"]) != "hidden" {
			t.Errorf("got %v, %v", s, err)
		}
	})
}

// The node authorizer may hear of a pod later than the node does.
func TestForbiddenForAMomentIsWaitedFor(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.srv.put(configMap("a", "1"))
		w.srv.fail(apierrors.NewForbidden(corev1.Resource("configmaps"), "a", errors.New("no relationship found")))
		w.Want("p", "ns", []string{"a"}, nil)
		time.AfterFunc(500*time.Millisecond, func() { w.srv.fail(nil) })
		w.expectValue("a", "1")
	})
}

func TestOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.srv.put(configMap("a", "1"))
		w.srv.put(configMap("same", "1"))
		w.srv.put(configMap("gone", "1"))
		w.Want("p", "ns", []string{"a", "gone"}, nil)
		w.Want("q", "ns", []string{"same"}, nil)
		w.expectNews("[[p] [p] [q]]")
		w.srv.fail(errors.New("connection refused"))
		w.Want("r", "ns", []string{"new"}, nil)
		w.srv.put(configMap("a", "2"))
		w.srv.put(configMap("new", "1"))
		w.srv.remove(configMap("gone", ""))
		time.Sleep(10 * time.Minute)
		w.expectValue("a", "1")
		if got := w.value("new"); !strings.Contains(got, "listing configmap ns/new") || !strings.Contains(got, "connection refused") {
			t.Errorf("got %s", got)
		}
		w.expectNews("[]")
		w.srv.fail(nil)
		time.Sleep(2 * time.Minute)
		w.expectNews("[[p] [p] [r]]")
		w.expectValue("a", "2")
		w.expectValue("same", "1")
		w.expectValue("new", "1")
		w.expectValue("gone", `configmap "gone" not found`)
		if n := w.logs.FilterField(zap.String("what", "configmap ns/a")).Len(); n > 1 {
			t.Errorf("said %d times", n)
		}
	})
}

func TestErrorOfTheServerIsNotAbsence(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.srv.fail(apierrors.NewGenericServerResponse(404, "get", corev1.Resource("configmaps"), "", "page not found", 0, true))
		w.Want("p", "ns", []string{"a"}, nil)
		_, err := w.ConfigMap(t.Context(), "ns", "a")
		if err == nil || apierrors.IsNotFound(err) || !strings.Contains(err.Error(), "could not find") {
			t.Errorf("got %v", err)
		}
	})
}

func TestNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(newServer().client, Deps{}, zap.NewNop()) // nobody runs it
		s.Want("p", "ns", []string{"a"}, nil)
		began := time.Now()
		_, err := s.ConfigMap(t.Context(), "ns", "a")
		if err == nil || !strings.Contains(err.Error(), "has not answered") || time.Since(began) != firstAnswer {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		_, err = s.ConfigMap(ctx, "ns", "a")
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		if _, err = s.Services(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("services: %v", err)
		}
	})
}

func TestWantBeforeRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer()
		srv.put(configMap("a", "1"))
		s := New(srv.client, Deps{}, zap.NewNop())
		s.Want("p", "ns", []string{"a"}, []string{"given-up"})
		s.Want("p", "ns", []string{"a"}, nil)
		if len(s.unstarted) != 1 {
			t.Errorf("to be started: %v", s.unstarted)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		if cm, err := s.ConfigMap(ctx, "ns", "a"); err != nil || cm.Data["key"] != "1" {
			t.Errorf("got %v, %v", cm, err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if n := srv.count("list secrets given-up"); n != 0 {
			t.Errorf("what was given up was listed %d times", n)
		}
	})
}

// An end during an outage does not wait for the pause between two attempts.
func TestRunEndsAtOnceDuringAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer()
		srv.fail(apierrors.NewTooManyRequests("later", 600))
		s := New(srv.client, Deps{}, zap.NewNop())
		s.Want("p", "ns", []string{"a"}, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		began := time.Now()
		if err := s.Run(ctx); err != nil || time.Since(began) != time.Hour {
			t.Errorf("ended after %s: %v", time.Since(began), err)
		}
	})
}

func TestServices(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.srv.put(service("web", "10.0.0.1"))
		w.srv.put(service("headless", corev1.ClusterIPNone))
		expect := func(want string) {
			t.Helper()
			synctest.Wait()
			all, err := w.Services(t.Context())
			got := map[string]string{}
			for _, s := range all {
				got[s.Name] = s.Spec.ClusterIP
				if s.ManagedFields != nil {
					t.Error("managedFields are kept")
				}
			}
			if fmt.Sprint(got) != want || err != nil {
				t.Errorf("got %v, %v; want %s", got, err, want)
			}
		}
		expect("map[web:10.0.0.1]")
		w.srv.put(service("db", "10.0.0.2"))
		w.srv.put(service("web", "10.0.0.3"))
		expect("map[db:10.0.0.2 web:10.0.0.3]")
		w.srv.remove(service("db", "10.0.0.2"))
		expect("map[web:10.0.0.3]")
		w.srv.fail(errors.New("connection refused"))
		w.srv.remove(service("web", "10.0.0.3"))
		time.Sleep(time.Minute)
		expect("map[web:10.0.0.3]")
		w.srv.fail(nil)
		time.Sleep(2 * time.Minute)
		expect("map[]")
	})
}
