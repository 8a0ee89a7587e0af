package objects

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
)

// A stop can come between the moment Run takes an entry and the start of its watch.
func TestStoppedBeforeItsWatchBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer()
		s := New(srv.client, Deps{}, zap.NewNop())
		e := newEntry(key{resource: configMaps, namespace: "ns", name: "a"}, zap.NewNop())
		e.stop()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s.watchEntry(ctx, e)
		if n := srv.count("list configmaps a"); n != 0 || ctx.Err() != nil {
			t.Errorf("listed %d times, ended with %v", n, ctx.Err())
		}
	})
}

func TestOnlyTheOwnObjectIsTaken(t *testing.T) {
	told := 0
	e := newEntry(key{resource: configMaps, namespace: "ns", name: "a"}, zap.NewNop())
	s := sink{entry: e, tell: func(*entry) { told++ }}
	elsewhere := configMap("a", "elsewhere")
	elsewhere.Namespace = "other"
	if err := s.Replace([]any{elsewhere, configMap("a", "1"), configMap("b", "other")}, ""); err != nil {
		t.Error(err)
	}
	for _, change := range []func(any) error{s.Add, s.Update, s.Delete} {
		if err := change(configMap("b", "other")); err != nil {
			t.Error(err)
		}
		if err := change(&corev1.Node{}); err == nil {
			t.Error("a Node was accepted")
		}
	}
	if o, err := e.get(t.Context()); err != nil || o.GetName() != "a" || o.GetNamespace() != "ns" || told != 1 {
		t.Errorf("got %v, %v; told %d times", o, err, told)
	}
	if err := s.Delete(cache.DeletedFinalStateUnknown{Key: "ns/a", Obj: configMap("a", "1")}); err != nil || told != 2 {
		t.Errorf("told %d times: %v", told, err)
	}
}

// What fails because nobody wants it any longer is nothing to speak of.
func TestEndIsNoFailure(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	f := newFailures("something", zap.New(core))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.add(ctx, "listing", context.Canceled); err == nil || f.last() != nil || logs.Len() != 0 {
		t.Errorf("got %v, remembered %v, logged %v", err, f.last(), logs.All())
	}
}
