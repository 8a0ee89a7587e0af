package conformance

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const report = `[{"SpecReports": [
 {"LeafNodeType": "SynchronizedBeforeSuite", "State": "passed"},
 {"ContainerHierarchyTexts": ["[sig-x] A", "", "b "], "LeafNodeType": "It", "LeafNodeText": "works", "State": "passed", "RunTime": 1500000000},
 {"ContainerHierarchyTexts": ["[sig-x] A"], "LeafNodeType": "It", "LeafNodeText": "not chosen", "State": "skipped"},
 {"ContainerHierarchyTexts": ["[sig-x] A"], "LeafNodeType": "It", "LeafNodeText": "cannot", "State": "skipped", "Failure": {"Message": "no such device"}},
 {"ContainerHierarchyTexts": ["[sig-x] A"], "LeafNodeType": "It", "LeafNodeText": "hangs", "State": "timedout", "Failure": {"Message": "\n waited \nlong"}}
]}]`

func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadReport(t *testing.T) {
	t.Parallel()
	got, err := ReadReport(file(t, report))
	if err != nil {
		t.Fatal(err)
	}
	want := []Result{
		{Name: "[sig-x] A b works", Outcome: Pass, Duration: 1500 * time.Millisecond},
		{Name: "[sig-x] A cannot", Outcome: Skip, Why: "no such device"},
		{Name: "[sig-x] A hangs", Outcome: Fail, Why: "waited"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestReportOfABrokenSuite(t *testing.T) {
	t.Parallel()
	broken := strings.Replace(report, `"State": "passed"`, `"State": "failed", "Failure": {"Message": "no nodes"}`, 1)
	if _, err := ReadReport(file(t, broken)); err == nil || !strings.Contains(err.Error(), "no nodes") {
		t.Errorf("got %v", err)
	}
	if _, err := ReadReport(file(t, report[:100])); err == nil {
		t.Error("no error of half a report")
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	base := &Baseline{Tests: map[string]Known{
		"passes": {Outcome: Pass}, "fails here": {Outcome: Fail, Reason: "no device"}, "skips": {Outcome: Skip, Reason: "loopback"},
	}}
	later := []Entry{{Text: "needs", Reason: "probes"}}
	for _, test := range []struct {
		name    string
		outcome Outcome
		bad     bool
		note    string
	}{
		{"passes", Pass, false, ""},
		{"passes", Fail, true, "the kubelet passes"},
		{"passes", Skip, true, "the kubelet passes"},
		{"fails here", Fail, false, "no device"},
		{"fails here", Pass, false, "no device"},
		{"skips", Skip, false, "loopback"},
		{"skips", Pass, false, ""},
		{"skips", Fail, true, "the kubelet skips it: loopback"},
		{"it needs more", Fail, false, "later: probes"},
		{"it needs more", Pass, true, "remove it from later.txt"},
		{"new", Pass, false, ""},
		{"new", Skip, false, ""},
		{"new", Fail, true, "AGENT=kubelet"},
	} {
		got := Judge(Case{Results: []Result{{Name: test.name, Outcome: test.outcome}}, Baseline: base, Later: later})
		if len(got) != 1 || got[0].Bad != test.bad || !strings.Contains(got[0].Note, test.note) || (test.note == "") != (got[0].Note == "") {
			t.Errorf("%s of %q: got %+v", test.outcome, test.name, got)
		}
	}
}

func TestJudgeMissesNothing(t *testing.T) {
	t.Parallel()
	c := Case{
		Results:  []Result{{Name: "group one", Outcome: Pass}},
		Baseline: &Baseline{Tests: map[string]Known{"group one": {Outcome: Pass}, "group two": {Outcome: Pass}}},
		Later:    []Entry{{Text: "three", Reason: "x"}},
		Focus:    []string{"group", "four"},
	}
	var bad []string
	for _, v := range Judge(c) {
		if v.Bad {
			bad = append(bad, v.Name)
		}
	}
	if want := []string{"four", "three", "group two"}; !slices.Equal(bad, want) {
		t.Errorf("got %q, want %q", bad, want)
	}
	c.Focus = nil // a pattern chose the tests
	if got := Judge(c); len(got) != 1 || got[0].Bad {
		t.Errorf("with a pattern: %+v", got)
	}
}

func TestBaselineKeepsReasons(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "baseline")
	b, err := ReadBaseline(path)
	if err != nil {
		t.Fatal(err)
	}
	results := []Result{
		{Name: "a", Outcome: Pass}, {Name: "b", Outcome: Fail, Why: "connection refused"}, {Name: "c", Outcome: Skip, Why: "loopback"},
	}
	b.Update([]string{"kernel 1"}, results)
	if n := b.Count([]Entry{{Text: "b"}, {Text: "c"}, {Text: "d"}}); n != 2 {
		t.Errorf("counted %d tests", n)
	}
	if got := b.Unexplained(); !slices.Equal(got, []string{"b"}) {
		t.Errorf("unexplained: %q", got)
	}
	b.Tests["b"] = Known{Outcome: Fail, Reason: "no kube-proxy"}
	if err := b.Write(path); err != nil {
		t.Fatal(err)
	}
	if b, err = ReadBaseline(path); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(b.Machine, []string{"kernel 1"}) || b.Tests["c"] != (Known{Skip, "loopback"}) {
		t.Errorf("read back: %+v", b)
	}
	b.Update([]string{"kernel 2"}, results)
	if b.Tests["b"].Reason != "no kube-proxy" || b.Tests["a"] != (Known{Outcome: Pass}) || len(b.Unexplained()) > 0 {
		t.Errorf("updated: %+v", b)
	}
	results[1].Outcome = Pass
	if b.Update(nil, results); b.Tests["b"] != (Known{Outcome: Pass}) {
		t.Errorf("passes now: %+v", b.Tests["b"])
	}
}

func TestListsAreChecked(t *testing.T) {
	t.Parallel()
	if got, err := ReadLater(file(t, "# why\n\n a b => probes\n")); err != nil || !slices.Equal(got, []Entry{{"a b", "probes"}}) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := ReadLater(file(t, "a test without a reason\n")); err == nil {
		t.Error("no error of an exception without a reason")
	}
	if _, err := ReadBaseline(file(t, "passed a\n")); err == nil {
		t.Error("no error of an unknown outcome")
	}
	if _, err := ReadFocus(file(t, "# nothing\n")); err == nil {
		t.Error("no error of an empty focus")
	}
}

// The lists of the checkout belong together.
func TestOwnLists(t *testing.T) {
	t.Parallel()
	for _, list := range []string{"api", "node"} {
		t.Run(list, func(t *testing.T) {
			t.Parallel()
			checkLists(t, filepath.Join("lists", list))
		})
	}
}

func checkLists(t *testing.T, dir string) {
	t.Helper()
	base, err := ReadBaseline(filepath.Join(dir, "kubelet-baseline.txt"))
	if err != nil {
		t.Fatal(err)
	}
	focus, err := ReadFocus(filepath.Join(dir, "focus.txt"))
	if err != nil {
		t.Fatal(err)
	}
	later, err := ReadLater(filepath.Join(dir, "later.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if names := base.Unexplained(); len(names) > 0 || len(base.Tests) == 0 || len(base.Machine) == 0 {
		t.Errorf("the baseline has %d tests and %d facts; not explained: %q", len(base.Tests), len(base.Machine), names)
	}
	known := func(text string, outcome Outcome) bool {
		for name, k := range base.Tests {
			if strings.Contains(name, text) && (outcome == "" || k.Outcome == outcome) {
				return true
			}
		}
		return false
	}
	for _, text := range focus {
		if !known(text, "") {
			t.Errorf("focus.txt: the baseline has no test %q", text)
		}
	}
	for _, e := range later {
		if !known(e.Text, Pass) {
			t.Errorf("later.txt: the kubelet passes no test %q", e.Text)
		}
	}
	for name := range base.Tests {
		if !slices.ContainsFunc(focus, func(text string) bool { return strings.Contains(name, text) }) {
			t.Errorf("the baseline has %q, and focus.txt does not choose it", name)
		}
	}
}

func TestPrint(t *testing.T) {
	t.Parallel()
	var s strings.Builder
	verdicts := []Verdict{
		{Result: Result{Name: "a", Outcome: Pass, Duration: 1260 * time.Millisecond}},
		{Result: Result{Name: "b", Outcome: Fail, Why: "refused"}, Note: "later: probes"},
	}
	if !Print(&s, "nodeagent", verdicts) || !strings.Contains(s.String(), "1 passed, 1 failed, 0 skipped; as it should be") {
		t.Errorf("got %s", s.String())
	}
	for _, want := range []string{"PASS   1.3s  a\n", "FAIL         b\n              refused\n              later: probes\n"} {
		if !strings.Contains(s.String(), want) {
			t.Errorf("no %q in %s", want, s.String())
		}
	}
	s.Reset()
	verdicts = append(verdicts, Verdict{Result: Result{Name: "c"}, Bad: true, Note: "it was not run"})
	if Print(&s, "nodeagent", verdicts) || !strings.Contains(s.String(), "wrong: 1\n  c\n    it was not run") {
		t.Errorf("got %s", s.String())
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	const said = "Will run 3 of 700 specs\n" +
		"[SynchronizedBeforeSuite] PASSED [0.021 seconds]\n[SynchronizedBeforeSuite]\n------\n" +
		"• [16.033 seconds]\n[sig-cli] A runs [Slow] [sig-cli, Slow]\nsource.go:1\n------\n" +
		"• [FAILED] [2.298 seconds]\n[sig-cli] A [BeforeEach] fails [sig-cli]\n  text\n------\n" +
		"S [SKIPPED] [0.100 seconds]\n[sig-cli] A [It] cannot [sig-cli]\n"
	var out bytes.Buffer
	progress(strings.NewReader(said), &out)
	const want = "  1/3 PASS   16.0s  [sig-cli] A runs [Slow]\n  2/3 FAIL    2.2s  [sig-cli] A fails\n  3/3 SKIP    0.1s  [sig-cli] A cannot\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestLiteral(t *testing.T) {
	t.Parallel()
	if got := Literal([]string{"[a] b.c"}); !slices.Equal(got, []string{`\[a\] b\.c`}) {
		t.Errorf("got %q", got)
	}
}
