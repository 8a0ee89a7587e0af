//go:build e2e

package registry

import (
	"fmt"
	"strings"
	"testing"
)

func everything(request) bool { return true }

// TestRightCredentials: the pod's secret opens a private registry.
func TestRightCredentials(t *testing.T) {
	t.Parallel()
	b := shared.Bed(t)
	f := newFaulty(t, b)
	image := f.push("private:1")
	f.set(faults{private: true})
	secret(t, b, "right", f.host, password)
	s := tell(t, b, puller("right", image, ifNotPresent, "right"))
	s.recovers(image)
	s.never("ErrImagePull")
	s.noEvent("FailedToRetrieveImagePullSecret")
	if n := len(f.asked(request.blob)); n == 0 {
		t.Error("the registry has given nothing")
	}
}

// TestSeveralSecrets: each is tried, those of others and those that are missing
// do no harm.
func TestSeveralSecrets(t *testing.T) {
	t.Parallel()
	b := shared.Bed(t)
	f := newFaulty(t, b)
	image := f.push("private:1")
	f.set(faults{private: true})
	secret(t, b, "several-other", "other.invalid", "x")
	secret(t, b, "several-wrong", f.host, "wrong")
	secret(t, b, "several-right", f.host, password)
	s := tell(t, b, puller("several", image, ifNotPresent, "several-missing", "several-other", "several-wrong", "several-right"))
	s.recovers(image)
	s.never("ErrImagePull")
	s.noEvent("FailedToRetrieveImagePullSecret")
}

// TestWrongCredentials: a pod waits until its secret is right.
func TestWrongCredentials(t *testing.T) {
	t.Parallel()
	b := shared.Bed(t)
	f := newFaulty(t, b)
	image := f.push("private:1")
	f.set(faults{private: true})
	secretObject := secret(t, b, "wrong", f.host, "wrong")
	s := tell(t, b, puller("wrong", image, ifNotPresent, "wrong"))
	if why := s.refused(image); !strings.Contains(why, "401") || !strings.Contains(why, image) {
		t.Errorf("the pod waits since %q", why)
	}
	s.noEvent("FailedToRetrieveImagePullSecret")
	change(t, b, secretObject, f.host, password)
	s.recovers(image)
}

// TestNoCredentials: who shows nothing gets nothing.
func TestNoCredentials(t *testing.T) {
	t.Parallel()
	b := shared.Bed(t)
	f := newFaulty(t, b)
	image := f.push("private:1")
	f.set(faults{private: true})
	s := tell(t, b, puller("nothing", image, ifNotPresent))
	if why := s.refused(image); !strings.Contains(why, image) {
		t.Errorf("the pod waits since %q", why)
	}
	s.noEvent("FailedToRetrieveImagePullSecret")
	f.set(faults{})
	s.recovers(image)
}

// TestMissingSecret is told when it may have mattered, and made up for.
func TestMissingSecret(t *testing.T) {
	t.Parallel()
	b := shared.Bed(t)
	f := newFaulty(t, b)
	image, public := f.push("private:1"), f.push("public:1")
	well := tell(t, b, puller("missing-public", public, ifNotPresent, "missing-too"))
	well.recovers(public)
	well.noEvent("FailedToRetrieveImagePullSecret")
	f.set(faults{private: true})
	s := tell(t, b, puller("missing", image, ifNotPresent, "missing", "missing-too"))
	s.refused(image)
	s.event(warning, "FailedToRetrieveImagePullSecret", "",
		"Unable to retrieve some image pull secrets (missing, missing-too); attempting to pull the image may not succeed.")
	secret(t, b, "missing", f.host, password)
	s.recovers(image)
}

// TestWhoMayUseWhatIsThere: an image that was pulled with a secret is for who
// has it, without another look at the registry, and for nobody else.
func TestWhoMayUseWhatIsThere(t *testing.T) {
	t.Parallel()
	b := shared.Bed(t)
	f := newFaulty(t, b)
	image := f.push("private:1")
	f.set(faults{private: true})
	first := secret(t, b, "there", f.host, password)
	secret(t, b, "there-wrong", f.host, "wrong")
	tell(t, b, puller("there-first", image, ifNotPresent, "there")).recovers(image)
	asked := len(f.asked(everything))
	present := fmt.Sprintf("Container image %q already present on machine and can be accessed by the pod", image)
	again := tell(t, b, puller("there-again", image, ifNotPresent, "there"))
	again.ready()
	again.event(normal, "Pulled", container, present)
	tell(t, b, puller("there-never", image, never, "there")).ready()
	if n := len(f.asked(everything)) - asked; n > 0 {
		t.Errorf("the registry was asked %d times more", n)
	}
	wrong := tell(t, b, puller("there-wrong", image, ifNotPresent, "there-wrong"))
	none := tell(t, b, puller("there-none", image, ifNotPresent))
	hidden := tell(t, b, puller("there-hidden", image, never))
	wrong.refused(image)
	none.refused(image)
	want := fmt.Sprintf("Container image %q is not present with pull policy of Never", image)
	if got := hidden.waits("ErrImageNeverPull"); got != want {
		t.Errorf("the pod waits since %q, want %q", got, want)
	}
	hidden.event(warning, "ErrImageNeverPull", container, want)
	// The same secret may change: what is in it was good once.
	change(t, b, first, f.host, "changed")
	f.set(faults{status: 503})
	tell(t, b, puller("there-changed", image, ifNotPresent, "there")).ready()
}

// TestOthersPull: a pull under way helps nobody who may not have the image.
func TestOthersPull(t *testing.T) {
	t.Parallel()
	b := shared.Bed(t)
	f := newFaulty(t, b)
	image := f.push("private:1")
	f.set(faults{private: true, hold: make(chan struct{})})
	secret(t, b, "others", f.host, password)
	secret(t, b, "others-wrong", f.host, "wrong")
	good := tell(t, b, puller("others-good", image, ifNotPresent, "others"))
	f.await("a layer", 1, request.blob)
	bad := tell(t, b, puller("others-bad", image, ifNotPresent, "others-wrong"))
	none := tell(t, b, puller("others-none", image, ifNotPresent))
	bad.refused(image)
	none.refused(image)
	good.never("ErrImagePull")
	f.set(faults{private: true})
	good.recovers(image)
	good.never("ErrImagePull")
}
