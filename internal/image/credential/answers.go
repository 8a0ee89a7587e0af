package credential

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	api "k8s.io/kubelet/pkg/apis/credentialprovider"
)

// maxAnswers bounds the answers that are kept of a provider. Over it, the one
// that ends first goes.
const maxAnswers = 1000

// answers keeps what a provider answered, and shares runs under way. The zero
// value is empty.
type answers struct {
	mu     sync.Mutex
	kept   map[answerKey]keptAnswer
	flying map[flightKey]*flight
}

// answerKey is what an answer is kept for: for an image, a registry, or all
// images, and for whom.
type answerKey struct {
	scope  api.PluginCacheKeyType
	of     string
	caller caller
}

type keptAnswer struct {
	entries map[string]entry
	until   time.Time
}

type flightKey struct {
	repository string
	caller     caller
}

// flight is a run that somebody waits for.
type flight struct {
	cancel  context.CancelFunc
	waiters int           // guarded by answers.mu
	done    chan struct{} // closed once result and err are set
	result  result
	err     error
}

// get returns a kept answer, or that of a run. How widely an answer counts is
// known only when it is there, so runs are shared by those who ask for the same
// image on the same behalf. A run ends early when its last waiter has gone.
func (a *answers) get(ctx context.Context, repository string, id identity, run func(context.Context) (result, error)) (map[string]entry, error) {
	key := flightKey{repository: repository, caller: id.caller(true)}
	a.mu.Lock()
	if entries, ok := a.find(repository, id.caller(false)); ok {
		a.mu.Unlock()
		return entries, nil
	}
	f := a.flying[key]
	if f == nil {
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		f = &flight{cancel: cancel, done: make(chan struct{})}
		if a.flying == nil {
			a.flying = map[flightKey]*flight{}
		}
		a.flying[key] = f
		go a.fly(own, key, f, repository, id, run)
	}
	f.waiters++
	a.mu.Unlock()

	defer a.leave(key, f)
	select {
	case <-f.done:
		return f.result.entries, f.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (a *answers) fly(ctx context.Context, key flightKey, f *flight, repository string, id identity, run func(context.Context) (result, error)) {
	defer func() {
		if recover() != nil { // nobody else could, on this goroutine; the value may show what is secret
			f.err = fmt.Errorf("a bug: the provider's answer led to a panic\n%s", debug.Stack())
		}
		a.mu.Lock()
		if f.err == nil {
			a.keep(repository, id, f.result)
		}
		a.land(key, f)
		a.mu.Unlock()
		f.cancel()
		close(f.done)
	}()
	f.result, f.err = run(ctx)
}

// leave takes a waiter off. The last one to leave a run under way ends it, and
// sees it end.
func (a *answers) leave(key flightKey, f *flight) {
	a.mu.Lock()
	f.waiters--
	last := f.waiters == 0
	if last {
		f.cancel()
		a.land(key, f)
	}
	a.mu.Unlock()
	if last {
		<-f.done
	}
}

// land takes a flight off the map, unless a newer one is there. The caller holds
// the lock.
func (a *answers) land(key flightKey, f *flight) {
	if a.flying[key] == f {
		delete(a.flying, key)
	}
}

// find looks for a kept answer, the most special first. The caller holds the
// lock.
func (a *answers) find(repository string, c caller) (map[string]entry, bool) {
	now := time.Now()
	for _, scope := range []api.PluginCacheKeyType{api.ImagePluginCacheKeyType, api.RegistryPluginCacheKeyType, api.GlobalPluginCacheKeyType} {
		if kept, ok := a.kept[newAnswerKey(scope, repository, c)]; ok && !now.After(kept.until) {
			return kept.entries, true
		}
	}
	return nil, false
}

// keep keeps an answer as long as it says, and drops what has ended. The caller
// holds the lock.
func (a *answers) keep(repository string, id identity, r result) {
	if r.keep <= 0 {
		return
	}
	now := time.Now()
	until := now.Add(r.keep)
	if id.perToken && !id.expires.IsZero() && id.expires.Before(until) {
		until = id.expires // nobody comes with this token later
	}
	if a.kept == nil {
		a.kept = map[answerKey]keptAnswer{}
	}
	var first answerKey
	for key, kept := range a.kept {
		if now.After(kept.until) {
			delete(a.kept, key)
		} else if got, ok := a.kept[first]; !ok || kept.until.Before(got.until) {
			first = key
		}
	}
	key := newAnswerKey(r.scope, repository, id.caller(false))
	if _, there := a.kept[key]; !there && len(a.kept) >= maxAnswers {
		delete(a.kept, first)
	}
	a.kept[key] = keptAnswer{entries: r.entries, until: until}
}

func newAnswerKey(scope api.PluginCacheKeyType, repository string, c caller) answerKey {
	key := answerKey{scope: scope, caller: c}
	switch scope {
	case api.ImagePluginCacheKeyType:
		key.of = repository
	case api.RegistryPluginCacheKeyType:
		key.of, _, _ = strings.Cut(repository, "/")
	case api.GlobalPluginCacheKeyType:
	}
	return key
}
