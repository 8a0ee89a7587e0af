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
	report, page := filepath.Join(dir, "bench.json"), filepath.Join(dir, "page.md")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(report, `{"date":"2026-01-02","machine":"one of ours","nodeagent":[{"RSS with 100 pods":[7.25]}]}`)
	write(page, "# Title\n\n"+begin+"\nold\n"+end+"\n\nthe rest\n")
	var first string
	for range 2 { // the second time changes nothing
		if err := run([]string{report, page}); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		text := string(raw)
		if !strings.HasPrefix(text, "# Title\n\n"+begin) || !strings.HasSuffix(text, end+"\n\nthe rest\n") ||
			strings.Contains(text, "old") || !strings.Contains(text, "7.25") || !strings.Contains(text, "2026-01-02, on one of ours") ||
			first != "" && text != first {
			t.Errorf("the page is now\n%s", text)
		}
		first = text
	}
	for _, bad := range []string{"", begin + "\n", end + "\n" + begin + "\n", begin + "\n" + end + "\n" + begin + "\n"} {
		write(page, bad)
		if err := run([]string{report, page}); err == nil || !strings.Contains(err.Error(), "markers") && !strings.Contains(err.Error(), "once") {
			t.Errorf("page %q: %v", bad, err)
		}
	}
	if err := run([]string{filepath.Join(dir, "none"), page}); err == nil || !strings.Contains(err.Error(), "make bench") {
		t.Errorf("no report: %v", err)
	}
}

// TestThePageHasItsPlace keeps the markers where make bench-docs looks for them.
func TestThePageHasItsPlace(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../../../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fill(string(raw), ""); err != nil {
		t.Error(err)
	}
}
