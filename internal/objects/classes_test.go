package objects

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// handler is what a class stands for, or the error.
func (w *world) handler(class string) string {
	handler, err := w.RuntimeHandler(w.t.Context(), &class)
	if err != nil {
		return err.Error()
	}
	return handler
}

func TestRuntimeHandler(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.srv.put(class("kata", "kata-qemu"))
		w.srv.put(class("plain", ""))
		const missing = `runtimeclass.node.k8s.io "gvisor" not found`
		expect := func(class, want string) {
			t.Helper()
			w.news()
			if got := w.handler(class); got != want {
				t.Errorf("%s is %q, want %q", class, got, want)
			}
		}
		expect("", "")
		expect("kata", "kata-qemu")
		expect("plain", "")
		expect("gvisor", missing)
		w.srv.put(class("gvisor", "runsc"))
		expect("gvisor", "runsc")
		w.srv.fail(errors.New("connection refused")) // what is known stays valid
		expect("gvisor", "runsc")
		w.srv.fail(nil)
		time.Sleep(time.Minute)
		w.srv.remove(class("gvisor", "runsc"))
		expect("gvisor", missing)
		name := "gvisor"
		if _, err := w.RuntimeHandler(t.Context(), &name); !apierrors.IsNotFound(err) {
			t.Errorf("got %v", err)
		}
		if handler, err := w.RuntimeHandler(t.Context(), nil); handler != "" || err != nil {
			t.Errorf("got %q, %v", handler, err)
		}
	})
}

// A class is not said to be missing before the classes are known.
func TestRuntimeHandlerWaitsForTheFirstList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer()
		srv.put(class("kata", "kata-qemu"))
		srv.fail(errors.New("connection refused"))
		s := New(srv.client, Deps{}, zap.NewNop())
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		name := "kata"
		short, done := context.WithTimeout(ctx, time.Minute)
		defer done()
		_, err := s.RuntimeHandler(short, &name)
		if err == nil || apierrors.IsNotFound(err) || !strings.Contains(err.Error(), "failed to lookup RuntimeClass kata") || !strings.Contains(err.Error(), "refused") {
			t.Errorf("got %v", err)
		}
		time.AfterFunc(time.Minute, func() { srv.fail(nil) })
		if handler, err := s.RuntimeHandler(ctx, &name); handler != "kata-qemu" || err != nil {
			t.Errorf("got %q, %v", handler, err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
