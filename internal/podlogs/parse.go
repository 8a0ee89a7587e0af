package podlogs

import (
	"bytes"
	"time"
)

// stream is one of the two that a container writes to.
type stream uint8

const (
	stdout stream = iota + 1
	stderr
)

// record is a line of a log file. Its text is part of the line it was read from.
type record struct {
	at      time.Time
	stream  stream
	partial bool   // the container's line goes on in the next record
	text    []byte // with the newline, unless partial or at the end of the file
}

// parse takes a physical line apart, which may lack its newline:
//
//	2026-01-02T03:04:05.678901234Z stdout F what the container wrote
//
// The third field may hold several tags with ':' between them. Only the first
// counts, and only P (partial) is told from others (CRI, "log format").
func parse(line []byte) (record, bool) {
	stamp, rest, ok := bytes.Cut(line, []byte{' '})
	if !ok {
		return record{}, false
	}
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return record{}, false
	}
	name, rest, ok := bytes.Cut(rest, []byte{' '})
	if !ok {
		return record{}, false
	}
	rec := record{at: at}
	switch string(name) {
	case "stdout":
		rec.stream = stdout
	case "stderr":
		rec.stream = stderr
	default:
		return record{}, false
	}
	tags, text, ok := bytes.Cut(rest, []byte{' '})
	if !ok {
		return record{}, false
	}
	tag, _, _ := bytes.Cut(tags, []byte{':'})
	rec.partial = string(tag) == "P"
	if rec.partial {
		text = bytes.TrimSuffix(text, []byte{'\n'})
	}
	rec.text = text
	return rec, true
}
