package pod

import (
	"errors"
	"fmt"
)

// ReasonContainerConfig is the waiting reason of a container that cannot be made
// because of what its spec says or refers to.
const ReasonContainerConfig = "CreateContainerConfigError"

// Failure is an error that carries the word users know it by: a container's
// waiting reason (ErrImagePull, CreateContainerConfigError, ...) or an event's.
type Failure struct {
	Reason string
	// Message is what users read; it says what was tried and why it failed.
	Message string
	// Err is the cause, for errors.Is and errors.As.
	Err error
}

// Error implements error.
func (f *Failure) Error() string {
	if f.Message != "" {
		return f.Message
	}
	return fmt.Sprintf("%s: %v", f.Reason, f.Err)
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// Failures returns what a failure of several things at once is made of; of any
// other error just that.
func Failures(err error) []error {
	f, is := errors.AsType[*Failure](err)
	if !is {
		return []error{err}
	}
	if joined, several := f.Err.(interface{ Unwrap() []error }); several {
		return joined.Unwrap()
	}
	return []error{err}
}

// ReasonOf returns the reason and message of a failure anywhere in err's chain,
// or the fallback reason with err's own text.
func ReasonOf(err error, fallback string) (reason, message string) {
	if f, is := errors.AsType[*Failure](err); is {
		return f.Reason, err.Error()
	}
	return fallback, err.Error()
}

// Reason returns the reason of a failure anywhere in err's chain, or the
// fallback.
func Reason(err error, fallback string) string {
	reason, _ := ReasonOf(err, fallback)
	return reason
}
