package diff

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestNormaliser(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	n := &Normaliser{}
	n.Name("/tmp/bed/agent", "$ROOT")
	n.Name("/tmp/bed", "$BED")
	n.Name("", "nothing")
	n.Name("8a1b9a4e-0000-4000-8000-000000000001", "$UID")
	n.Word(id, "$SANDBOX")
	n.Word("10.0.0.1", "$NODEIP")
	n = n.Clone()
	for in, want := range map[string]string{
		"/tmp/bed/agent/pods/8a1b9a4e-0000-4000-8000-000000000001": "$ROOT/pods/$UID",
		"/tmp/bed/resolv.conf":                 "$BED/resolv.conf",
		"8a1b9a4e-0000-4000-8000-000000000002": "$UUID",
		"containerd://" + id:                   "containerd://$SANDBOX",
		"x " + strings.Repeat("f", 64):         "x $ID",
		"a@sha256:" + id:                       "a@sha256:" + id,
		"10.0.0.1 and 10.0.0.11":               "$NODEIP and 10.0.0.11",
		"2026-01-02T03:04:05Z":                 "$TIME",
		"2026-01-02T03:04:05.123456789+01:00":  "$TIME",
		"1970-01-01T00:00:00Z":                 "$NEVER",
		"0001-01-01T00:00:00Z":                 "$NEVER",
		"1795220869123456789":                  "$TIME",
		"0":                                    "0",
		"pulled in 12ms (3.4s including waiting). Image size: 7 bytes.": "pulled in $D ($D including waiting). Image size: 7 bytes.",
		"/pods/x/containers/c/0a1b2c3d":                                 "/pods/x/containers/c/$RANDOM",
		"dial tcp 127.0.0.1:34567->127.0.0.1:80: refused":               "dial tcp 127.0.0.1:$PORT->127.0.0.1:80: refused",
	} {
		if got := n.Text(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestFacts(t *testing.T) {
	f := Facts{}
	if err := f.AddJSON("s", []byte(`{"phase": "Running", "empty": {}, "none": [], "nil": null, "big": 1795220869123456789,
		"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}],
		"twice": [{"name": "a"}, {"name": "a"}], "labels": {"example.com/x": "y"}, "list": ["a", "b"]}`)); err != nil {
		t.Fatal(err)
	}
	want := Facts{
		"s.phase": "Running", "s.empty": "{}", "s.none": "[]", "s.nil": "null", "s.big": "1795220869123456789",
		"s.conditions[Ready].type": "Ready", "s.conditions[Ready].status": "True", "s.conditions[Other].type": "Other", "s.conditions[Other].status": "False",
		"s.twice[0].name": "a", "s.twice[1].name": "a", "s.labels[example.com/x]": "y", "s.list[0]": "a", "s.list[1]": "b",
	}
	if !maps.Equal(f, want) {
		t.Errorf("got %v", f)
	}
	if err := f.AddJSON("s", []byte("{")); err == nil {
		t.Error("half an object was taken")
	}
	n := &Normaliser{}
	n.Name("a", "$")
	n.Name("b", "$")
	if got := (Facts{"a": "1", "b": "2", "c": "a"}).Normalised(n); !maps.Equal(got, Facts{"$": "1", "$'": "2", "c": "$"}) {
		t.Errorf("normalised %v", got)
	}
}

func TestParseAccepted(t *testing.T) {
	list, err := ParseAccepted(strings.NewReader("# about\n\n*/a[b]*=x | values differ | it | is so\n ?p/c | kubelet only | comes with later work\n"))
	if err != nil || len(list) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	if a := list[0]; a.Line != 3 || a.Reason != "it | is so" || a.Sometimes || a.Kind != ValuesDiffer {
		t.Errorf("%+v", a)
	}
	if a := list[1]; a.Pattern != "p/c" || !a.Sometimes {
		t.Errorf("%+v", a)
	}
	for line, want := range map[string]string{
		"p/c | kubelet only":                                     "want POD/FIELD | kind | reason",
		"pc | kubelet only | comes with work":                    "want POD/FIELD",
		"p/c | kubelet | comes with work":                        "kind",
		"p/c | kubelet only | unknown":                           "explains nothing",
		"p/c | kubelet only | a b c\np/c | kubelet only | a b c": "line 2: p/c is listed twice",
	} {
		if _, err := ParseAccepted(strings.NewReader(line)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", line, err, want)
		}
	}
}

func TestJudge(t *testing.T) {
	list, err := ParseAccepted(strings.NewReader(`
*/labels[x]      | nodeagent only | all pods have it
*/text=*none*    | values differ  | only when the kubelet says none
?p/rare          | kubelet only   | one run in ten
q/gone           | kubelet only   | was fixed since then`))
	if err != nil {
		t.Fatal(err)
	}
	kubelet := map[string]Facts{"p": {"text": "there is none\nhere", "same": "1"}, "q": {"text": "some", "only": "1"}}
	nodeagent := map[string]Facts{"p": {"text": "nothing", "same": "1", "labels[x]": "1"}, "q": {"text": "nothing", "labelsx": "1"}}
	found := Compare(kubelet, nodeagent)
	unknown, stale := Judge(found, list)
	var got []string
	for _, d := range unknown {
		got = append(got, d.Pod+"/"+d.Field+" "+string(d.Kind))
	}
	if want := []string{"q/labelsx nodeagent only", "q/only kubelet only", "q/text values differ"}; !slices.Equal(got, want) || len(found) != 5 {
		t.Errorf("unknown %q of %d", got, len(found))
	}
	if len(stale) != 1 || stale[0].Pattern != "q/gone" {
		t.Errorf("stale %+v", stale)
	}
	if s := unknown[2].String(); s != "  text\n    kubelet    some\n    nodeagent  nothing" {
		t.Errorf("%q", s)
	}
	if s := unknown[1].String(); !strings.HasSuffix(s, "nodeagent  (none)") {
		t.Errorf("%q", s)
	}
}

func TestCases(t *testing.T) {
	names := Names{"REGISTRY": "127.0.0.1:5000", "HOST": "/h", "DIGEST": "sha256:" + strings.Repeat("0", 64), "BUSYBOX": "b"}
	cases, err := Cases(names, "image")
	if err != nil || len(cases) < 50 {
		t.Fatalf("%d pods, %v", len(cases), err)
	}
	for _, c := range cases {
		if len(c.Pod.Annotations) > 0 && c.Pod.Name != "marked" {
			t.Errorf("%s: the agents would see %v", c.Pod.Name, c.Pod.Annotations)
		}
		for _, k := range c.Pod.Spec.Containers {
			if k.Image == "" || strings.Contains(strings.Replace(k.Image, "@sha256", "", 1), "@") {
				t.Errorf("%s: image %q", c.Pod.Name, k.Image)
			}
		}
		if c.Pod.Spec.TerminationGracePeriodSeconds == nil || *c.Pod.Spec.AutomountServiceAccountToken {
			t.Errorf("%s is not complete", c.Pod.Name)
		}
	}
	for text, want := range map[string]string{"metadata: {name: x, annotations: {diff/until: Soon}}": "unknown condition", "spec: [": "parse pod 1"} {
		if _, err := parsePods(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// The list in the tree can be read.
func TestDifferencesFile(t *testing.T) {
	if _, err := ParseAccepted(strings.NewReader(differences)); err != nil {
		t.Error(err)
	}
}
