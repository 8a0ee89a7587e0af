package objects

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

func TestServicesWaitForTheFirstList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer()
		srv.put(service("web", "10.0.0.1"))
		srv.fail(errors.New("connection refused"))
		s := New(srv.client, Deps{}, zap.NewNop())
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		short, done := context.WithTimeout(ctx, time.Minute)
		defer done()
		if _, err := s.Services(short); err == nil || !strings.Contains(err.Error(), "listing the services") || !strings.Contains(err.Error(), "refused") {
			t.Errorf("got %v", err)
		}
		time.AfterFunc(time.Minute, func() { srv.fail(nil) })
		if all, err := s.Services(ctx); err != nil || len(all) != 1 {
			t.Errorf("got %v, %v", all, err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestStandalone(t *testing.T) {
	s := New(nil, Deps{}, zap.NewNop())
	s.Want("p", "ns", []string{"a"}, []string{"s"})
	_, configMapErr := s.ConfigMap(t.Context(), "ns", "a")
	_, secretErr := s.Secret(t.Context(), "ns", "s")
	_, servicesErr := s.Services(t.Context())
	kata := "kata"
	_, classErr := s.RuntimeHandler(t.Context(), &kata)
	for _, err := range []error{configMapErr, secretErr, servicesErr, classErr} {
		if !errors.Is(err, ErrNoServer) {
			t.Errorf("got %v", err)
		}
	}
	if handler, err := s.RuntimeHandler(t.Context(), nil); handler != "" || err != nil {
		t.Errorf("got %q, %v", handler, err)
	}
	s.Drop("p")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestNoSecretInAnyLogLine(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.srv.put(secret("s", "TOPSECRET"))
		w.Want("p", "ns", nil, []string{"s"})
		w.news()
		w.srv.fail(errors.New("connection refused"))
		time.Sleep(time.Minute)
		if w.logs.Len() == 0 {
			t.Error("an outage was not logged")
		}
		for _, l := range w.logs.All() {
			if strings.Contains(fmt.Sprint(l.Message, l.ContextMap()), "TOPSECRET") {
				t.Errorf("logged: %v", l)
			}
		}
	})
}
