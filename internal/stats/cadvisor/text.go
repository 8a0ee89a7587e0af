package cadvisor

import (
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// textBuffer is how much text is collected before it is passed on; a line is far
// shorter.
const textBuffer = 64 << 10

// text writes Prometheus' text format. After an error nothing more is written.
type text struct {
	w   io.Writer
	buf []byte
	err error
	// name and help are of the family; its header is written before its first line.
	name, help, kind string
	begun            bool
}

func (t *text) reset(w io.Writer) { *t = text{w: w, buf: t.buf[:0]} }

// flush passes on what there is.
func (t *text) flush() error {
	if t.err == nil && len(t.buf) > 0 {
		_, t.err = t.w.Write(t.buf)
	}
	t.buf = t.buf[:0]
	return t.err
}

// family begins a family. One without lines has no header.
func (t *text) family(name, help, kind string) {
	t.name, t.help, t.kind, t.begun = name, help, kind, false
}

func (t *text) header() {
	if t.begun {
		return
	}
	t.begun = true
	t.buf = append(t.buf, "# HELP "...)
	t.buf = append(t.buf, t.name...)
	t.buf = append(t.buf, ' ')
	t.buf = append(t.buf, t.help...)
	t.buf = append(t.buf, "\n# TYPE "...)
	t.buf = append(t.buf, t.name...)
	t.buf = append(t.buf, ' ')
	t.buf = append(t.buf, t.kind...)
	t.buf = append(t.buf, '\n')
}

// begin writes a line up to its labels, which are rendered already.
func (t *text) begin(labels []byte) {
	if len(t.buf)+len(labels) > textBuffer-1024 {
		_ = t.flush()
	}
	t.header()
	t.buf = append(t.buf, t.name...)
	t.buf = append(t.buf, '{')
	t.buf = append(t.buf, labels...)
}

// label adds one more label.
func (t *text) label(key, value string) {
	t.buf = append(t.buf, ',')
	t.buf = appendLabel(t.buf, key, value)
}

// value ends the labels.
func (t *text) value() { t.buf = append(t.buf, "} "...) }

// end ends a line with its timestamp, or without.
func (t *text) end(stamp []byte) {
	t.buf = append(t.buf, stamp...)
	t.buf = append(t.buf, '\n')
}

// alone writes a family of one line without labels that is 0 or 1.
func (t *text) alone(name, help string, on bool) {
	t.family(name, help, gauge)
	t.header()
	t.buf = append(t.buf, name...)
	if on {
		t.buf = append(t.buf, " 1\n"...)
	} else {
		t.buf = append(t.buf, " 0\n"...)
	}
}

// maxValue bounds a label's value, in bytes.
const maxValue = 4 << 10

// appendLabel escapes what the format wants escaped. A label's value comes from who
// made the pod, the image or a mount: it may be anything. What is no UTF-8 would make
// Prometheus refuse the whole page.
func appendLabel(b []byte, key, value string) []byte {
	if len(value) > maxValue {
		value = value[:maxValue]
	}
	if !utf8.ValidString(value) {
		value = strings.ToValidUTF8(value, string(utf8.RuneError))
	}
	b = append(b, key...)
	b = append(b, '=', '"')
	start := 0
	for i := 0; i < len(value); i++ {
		var escape string
		switch value[i] {
		case '\\':
			escape = `\\`
		case '"':
			escape = `\"`
		case '\n':
			escape = `\n`
		default:
			continue
		}
		b = append(b, value[start:i]...)
		b = append(b, escape...)
		start = i + 1
	}
	b = append(b, value[start:]...)
	return append(b, '"')
}

// appendDecimal writes n divided by 10^digits exactly: the float that a parser makes
// of it is the one that a division would give.
func appendDecimal(b []byte, n uint64, digits int) []byte {
	scale := uint64(1)
	for range digits {
		scale *= 10
	}
	b = strconv.AppendUint(b, n/scale, 10)
	rest := n % scale
	if rest == 0 {
		return b
	}
	b = append(b, '.')
	for rest != 0 {
		scale /= 10
		b = append(b, '0'+byte(rest/scale))
		rest %= scale
	}
	return b
}
