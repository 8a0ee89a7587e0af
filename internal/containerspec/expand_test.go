package containerspec

import (
	"strings"
	"testing"
)

func TestExpand(t *testing.T) {
	known := map[string]string{"A": "a", "EMPTY": "", "REF": "$(A)", "DOLLARS": "$$", "a b": "blank", "A)": "never", "(": "odd"}
	lookup := func(name string) (string, bool) { v, ok := known[name]; return v, ok }
	for in, want := range map[string]string{
		"":               "",
		"plain":          "plain",
		"$(A)":           "a",
		"x$(A)y$(A)":     "xaya",
		"$(EMPTY)":       "",
		"$(REF)":         "$(A)", // what was put in is not looked at again
		"$(DOLLARS)":     "$$",
		"$(a b)":         "blank",
		"$(NONE)":        "$(NONE)",
		"$()":            "$()",
		"$$(A)":          "$(A)",
		"$$$(A)":         "$a",
		"$$$$(A)":        "$$(A)",
		"$":              "$",
		"$$":             "$",
		"$$$":            "$$",
		"a$":             "a$",
		"$A ${A} $-":     "$A ${A} $-",
		"$(A":            "$(A",
		"$(A $(A)":       "$(A $(A)", // the name is "A $(A"
		"$(":             "$(",
		"$($(A))":        "$($(A))", // the name is "$(A"
		"$(A))":          "a)",
		"a(A)$":          "a(A)$",
		"$((A)":          "$((A)",
		"$(()":           "odd",
		"$-(A)":          "$-(A)",
		"\x00$(A)\xff$$": "\x00a\xff$",
	} {
		if got := Expand(in, lookup); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

// FuzzExpand checks what has to be true of every text: what a "$" cannot change
// stays, nothing is put in twice, and the result is not longer than its parts.
func FuzzExpand(f *testing.F) {
	for _, s := range []string{"", "$", "$$", "$(A)", "$$(A)", "$(A", "$($(A))", "a$(B)$$$(A)$", "$()", "$(A)$(A)", "$$$$$(B)"} {
		f.Add(s, "A", "value")
		f.Add(s, "B", "$(A)$$")
	}
	f.Fuzz(func(t *testing.T, s, name, value string) {
		asked := 0
		lookup := func(n string) (string, bool) {
			asked++
			if strings.Contains(n, ")") {
				t.Fatalf("%q is asked for, which is no name", n)
			}
			return value, n == name
		}
		got := Expand(s, lookup)
		if references := strings.Count(s, "$("); asked > references {
			t.Fatalf("%d names are asked for, of %d references", asked, references)
		}
		if limit := len(s) + asked*len(value); len(got) > limit {
			t.Fatalf("%d bytes out of %q, at most %d are possible", len(got), s, limit)
		}
		none := func(string) (string, bool) { return "", false }
		if asked == 0 && got != Expand(s, none) {
			t.Fatalf("%q becomes %q although nothing is put in", s, got)
		}
		if !strings.Contains(s, "$") && got != s {
			t.Fatalf("%q without a dollar becomes %q", s, got)
		}
		if got := Expand(strings.ReplaceAll(s, "$", "$$"), lookup); got != s {
			t.Fatalf("%q with every dollar doubled becomes %q", s, got)
		}
		if !strings.Contains(s, "$$") && Expand(s, none) != s {
			t.Fatalf("%q without variables becomes %q", s, Expand(s, none))
		}
		// A reference behind what ends in no reference is replaced whatever s is.
		if !strings.Contains(s, "$") && !strings.Contains(name, ")") {
			if got := Expand(s+"$("+name+")"+s, lookup); got != s+value+s {
				t.Fatalf("a reference to %q within %q becomes %q", name, s, got)
			}
		}
	})
}
