package podlogs

import (
	"bytes"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC)
	for line, want := range map[string]record{
		stamp + " stdout F text of it\n":      {at, stdout, false, []byte("text of it\n")},
		stamp + " stderr P text\n":            {at, stderr, true, []byte("text")},
		stamp + " stderr P:x:F text":          {at, stderr, true, []byte("text")},
		stamp + " stdout F:P  \n":             {at, stdout, false, []byte(" \n")},
		stamp + " stdout  text\n":             {at, stdout, false, []byte("text\n")},
		stamp + " stdout P \n":                {at, stdout, true, nil},
		"2026-01-02T03:04:05Z stdout F x":     {at.Truncate(time.Second), stdout, false, []byte("x")},
		"2026-01-02T05:04:05+02:00 stdout F ": {at.Truncate(time.Second), stdout, false, nil},
	} {
		got, ok := parse([]byte(line))
		if !ok || !got.at.Equal(want.at) || got.stream != want.stream || got.partial != want.partial || !bytes.Equal(got.text, want.text) {
			t.Errorf("%q: %+v, %v; want %+v", line, got, ok, want)
		}
	}
	for _, line := range []string{
		"", "\n", " ", "x\n", stamp + "\n", stamp + " stdout\n", stamp + " stdout F\n", stamp + " stdin F text\n",
		stamp + "  stdout F text\n", "2026-01-02 stdout F text\n", " " + stamp + " stdout F text\n",
	} {
		if got, ok := parse([]byte(line)); ok {
			t.Errorf("%q was taken for %+v", line, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, line := range []string{entry("text"), stamp + " stderr P:x a b\n", stamp + " stdout F", "{}\n", "\x00"} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		rec, ok := parse(line)
		if !ok {
			return
		}
		end := line
		if rec.partial {
			end = bytes.TrimSuffix(line, []byte{'\n'})
		}
		if !bytes.HasSuffix(end, rec.text) || rec.stream != stdout && rec.stream != stderr {
			t.Fatalf("%q: %+v", line, rec)
		}
		// What stands before the text has all the fields.
		head := bytes.Split(end[:len(end)-len(rec.text)], []byte{' '})
		if len(head) != 4 || len(head[3]) > 0 || rec.partial != (string(head[2]) == "P" || bytes.HasPrefix(head[2], []byte("P:"))) {
			t.Fatalf("%q: %+v", line, rec)
		}
		if at, err := time.Parse(time.RFC3339, string(head[0])); err != nil || !at.Equal(rec.at) {
			t.Fatalf("%q: %v, %v", line, rec.at, err)
		}
	})
}
