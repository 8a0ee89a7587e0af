package nodelogs

import (
	"errors"
	"fmt"
	"net/url"
	"regexp/syntax"
	"strconv"
	"strings"
	"time"

	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The kubelet's limits (pkg/kubelet/kubelet_server_journal.go).
const (
	maxTailLines     = 100000
	maxServiceLength = 256
	maxServices      = 4
	dateLayout       = "2006-1-2 15:4:5"
)

// Query is what a request asks for.
type Query struct {
	// Services and Files are the values of "query"; those with a slash are files.
	Services, Files []string
	options
}

// options narrow down what a journal shows; nil and "" for what was not given.
type options struct {
	since, until *time.Time
	tailLines    *int
	boot         *int
	pattern      string
}

// given reports whether there is an option.
func (o options) given() bool { return o != options{} }

// Parse reads the parameters of a request. It returns nil when none of them is
// about a query.
func Parse(values url.Values) (*Query, field.ErrorList) {
	var q Query
	var errs field.ErrorList
	for _, value := range values["query"] {
		switch {
		case strings.ContainsAny(value, `/\`):
			q.Files = append(q.Files, value)
		case strings.TrimSpace(value) != "":
			q.Services = append(q.Services, value)
		}
	}
	if values.Has("query") && len(q.Files)+len(q.Services) == 0 {
		errs = append(errs, field.Invalid(field.NewPath("query"), values["query"], "may not be empty"))
	}
	q.since, errs = parsed(values, "sinceTime", moment, errs)
	q.until, errs = parsed(values, "untilTime", moment, errs)
	q.boot, errs = parsed(values, "boot", strconv.Atoi, errs)
	q.tailLines, errs = parsed(values, "tailLines", strconv.Atoi, errs)
	q.pattern = values.Get("pattern")
	if len(errs) > 0 || len(q.Files)+len(q.Services) == 0 && !q.given() {
		return nil, errs
	}
	return &q, nil
}

// parsed reads one parameter; nil when it was not given or is none.
func parsed[T any](values url.Values, name string, parse func(string) (T, error), errs field.ErrorList) (*T, field.ErrorList) {
	text := values.Get(name)
	if text == "" {
		return nil, errs
	}
	value, err := parse(text)
	if err != nil {
		return nil, append(errs, field.Invalid(field.NewPath(name), text, err.Error()))
	}
	return &value, errs
}

func moment(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, errors.New("invalid time format")
	}
	return t, nil
}

// Check returns what is wrong with the query. exists returns an error when there
// is no such file below the log directory.
func (q *Query) Check(exists func(name string) error) field.ErrorList {
	at := field.NewPath("query")
	errs := checkServices(q.Services)
	switch {
	case len(q.Files)+len(q.Services) == 0:
		errs = append(errs, field.Required(at, "cannot be empty with options"))
	case len(q.Files) > 0 && len(q.Services) > 0:
		errs = append(errs, field.Invalid(at, fmt.Sprintf("%v, %v", q.Files, q.Services), "cannot specify a file and service"))
	case len(q.Files) > 1:
		errs = append(errs, field.Invalid(at, q.Files, "cannot specify more than one file"))
	case len(q.Files) == 1 && q.given():
		errs = append(errs, field.Invalid(at, q.Files, "cannot specify file with options"))
	case len(q.Files) == 1:
		if err := exists(q.Files[0]); err != nil {
			errs = append(errs, field.Invalid(at, q.Files, err.Error()))
		}
	}
	return append(errs, q.options.check()...)
}

func checkServices(names []string) field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("query")
	for _, name := range names {
		switch {
		case len(name) > maxServiceLength:
			errs = append(errs, field.Invalid(at, name, fmt.Sprintf("length must be less than %d", maxServiceLength)))
		case strings.ContainsFunc(name, unusual):
			errs = append(errs, field.Invalid(at, name, "input contains unsupported characters"))
		}
	}
	if len(names) > maxServices {
		errs = append(errs, field.TooMany(at, len(names), maxServices))
	}
	return errs
}

// unusual are the characters that no name of a service has.
func unusual(r rune) bool {
	letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
	return !letter && !strings.ContainsRune("-_.:@", r)
}

func (o options) check() field.ErrorList {
	var errs field.ErrorList
	if o.since != nil && o.until != nil && o.since.After(*o.until) {
		errs = append(errs, field.Invalid(field.NewPath("untilTime"), o.until, "must be after `sinceTime`"))
	}
	if o.boot != nil && *o.boot > 0 {
		errs = append(errs, field.Invalid(field.NewPath("boot"), *o.boot, "must be less than 1"))
	}
	if o.tailLines != nil {
		if wrong := utilvalidation.IsInRange(*o.tailLines, 0, maxTailLines); len(wrong) > 0 {
			errs = append(errs, field.Invalid(field.NewPath("tailLines"), *o.tailLines, wrong[0]))
		}
	}
	if _, err := syntax.Parse(o.pattern, syntax.Perl); err != nil {
		errs = append(errs, field.Invalid(field.NewPath("pattern"), o.pattern, err.Error()))
	}
	return errs
}

// arguments are those of journalctl for what the services have logged.
func (o options) arguments(services []string) []string {
	args := []string{"--utc", "--no-pager", "--output=short-precise"}
	if o.since != nil {
		args = append(args, "--since="+o.since.Format(dateLayout))
	}
	if o.until != nil {
		args = append(args, "--until="+o.until.Format(dateLayout))
	}
	if o.tailLines != nil {
		args = append(args, "--pager-end", "--lines="+strconv.Itoa(*o.tailLines))
	}
	for _, name := range services {
		args = append(args, "--unit="+name)
	}
	if o.pattern != "" {
		args = append(args, "--grep="+o.pattern)
	}
	if o.boot != nil {
		args = append(args, "--boot", strconv.Itoa(*o.boot))
	}
	return args
}
