package credential

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	api "k8s.io/kubelet/pkg/apis/credentialprovider"
)

// asker counts runs.
type asker struct {
	answers
	t      *testing.T
	result result
	err    error
	takes  time.Duration
	runs   int
	ended  int
}

func (a *asker) ask(ctx context.Context, repository string, id identity) (map[string]entry, error) {
	return a.get(ctx, repository, id, func(ctx context.Context) (result, error) {
		a.runs++
		select {
		case <-time.After(a.takes):
			return a.result, a.err
		case <-ctx.Done():
			a.ended++
			return result{}, context.Cause(ctx)
		}
	})
}

// want asks and checks how often was run by now.
func (a *asker) want(runs int, repository string, id identity) {
	a.t.Helper()
	got, err := a.ask(a.t.Context(), repository, id)
	if err != a.err { //nolint:errorlint // the very same
		a.t.Errorf("%s: error %v", repository, err)
	}
	if a.err == nil && len(got) != len(a.result.entries) {
		a.t.Errorf("%s: got %d entries", repository, len(got))
	}
	if a.runs != runs {
		a.t.Errorf("%s: %d runs, want %d", repository, a.runs, runs)
	}
}

func TestHowLongAndForWhatAnswersAreKept(t *testing.T) {
	entries := map[string]entry{"r.io": {username: "u"}}
	for _, c := range []struct {
		scope                  api.PluginCacheKeyType
		image, registry, other int // runs after asking for the same again, for another image, for another registry
	}{
		{api.ImagePluginCacheKeyType, 1, 2, 3},
		{api.RegistryPluginCacheKeyType, 1, 1, 2},
		{api.GlobalPluginCacheKeyType, 1, 1, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := &asker{t: t, result: result{entries: entries, scope: c.scope, keep: time.Hour}}
			a.want(1, "r.io:5000/a", identity{})
			a.want(c.image, "r.io:5000/a", identity{})
			a.want(c.registry, "r.io:5000/b", identity{})
			a.want(c.other, "r.io/a", identity{})
			time.Sleep(time.Hour)
			a.want(c.other, "r.io/a", identity{}) // to the moment
			time.Sleep(time.Nanosecond)
			a.want(c.other+1, "r.io/a", identity{})
			if len(a.kept) != 1 {
				t.Errorf("%s: %d answers are kept", c.scope, len(a.kept))
			}
		})
	}
	for _, keep := range []time.Duration{0, -time.Hour} {
		a := &asker{t: t, result: result{entries: entries, scope: api.GlobalPluginCacheKeyType, keep: keep}}
		a.want(1, "r.io/a", identity{})
		a.want(2, "r.io/a", identity{})
	}
	// That there are none is an answer; a failure is not.
	a := &asker{t: t, result: result{scope: api.GlobalPluginCacheKeyType, keep: time.Hour}, err: errors.New("no")}
	a.want(1, "r.io/a", identity{})
	a.want(2, "r.io/a", identity{})
	a.err = nil
	a.want(3, "r.io/a", identity{})
	a.want(3, "r.io/a", identity{})
}

func TestForWhomAnswersAreKept(t *testing.T) {
	of := func(name, token, annotation string, perToken bool) identity {
		return identity{account: &ServiceAccountSource{UID: "u", Namespace: "ns", Name: name}, token: token,
			annotations: map[string]string{"a": annotation}, perToken: perToken}
	}
	synctest.Test(t, func(t *testing.T) {
		a := &asker{t: t, result: result{scope: api.GlobalPluginCacheKeyType, keep: time.Hour}}
		a.want(1, "r.io/a", identity{})
		a.want(2, "r.io/a", of("x", "1", "", false))
		a.want(2, "r.io/a", of("x", "2", "", false))
		a.want(3, "r.io/a", of("x", "2", "other", false))
		a.want(4, "r.io/a", of("y", "2", "", false))
		a.want(5, "r.io/a", of("x", "1", "", true))
		a.want(6, "r.io/a", of("x", "2", "", true))
		a.want(6, "r.io/a", of("x", "1", "", true))
		a.want(6, "r.io/a", of("x", "3", "", false))

		// An answer for a token ends with it.
		short := of("z", "1", "", true)
		short.expires = time.Now().Add(time.Minute)
		a.want(7, "r.io/a", short)
		time.Sleep(time.Minute)
		a.want(7, "r.io/a", short)
		time.Sleep(time.Nanosecond)
		a.want(8, "r.io/a", short)
	})
}

func TestAnswersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asker{t: t, result: result{scope: api.ImagePluginCacheKeyType, keep: time.Hour}}
		for i := range maxAnswers + 10 {
			a.want(i+1, fmt.Sprintf("r.io/%d", i), identity{})
			time.Sleep(time.Millisecond)
		}
		if len(a.kept) != maxAnswers {
			t.Errorf("%d answers are kept", len(a.kept))
		}
		a.want(a.runs, fmt.Sprintf("r.io/%d", maxAnswers+9), identity{})
		a.want(a.runs+1, "r.io/0", identity{})
	})
}

func TestOneRunForAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asker{t: t, takes: time.Minute, result: result{scope: api.ImagePluginCacheKeyType}}
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() {
				if i%2 == 0 {
					_, err := a.ask(ctx, "r.io/a", identity{})
					if !errors.Is(err, context.Canceled) {
						t.Errorf("error %v", err)
					}
				} else if _, err := a.ask(t.Context(), "r.io/a", identity{}); err != nil {
					t.Errorf("error %v: it was not this one's to end", err)
				}
			})
		}
		synctest.Wait()
		cancel()
		all.Wait()
		if a.runs != 1 || a.ended != 0 || len(a.flying) != 0 {
			t.Errorf("%d runs, %d ended early, %d under way", a.runs, a.ended, len(a.flying))
		}
	})
}

func TestTheLastToLeaveEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asker{t: t, takes: time.Minute}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.ask(ctx, "r.io/a", identity{}); !errors.Is(err, context.DeadlineExceeded) || a.ended != 1 {
			t.Errorf("error %v, %d ended", err, a.ended)
		}
		a.takes = 0
		a.want(2, "r.io/a", identity{}) // not the other's end
	})
}

func TestAPanicIsAnError(t *testing.T) {
	var a answers
	_, err := a.get(t.Context(), "r.io/a", identity{}, func(context.Context) (result, error) { panic("canary") })
	if err == nil || len(a.flying) != 0 {
		t.Errorf("error %v, %d under way", err, len(a.flying))
	}
}
