package rotate

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	// layout is the time in the name of a rotated file, as the kubelet writes it: in
	// the node's own time zone.
	layout = "20060102-150405"
	zipped = ".gz"
	// unfinished ends the name of a file that is being compressed.
	unfinished = ".tmp"
	// perSecond is how many more rotations than one a second has names for.
	perSecond = 999
)

// ending is what rotation adds to the name of a log.
var ending = regexp.MustCompile(`^\.(\d{8}-\d{6}(?:_\d{3})?)(\.gz)?$`)

// Parse takes apart the name of a rotated file of the log with the name live. Times
// are ordered as texts are. ok is false for other names.
func Parse(live, name string) (at string, compressed, ok bool) {
	end, ok := strings.CutPrefix(name, live)
	if !ok {
		return "", false, false
	}
	m := ending.FindStringSubmatch(end)
	if m == nil {
		return "", false, false
	}
	return m[1], m[2] != "", true
}

// next is the time for the name of a file that is rotated now. It comes after
// newest, that of the file rotated before, also when the clock does not.
func next(now time.Time, newest string) string {
	if at := now.Format(layout); at > newest {
		return at
	}
	second, count, _ := strings.Cut(newest, "_")
	n, _ := strconv.Atoi(count) // three digits, or none
	if n < perSecond {
		return fmt.Sprintf("%s_%03d", second, n+1)
	}
	// Seconds are counted without a time zone: there the next is always later.
	t, err := time.Parse(layout, second)
	if err != nil {
		return now.Format(layout)
	}
	return t.Add(time.Second).Format(layout)
}
