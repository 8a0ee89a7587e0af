package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// bench writes lines of a benchmark whose runs allocate so often, 16 bytes each.
func bench(name string, allocs ...int) string {
	var text strings.Builder
	for i, n := range allocs {
		fmt.Fprintf(&text, "Benchmark%s\t100\t%d ns/op\t%d B/op\t%d allocs/op\n", name, 100*(i+1), 16*n, n)
	}
	return text.String()
}

func gate(t *testing.T, base, now string) (code int, said string) {
	t.Helper()
	dir := t.TempDir()
	var paths []string
	for name, text := range map[string]string{"base": base, "now": now} {
		text = "toolchain: go1.26.0\npkg: x/y\n" + text + "PASS\nok  \tx/y\t0.1s\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	paths = append(paths, filepath.Join(dir, "base"), filepath.Join(dir, "now"))
	var out strings.Builder
	code = run(paths, &out, &out)
	return code, out.String()
}

func TestGate(t *testing.T) {
	t.Parallel()
	steady := bench("A", 10, 10, 10, 10, 10, 10)
	for name, c := range map[string]struct {
		base, now string
		code      int
		says      string // a line of what is said; empty: nothing of a benchmark
	}{
		"the same":                {steady, steady, same, ""},
		"one more":                {steady, bench("A", 11, 11, 11, 11, 11, 11), grown, "GREW  x/y A: 10 -> 11 allocs/op"},
		"one more, from nothing":  {bench("A", 0, 0, 0, 0, 0, 0), bench("A", 1, 1, 1, 1, 1, 1), grown, "GREW  x/y A: 0 -> 1 allocs/op"},
		"one run has one more":    {steady, bench("A", 10, 11, 10, 10, 10, 10), same, ""},
		"noise":                   {bench("A", 1000, 1003, 1001, 1002, 1000, 1004), bench("A", 1002, 1004, 1000, 1003, 1003, 1001), same, ""},
		"as much as it varies":    {bench("A", 100, 100, 100, 100, 100, 104), bench("A", 108, 108, 108, 108, 108, 108), same, ""},
		"more than it varies":     {bench("A", 100, 100, 100, 100, 100, 104), bench("A", 109, 109, 109, 109, 109, 109), grown, "GREW  x/y A: 100 to 104 -> 109 allocs/op"},
		"less":                    {steady, bench("A", 9, 9, 9, 9, 9, 9), same, "less  x/y A: 10 -> 9 allocs/op"},
		"not in the baseline":     {steady, steady + bench("B/c", 1, 1, 1, 1, 1, 1), grown, "NEW   x/y B/c: it is not in the baseline"},
		"not in the code":         {steady + bench("B", 1, 1, 1, 1, 1, 1), steady, grown, "GONE  x/y B: it is in the baseline, and was not run"},
		"too few runs":            {steady, bench("A", 10, 10, 10), failed, "benchgate: "},
		"no benchmark":            {steady, "", failed, "benchgate: "},
		"a benchmark that failed": {steady, "BenchmarkA\t--- FAIL: BenchmarkA\n", failed, "benchgate: "},
	} {
		code, said := gate(t, c.base, c.now)
		if code != c.code || c.says != "" && !strings.Contains("\n"+said, "\n"+c.says) || c.says == "" && strings.Contains(said, "x/y") {
			t.Errorf("%s: code %d, want %d with %q; it says\n%s", name, code, c.code, c.says, said)
		}
	}
}

// More bytes in as many allocations count from a tenth on, and times never do.
func TestBytesAndTimes(t *testing.T) {
	t.Parallel()
	lines := func(nanos, bytes int) string {
		return strings.Repeat(fmt.Sprintf("BenchmarkA\t100\t%d ns/op\t12.5 MB/s\t%d B/op\t3 allocs/op\n", nanos, bytes), 6)
	}
	for bytes, want := range map[int]int{1000: same, 1100: same, 1101: grown, 500: same} {
		if code, said := gate(t, lines(100, 1000), lines(100_000, bytes)); code != want {
			t.Errorf("%d bytes instead of 1000: code %d, want %d; it says\n%s", bytes, code, want, said)
		}
	}
}

func TestOtherToolchainIsTold(t *testing.T) {
	t.Parallel()
	base, err := read(strings.NewReader("toolchain: go1.25.0\n"+bench("A", 1, 1, 1, 1)), "base")
	if err != nil {
		t.Fatal(err)
	}
	now, err := read(strings.NewReader("toolchain: go1.26.0\n"+bench("A", 1, 1, 1, 1)), "now")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if code := report(&out, base, now); code != same || !strings.Contains(out.String(), "of go1.25.0, this is go1.26.0") {
		t.Errorf("code %d; it says\n%s", code, &out)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if code := run([]string{"one"}, &out, &out); code != failed || !strings.Contains(out.String(), "usage") {
		t.Errorf("code %d, %s", code, &out)
	}
	if code := run([]string{"/does/not", "/exist"}, &out, &out); code != failed || !strings.Contains(out.String(), "benchmarks-baseline") {
		t.Errorf("code %d, %s", code, &out)
	}
}
