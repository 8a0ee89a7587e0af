package objects

import (
	"context"
	"fmt"
	"sync"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// failures remembers why something cannot be read, and says each reason once.
type failures struct {
	what string
	log  *zap.Logger

	mu     sync.Mutex
	newest error
	said   map[metav1.StatusReason]struct{}
}

func newFailures(what string, log *zap.Logger) *failures {
	return &failures{what: what, log: log}
}

// add returns the error with what was tried. What fails because ctx ended is not a
// failure.
func (f *failures) add(ctx context.Context, tried string, cause error) error {
	err := fmt.Errorf("%s %s at the API server: %w", tried, f.what, cause)
	if apierrors.IsNotFound(cause) {
		// Lists are of what exists: it is the path that was not found (a wrong
		// server address), which must not be taken for the object's absence.
		err = fmt.Errorf("%s %s at the API server: %s", tried, f.what, cause.Error())
	}
	if ctx.Err() != nil {
		return err
	}
	reason := apierrors.ReasonForError(cause) // "" for whatever is not the API's answer
	f.mu.Lock()
	f.newest = err
	_, again := f.said[reason]
	if !again {
		if f.said == nil {
			f.said = map[metav1.StatusReason]struct{}{}
		}
		f.said[reason] = struct{}{}
	}
	f.mu.Unlock()
	if !again {
		f.log.Warn("cannot keep up to date what pods need; what is known stays in force, and it is tried again with growing pauses. This is said once for each reason",
			zap.String("what", f.what), zap.String("reason", string(reason)), zap.Error(err))
	}
	return err
}

// last returns the newest failure, nil when there was none.
func (f *failures) last() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.newest
}
