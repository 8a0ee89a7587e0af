package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	page, all := filepath.Join(dir, "page.md"), sections()
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func() string {
		t.Helper()
		raw, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	untouched := "# Title\n\n" + all[0].begin() + "\nold\n" + all[0].end() + "\n\nthe rest\n" + all[1].begin() + "\nolder\n" + all[1].end() + "\n"
	write(page, untouched)
	if err := run([]string{dir, page}); err == nil || !strings.Contains(err.Error(), "make bench") {
		t.Errorf("no report: %v", err)
	}

	write(filepath.Join(dir, "bench.json"), `{"date":"2026-01-02","machine":"one of ours","nodeagent":[{"RSS with 100 pods":[7.25]}]}`)
	var first string
	for range 2 { // the second time changes nothing
		if err := run([]string{dir, page}); err != nil {
			t.Fatal(err)
		}
		text := read()
		if !strings.HasPrefix(text, "# Title\n\n"+all[0].begin()) || !strings.Contains(text, all[0].end()+"\n\nthe rest\n") ||
			strings.Contains(text, "old\n") || !strings.Contains(text, "7.25") || !strings.Contains(text, "2026-01-02, on one of ours") ||
			!strings.Contains(text, "older\n") || first != "" && text != first {
			t.Errorf("the page is now\n%s", text)
		}
		first = text
	}

	write(filepath.Join(dir, "bench-scale.json"), `{"date":"2026-01-03","machine":"one of ours","sizes":[10],
		"kubelet":[{"10":{"figures":{"RSS":[8]}}}],"nodeagent":[{"10":{"figures":{"RSS":[2]}}}]}`)
	if err := run([]string{dir, page}); err != nil {
		t.Fatal(err)
	}
	if text := read(); strings.Contains(text, "older") || !strings.Contains(text, "2026-01-03") || !strings.Contains(text, "0.25") || !strings.Contains(text, "7.25") {
		t.Errorf("with both reports the page is\n%s", text)
	}

	one := all[0]
	for _, bad := range []string{"", one.begin() + "\n", one.end() + "\n" + one.begin() + "\n", one.begin() + "\n" + one.end() + "\n" + one.begin() + "\n"} {
		write(page, bad)
		if err := run([]string{dir, page}); err == nil || !strings.Contains(err.Error(), "once") {
			t.Errorf("page %q: %v", bad, err)
		}
	}
}

// TestThePageHasItsPlaces keeps the markers where make bench-docs looks for them.
func TestThePageHasItsPlaces(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../../../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sections() {
		if _, err := s.fill(string(raw), ""); err != nil {
			t.Error(err)
		}
	}
}
