package diff

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Normaliser replaces what differs between two runs of one pod without meaning
// anything.
type Normaliser struct {
	names map[string]string
	words map[string]string
	order []string
}

// Name replaces a text wherever it occurs, longer ones first.
func (n *Normaliser) Name(text, stand string) {
	if text == "" {
		return
	}
	if n.names == nil {
		n.names = map[string]string{}
	}
	n.names[text] = stand
	n.order = nil
}

// Word replaces an address or an identity where it stands as a whole word.
func (n *Normaliser) Word(text, stand string) {
	if text == "" {
		return
	}
	if n.words == nil {
		n.words = map[string]string{}
	}
	n.words[text] = stand
}

// Clone returns a copy that may be told more.
func (n *Normaliser) Clone() *Normaliser {
	c := &Normaliser{}
	for from, to := range n.names {
		c.Name(from, to)
	}
	for from, to := range n.words {
		c.Word(from, to)
	}
	return c
}

var (
	stamp    = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?`)
	nanos    = regexp.MustCompile(`^1\d{18}$`)
	digest   = regexp.MustCompile(`(sha256:)?\b[0-9a-f]{64}\b`)
	uid      = regexp.MustCompile(`\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`)
	address  = regexp.MustCompile(`\b\d{1,3}(\.\d{1,3}){3}\b`)
	took     = regexp.MustCompile(`\bin \S+ \(\S+ including waiting\)`)
	message  = regexp.MustCompile(`(containers/[^/\]]+/)[0-9a-f]{8}\b`) // where a container writes its last words
	fromPort = regexp.MustCompile(`(->\S+:|:)\d+(->\S+)`)
)

// Text replaces in one text.
func (n *Normaliser) Text(s string) string {
	if nanos.MatchString(s) {
		return "$TIME"
	}
	if n.order == nil {
		n.sort()
	}
	s = strings.NewReplacer(n.order...).Replace(s)
	s = digest.ReplaceAllStringFunc(s, func(id string) string {
		if strings.HasPrefix(id, "sha256:") {
			return id // contents are the same everywhere
		}
		return cmp.Or(n.words[id], "$ID")
	})
	s = address.ReplaceAllStringFunc(s, func(ip string) string { return cmp.Or(n.words[ip], ip) })
	s = uid.ReplaceAllString(s, "$$UUID")
	s = stamp.ReplaceAllStringFunc(s, anyTime)
	s = took.ReplaceAllString(s, "in $$D ($$D including waiting)")
	s = message.ReplaceAllString(s, "${1}$$RANDOM")
	return fromPort.ReplaceAllString(s, "${1}$$PORT${2}")
}

// anyTime keeps the beginning of time apart from every other: it means never.
func anyTime(s string) string {
	if t, err := time.Parse(time.RFC3339, s); err == nil && (t.IsZero() || t.Unix() == 0) {
		return "$NEVER"
	}
	return "$TIME"
}

func (n *Normaliser) sort() {
	froms := make([]string, 0, len(n.names))
	for from := range n.names {
		froms = append(froms, from)
	}
	slices.SortFunc(froms, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	n.order = make([]string, 0, 2*len(froms))
	for _, from := range froms {
		n.order = append(n.order, from, n.names[from])
	}
}
