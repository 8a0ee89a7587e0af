//go:build e2e

package registry

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestFaults: a registry that fails makes a pod wait, and no longer than it
// fails.
func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		faults faults
		says   string
	}{
		"server-error":      {faults{status: http.StatusInternalServerError}, "500 Internal Server Error"},
		"unavailable":       {faults{status: http.StatusServiceUnavailable}, "503 Service Unavailable"},
		"too-many-requests": {faults{status: http.StatusTooManyRequests, retryAfter: "1"}, "429 Too Many Requests"},
		"not-found":         {faults{status: http.StatusNotFound}, "not found"},
		"forbidden":         {faults{status: http.StatusForbidden}, "403 Forbidden"},
		"cut":               {faults{cutAfter: 1}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := shared.Bed(t)
			f := newFaulty(t, b)
			image := f.push("faults/" + name + ":1")
			f.set(c.faults)
			s := tell(t, b, puller("fault-"+name, image, ifNotPresent))
			if why := s.refused(image); !strings.Contains(why, c.says) || !strings.Contains(why, image) {
				t.Errorf("the pod waits since %q, which does not say %q", why, c.says)
			}
			f.set(faults{})
			s.recovers(image)
		})
	}
}

// TestBackOff: the second try comes about 10 s after the first, the third about
// 20 s after that.
func TestBackOff(t *testing.T) {
	t.Parallel()
	b := shared.Bed(t)
	f := newFaulty(t, b)
	image := f.push("backoff:1")
	f.set(faults{status: http.StatusNotFound})
	s := tell(t, b, puller("backoff", image, always))
	const together = 5 * time.Second // what is asked within belongs to one try
	var at []time.Time
	f.awaitAll("the image in three tries", func(all []request) bool {
		at = nil
		last := time.Time{}
		for _, r := range all {
			if r.at.Sub(last) > together {
				at = append(at, r.at)
			}
			last = r.at
		}
		return len(at) >= 3
	})
	for i, want := range []time.Duration{10 * time.Second, 20 * time.Second} {
		// The kubelet looks every ten seconds or so whether the time has come.
		if gap := at[i+1].Sub(at[i]); gap < want-time.Second || gap > want+20*time.Second {
			t.Errorf("try %d came %s after the one before, want %s", i+2, gap, want)
		}
	}
	f.set(faults{})
	s.recovers(image)
}

// TestSlow: a pod waits without a failure, and other pods do not wait for it.
func TestSlow(t *testing.T) {
	t.Parallel()
	b := shared.Bed(t)
	f := newFaulty(t, b)
	image, other := f.push("slow:1"), f.push("quick:1")
	const takes = 35 * time.Second
	f.set(faults{slow: int(layerSize / takes.Seconds()), only: "/slow/"})
	s := tell(t, b, puller("slow", image, ifNotPresent))
	s.event(normal, "Pulling", container, fmt.Sprintf("Pulling image %q", image))
	f.await("a layer", 1, request.blob)
	began := time.Now()
	quick := tell(t, b, puller("quick", other, ifNotPresent))
	quick.recovers(other)
	if took := time.Since(began); took > takes/2 {
		t.Errorf("a pod beside the slow pull was ready after %s", took)
	}
	if !upstream() {
		s.event(normal, "Pulling", container, fmt.Sprintf("Pulling image %q: still pulling after 30s", image))
	}
	s.recovers(image)
	if took := time.Since(began); took < takes-5*time.Second {
		t.Errorf("the slow pull took %s", took)
	}
	s.never("ErrImagePull")
}

// TestPresentWithoutRegistry: pods whose image is there need no registry.
func TestPresentWithoutRegistry(t *testing.T) {
	t.Parallel()
	b := shared.Bed(t)
	f := newFaulty(t, b)
	image := f.push("present:1")
	tell(t, b, puller("present-first", image, ifNotPresent)).recovers(image)
	f.set(faults{status: http.StatusInternalServerError})
	asked := len(f.asked(everything))
	s := tell(t, b, puller("present-second", image, ifNotPresent))
	s.ready()
	s.event(normal, "Pulled", container, fmt.Sprintf("Container image %q already present on machine and can be accessed by the pod", image))
	if n := len(f.asked(everything)) - asked; n > 0 {
		t.Errorf("the registry was asked %d times", n)
	}
	tell(t, b, puller("present-always", image, always)).refused(image)
}
