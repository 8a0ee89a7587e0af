package certificate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// hold is how long a call waits for a credential that can work. It is then
// tried with the one that is there.
const hold = 10 * time.Second

// Switch is an http.RoundTripper that uses the newest credential for each call.
// It is made by New.
type Switch struct {
	base *url.URL // what requests are addressed to
	hold time.Duration
	// told is called when a run of refusals (401) begins and when it ends.
	told func()

	mu       sync.Mutex
	gen      *generation   // nil before there is any credential
	trouble  error         // why calls wait; nil if they need not
	changed  chan struct{} // closed when gen or trouble is replaced
	refused  time.Time     // since when the server answers 401 only
	accepted bool          // the server has accepted gen's credential
}

func newSwitch(base *url.URL, told func()) *Switch {
	return &Switch{base: base, hold: hold, told: told, changed: make(chan struct{}), trouble: errors.New("nothing is known yet")}
}

// use sends all calls from now on with another credential; nil keeps the one
// that is there. With a trouble calls wait first, as they do without any
// credential.
func (s *Switch) use(gen *generation, trouble error) {
	s.mu.Lock()
	old := s.gen
	if gen == nil {
		gen = old
	}
	if gen == old && (trouble == nil) == (s.trouble == nil) {
		s.trouble = trouble
		s.mu.Unlock()
		return
	}
	if gen != old {
		s.refused, s.accepted = time.Time{}, false
	}
	s.gen, s.trouble = gen, trouble
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	if old != nil && old != gen {
		old.retire()
	}
}

// refusedSince is when the server began to answer each call with 401; zero if it
// does not.
func (s *Switch) refusedSince() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

// RoundTrip implements http.RoundTripper.
func (s *Switch) RoundTrip(r *http.Request) (*http.Response, error) {
	gen, err := s.acquire(r.Context())
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	resp, err := gen.call(r, s.base)
	if err == nil {
		s.judge(gen, resp.StatusCode)
	}
	return resp, err
}

// acquire returns the generation to use, and counts the call.
func (s *Switch) acquire(ctx context.Context) (*generation, error) {
	var patience <-chan time.Time
	for expired := false; ; {
		s.mu.Lock()
		gen, trouble, changed := s.gen, s.trouble, s.changed
		if gen != nil && (trouble == nil || expired) {
			gen.begin() // under the lock: a retired generation gets no new call
			s.mu.Unlock()
			return gen, nil
		}
		s.mu.Unlock()
		if expired {
			return nil, fmt.Errorf("there is no credential for the API server: %w", trouble)
		}
		if patience == nil {
			timer := time.NewTimer(s.hold)
			defer timer.Stop()
			patience = timer.C
		}
		select {
		case <-changed:
		case <-patience:
			expired = true
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for a credential for the API server (%w): %w", trouble, ctx.Err())
		}
	}
}

// judge notes whether the server knows us. Anything but 401 says that it does.
func (s *Switch) judge(gen *generation, code int) {
	s.mu.Lock()
	news := false
	switch {
	case gen != s.gen:
	case code == http.StatusUnauthorized:
		if news = s.refused.IsZero(); news {
			s.refused = time.Now()
		}
	default:
		news = !s.refused.IsZero() || !s.accepted
		s.refused, s.accepted = time.Time{}, true
	}
	s.mu.Unlock()
	if news && s.told != nil {
		s.told()
	}
}

// closeIdle closes what nobody uses, so that the next call dials.
func (s *Switch) closeIdle() {
	s.mu.Lock()
	gen := s.gen
	s.mu.Unlock()
	if gen != nil {
		gen.transport.CloseIdleConnections()
	}
}

// close ends every connection.
func (s *Switch) close() {
	s.mu.Lock()
	gen := s.gen
	s.mu.Unlock()
	if gen != nil {
		gen.close()
	}
}
