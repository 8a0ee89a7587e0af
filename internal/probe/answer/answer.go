package answer

import "strings"

// MaxOutput is how much of what a target says is kept, in bytes, as in the
// kubelet.
const MaxOutput = 10 << 10

// Result is how one run of a probe ended.
type Result int

// The results of a run. The zero value is for runs that found out nothing.
const (
	Unknown Result = iota
	Success
	// Warning is a success that users are told something about.
	Warning
	Failure
)

// String is the result as events name it.
func (r Result) String() string {
	switch r {
	case Success:
		return "success"
	case Warning:
		return "warning"
	case Failure:
		return "failure"
	case Unknown:
	}
	return "unknown"
}

// Answer is what one run of a probe found out.
type Answer struct {
	Result Result
	// Output is what users are told of a failure or a warning.
	Output string
}

// Failed is the answer of a target that is not well.
func Failed(output string) Answer { return Answer{Result: Failure, Output: Cut(output)} }

// Cut returns as much of a text as is kept: valid UTF-8 of at most [MaxOutput]
// bytes.
func Cut(s string) string {
	if len(s) > MaxOutput {
		s = s[:MaxOutput]
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) > MaxOutput { // the replacement is longer than what it replaces
		s = strings.ToValidUTF8(s[:MaxOutput], "")
	}
	return s
}
