package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// Outcome is how a test ended.
type Outcome string

// The outcomes, as in the baseline file.
const (
	Pass Outcome = "pass"
	Fail Outcome = "fail"
	// Skip means that the test itself found that it cannot run here.
	Skip Outcome = "skip"
)

// Result is one test that was selected.
type Result struct {
	// Name is the whole name, with the names of the groups it is in.
	Name    string
	Outcome Outcome
	// Duration includes what the test did before and after.
	Duration time.Duration
	// Why is the first line of the failure, or the reason of a skip.
	Why string
}

// The part of ginkgo's report that is needed.
type ginkgoReport struct {
	SpecReports []ginkgoSpec
}

type ginkgoSpec struct {
	ContainerHierarchyTexts []string
	LeafNodeType            string
	LeafNodeText            string
	State                   string
	RunTime                 time.Duration
	Failure                 struct {
		Message string
	}
}

// ReadReport reads ginkgo's JSON report: the tests that were selected, by name.
// A failure outside of a test, such as an unusable cluster, is an error.
func ReadReport(path string) ([]Result, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read ginkgo's report: %w", err)
	}
	defer f.Close()
	var suites []ginkgoReport
	if err := json.NewDecoder(f).Decode(&suites); err != nil {
		return nil, fmt.Errorf("read ginkgo's report %s: %w", path, err)
	}
	var results []Result
	var errs []error
	for _, suite := range suites {
		for _, spec := range suite.SpecReports {
			outcome, selected := spec.outcome()
			if spec.LeafNodeType != "It" {
				if outcome == Fail {
					errs = append(errs, fmt.Errorf("%s failed: %s", spec.LeafNodeType, firstLine(spec.Failure.Message)))
				}
				continue
			}
			if selected {
				results = append(results, Result{
					Name: spec.name(), Outcome: outcome, Duration: spec.RunTime, Why: firstLine(spec.Failure.Message),
				})
			}
		}
	}
	slices.SortFunc(results, func(a, b Result) int { return strings.Compare(a.Name, b.Name) })
	return results, errors.Join(errs...)
}

// outcome translates ginkgo's state; a test that only was not selected is
// skipped or pending without a message.
func (s ginkgoSpec) outcome() (Outcome, bool) {
	switch s.State {
	case "passed":
		return Pass, true
	case "pending", "":
		return Skip, false
	case "skipped":
		return Skip, s.Failure.Message != ""
	default:
		return Fail, true
	}
}

func (s ginkgoSpec) name() string {
	texts := slices.DeleteFunc(append(slices.Clone(s.ContainerHierarchyTexts), s.LeafNodeText), func(t string) bool { return t == "" })
	return strings.Join(strings.Fields(strings.Join(texts, " ")), " ")
}

func firstLine(text string) string {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			return line
		}
	}
	return ""
}
