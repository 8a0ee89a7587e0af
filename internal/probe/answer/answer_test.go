package answer

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCut(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, want string }{
		"short":         {"well", "well"},
		"empty":         {"", ""},
		"long":          {strings.Repeat("x", MaxOutput+1), strings.Repeat("x", MaxOutput)},
		"invalid":       {"a\xffb", "a\uFFFDb"},
		"split rune":    {strings.Repeat("x", MaxOutput-1) + "é", strings.Repeat("x", MaxOutput-1)},
		"grows by much": {strings.Repeat("\xffx", MaxOutput), strings.Repeat("\uFFFDx", MaxOutput/4)},
	} {
		got := Cut(c.in)
		if got != c.want {
			t.Errorf("%s: got %d bytes, want %d: %.20q", name, len(got), len(c.want), got)
		}
		if !utf8.ValidString(got) || len(got) > MaxOutput {
			t.Errorf("%s: %d bytes, valid: %v", name, len(got), utf8.ValidString(got))
		}
	}
}

func TestResultsHaveTheKubeletsNames(t *testing.T) {
	t.Parallel()
	for r, want := range map[Result]string{
		Unknown: "unknown", Success: "success", Warning: "warning", Failure: "failure",
	} {
		if r.String() != want {
			t.Errorf("%d is %q, want %q", int(r), r, want)
		}
	}
}
