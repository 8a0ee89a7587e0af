package containerspec

import "strings"

// Expand replaces $(NAME) by what lookup returns for NAME. A name that lookup
// does not know stays as it is written, "$$" is a literal "$", and a "$" that
// starts nothing stays. This is the expansion that Kubernetes defines for
// command, args and env.
func Expand(s string, lookup func(name string) (value string, ok bool)) string {
	first := strings.IndexByte(s, '$')
	if first < 0 {
		return s
	}
	var b strings.Builder
	for {
		at := strings.IndexByte(s, '$')
		if at < 0 || at+1 == len(s) {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:at])
		s = s[at+1:]
		switch s[0] {
		case '$':
			b.WriteByte('$')
			s = s[1:]
		case '(':
			name, rest, closed := strings.Cut(s[1:], ")")
			if !closed {
				b.WriteString("$(")
				s = s[1:]
				continue
			}
			if v, ok := lookup(name); ok {
				b.WriteString(v)
			} else {
				b.WriteString("$(" + name + ")")
			}
			s = rest
		default:
			b.WriteByte('$')
		}
	}
}
