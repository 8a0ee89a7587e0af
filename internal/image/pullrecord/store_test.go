package pullrecord

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/image"
)

const (
	theImage = "r.io/team/app:1"
	theRef   = "sha256:1"
)

// node is a node's records, which outlive the store.
type node struct {
	*testing.T
	dir    string
	policy string
	allow  []string
	// checks are what was counted.
	counting sync.Mutex
	checks   []string
	*Store
}

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{T: t, dir: t.TempDir(), policy: "NeverVerifyPreloadedImages"}
	n.start()
	return n
}

// start is an agent that starts, on what an earlier one left.
func (n *node) start() {
	n.Helper()
	s, err := New(Config{RootDir: n.dir, Policy: n.policy, Allowlist: n.allow,
		Checked: func(result string) {
			n.counting.Lock()
			defer n.counting.Unlock()
			n.checks = append(n.checks, result)
		}}, zaptest.NewLogger(n))
	n.no(err)
	n.Store = s
	n.Cleanup(func() { n.no(s.Close()) })
}

func (n *node) no(err error) {
	n.Helper()
	if err != nil {
		n.Fatal(err)
	}
}

func (n *node) path(dir, of string) string { return filepath.Join(n.dir, dir, fileName(of)) }

func (n *node) put(dir, of, content string) {
	n.Helper()
	n.no(os.WriteFile(n.path(dir, of), []byte(content), 0o600))
}

// files are the names of all files.
func (n *node) files() (all []string) {
	for _, dir := range []string{pullingDir, pulledDir} {
		entries, err := os.ReadDir(filepath.Join(n.dir, dir))
		n.no(err)
		for _, e := range entries {
			all = append(all, filepath.Base(dir)+"/"+e.Name())
		}
	}
	return all
}

func (n *node) wantFiles(want ...string) {
	n.Helper()
	if got := n.files(); !slices.Equal(got, want) {
		n.Errorf("files %q, want %q", got, want)
	}
}

func (n *node) pulled(name, ref string, by *image.Source) {
	n.Helper()
	n.no(n.Begin(name))
	n.End(name, image.Outcome{Ref: ref, By: by})
}

func (n *node) must(name, ref string, want bool, list ...image.Credential) {
	n.Helper()
	got, err := n.MustPull(name, ref, func() ([]image.Credential, error) { return list, nil })
	if err != nil || got != want {
		n.Errorf("%s (%s) must be pulled with %d credentials: %v, %v; want %v", name, ref, len(list), got, err, want)
	}
}

func secret(name, uid, hash string) image.Credential {
	return image.Credential{Source: image.Source{Secret: &image.SecretSource{UID: types.UID(uid), Namespace: "ns", Name: name, Hash: hash}}}
}

func account(name string) image.Credential {
	return image.Credential{Source: image.Source{ServiceAccount: &image.ServiceAccountSource{UID: "sa-uid", Namespace: "ns", Name: name}}}
}

func (n *node) read(dir, of string) string {
	n.Helper()
	content, err := os.ReadFile(n.path(dir, of))
	n.no(err)
	return string(content)
}

// TestFormat compares with what the kubelet 1.37 writes, byte for byte.
func TestFormat(t *testing.T) {
	n := newNode(t)
	n.no(n.Begin(theImage))
	const intent = `{"kind":"ImagePullIntent","apiVersion":"kubelet.config.k8s.io/v1beta1","image":"r.io/team/app:1"}` + "\n"
	if got := n.read(pullingDir, theImage); got != intent {
		t.Errorf("the intent is %s", got)
	}
	by := secret("s", "u", "h").Source
	n.End(theImage, image.Outcome{Ref: theRef, By: &by})
	got := n.read(pulledDir, theRef)
	head, rest, _ := strings.Cut(got, `"lastUpdatedTime":"`)
	at, rest, _ := strings.Cut(rest, `"`)
	if when, err := time.Parse(time.RFC3339, at); err != nil || time.Since(when) > time.Minute || head != `{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1beta1",` {
		t.Errorf("the record begins %s%s", head, at)
	}
	const body = `,"imageRef":"sha256:1","credentialMapping":{"r.io/team/app":{"kubernetesSecrets":` +
		`[{"uid":"u","namespace":"ns","name":"s","credentialHash":"h"}]}}}` + "\n"
	if rest != body {
		t.Errorf("the record ends %s", rest)
	}
	n.wantFiles("pulled/sha256-51ae7fa00c92525c319404a3a6d400e52ff9372c5a39cb415e0486fe425f3165")
	for of, mode := range map[string]os.FileMode{pullingDir: 0o700, pulledDir: 0o700, filepath.Join(pulledDir, fileName(theRef)): 0o600} {
		if info, err := os.Stat(filepath.Join(n.dir, of)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", of, info.Mode(), err)
		}
	}
}

// TestWhatTheKubeletWrote is read, in both versions of its format.
func TestWhatTheKubeletWrote(t *testing.T) {
	for _, version := range []string{"v1beta1", "v1alpha1"} {
		n := newNode(t)
		n.put(pulledDir, theRef, `{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/`+version+`","lastUpdatedTime":"2024-10-21T12:26:40Z",`+
			`"imageRef":"sha256:1","credentialMapping":{"r.io/team/app":{"kubernetesSecrets":[{"uid":"u","namespace":"ns","name":"s","credentialHash":"h"}],`+
			`"kubernetesServiceAccounts":[{"uid":"sa-uid","namespace":"ns","name":"sa"}]},"r.io/public":{"nodePodsAccessible":true}}}`)
		n.must(theImage, theRef, false, secret("s", "u", "h"))
		n.must(theImage, theRef, false, account("sa"))
		n.must(theImage, theRef, true)
		n.must(theImage, theRef, true, secret("t", "v", "other"))
		n.must("r.io/public:2", theRef, false)
		n.must("r.io/team/app@sha256:"+strings.Repeat("0", 64), theRef, true)
		n.put(pullingDir, "b:1", `{"kind":"ImagePullIntent","apiVersion":"kubelet.config.k8s.io/`+version+`","image":"b:1"}`)
		n.must("b:1", "sha256:2", true)
	}
}

func TestWhoMayHaveAnImage(t *testing.T) {
	good := secret("s", "u", "h")
	for name, c := range map[string]struct {
		by   image.Source
		pod  []image.Credential
		must bool
		now  image.Credential // may have it afterwards
	}{
		"nobody":                {by: good.Source, must: true},
		"the same":              {by: good.Source, pod: []image.Credential{good}},
		"second":                {by: good.Source, pod: []image.Credential{secret("x", "x", "x"), good}},
		"another":               {by: good.Source, pod: []image.Credential{secret("x", "x", "x")}, must: true},
		"another secret's copy": {by: good.Source, pod: []image.Credential{secret("t", "v", "h")}, now: secret("t", "v", "changed")},
		"changed secret":        {by: good.Source, pod: []image.Credential{secret("s", "u", "changed")}, now: secret("t", "v", "changed")},
		"made anew, changed":    {by: good.Source, pod: []image.Credential{secret("s", "other", "changed")}, must: true},
		"no hashes":             {by: secret("s", "u", "").Source, pod: []image.Credential{secret("t", "v", "")}, must: true},
		"account":               {by: account("a").Source, pod: []image.Credential{account("a")}},
		"another account":       {by: account("a").Source, pod: []image.Credential{account("b")}, must: true},
		"account of a secret":   {by: account("a").Source, pod: []image.Credential{good}, must: true},
		"node's":                {by: image.Source{Node: true}},
		"anonymous":             {by: image.Source{}},
		"the node's credential": {by: good.Source, pod: []image.Credential{{Source: image.Source{Node: true}}}, must: true},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.T = t
			n.pulled(theImage, theRef, &c.by)
			n.must(theImage, theRef, c.must, c.pod...)
			n.must("r.io/team/app:other-tag", theRef, c.must, c.pod...)
			if c.now.Source.Secret != nil {
				n.must(theImage, theRef, false, c.now)
			}
			n.start() // what is known is on the disk
			n.must(theImage, theRef, c.must, c.pod...)
		})
	}
}

func TestCredentialsAreAskedForWhereTheyMatter(t *testing.T) {
	n := newNode(t)
	boom := errors.New("boom")
	fails := func() ([]image.Credential, error) { return nil, boom }
	by := secret("s", "u", "h").Source
	n.pulled("private:1", "sha256:p", &by)
	n.pulled("public:1", "sha256:q", &image.Source{})
	n.pulled("unknown:1", "sha256:r", nil)
	for _, c := range []struct {
		name, ref string
		must      bool
		err       error
	}{
		{"private:1", "sha256:p", true, boom},
		{"public:1", "sha256:q", false, nil},
		{"unknown:1", "sha256:r", true, nil},
		{"preloaded:1", "sha256:s", false, nil},
	} {
		if must, err := n.MustPull(c.name, c.ref, fails); must != c.must || !errors.Is(err, c.err) {
			t.Errorf("%s: %v, %v", c.name, must, err)
		}
	}
}

func TestPolicies(t *testing.T) {
	for _, c := range []struct {
		policy    string
		preloaded bool // must be pulled
		allowed   bool
		pulled    bool
	}{
		{"NeverVerify", false, false, false},
		{"NeverVerifyPreloadedImages", false, false, true},
		{"NeverVerifyAllowlistedImages", true, false, true},
		{"AlwaysVerify", true, true, true},
	} {
		n := newNode(t)
		n.policy, n.allow = c.policy, []string{"r.io/allowed", "r.io/all/*"}
		n.start()
		by := secret("s", "u", "h").Source
		n.pulled(theImage, theRef, &by)
		n.must("r.io/other:1", "sha256:2", c.preloaded)
		n.must("r.io/allowed:1", "sha256:3", c.allowed)
		n.must("r.io/all/of/them@sha256:"+strings.Repeat("0", 64), "sha256:4", c.allowed)
		n.must("r.io/allowed/not:1", "sha256:5", c.preloaded)
		n.must(theImage, theRef, c.pulled, secret("x", "x", "x"))
	}
}

func TestAllowlist(t *testing.T) {
	for _, bad := range []string{"", "*", "/*", " r.io/a", "r.io/a*", "r.io/*/a", "r.io/a:1", "r.io/a@sha256:" + strings.Repeat("0", 64), "r.io/A"} {
		if _, err := newPolicy("NeverVerifyAllowlistedImages", []string{bad}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", bad)) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := New(Config{RootDir: t.TempDir(), Policy: "Sometimes"}, zaptest.NewLogger(t)); err == nil {
		t.Error("an unknown policy was accepted")
	}
}

func TestRecordsDoNotGrowForEver(t *testing.T) {
	n := newNode(t)
	for i := range manySecrets {
		by := secret(fmt.Sprint("s", i), "u", "h").Source
		n.pulled(theImage, theRef, &by)
	}
	before := n.read(pulledDir, theRef)
	n.must(theImage, theRef, false, secret("copy", "v", "h"))
	n.must(theImage, theRef, true, secret("s1", "u", "changed"))
	if n.read(pulledDir, theRef) != before {
		t.Error("looking made the record grow")
	}
	by := secret("pulls", "v", "new").Source
	n.pulled(theImage, theRef, &by)
	n.must(theImage, theRef, false, secret("pulls", "v", "new"))
}

// TestCounts: every check is counted by its result, and what is on the disk is.
func TestCounts(t *testing.T) {
	n := newNode(t)
	n.must(theImage, theRef, false) // nobody pulled it
	by := secret("s", "u", "h").Source
	n.pulled(theImage, theRef, &by)
	n.must(theImage, theRef, false, secret("s", "u", "h"))
	n.must(theImage, theRef, true, secret("other", "v", "i"))
	if _, err := n.MustPull(theImage, theRef, func() ([]image.Credential, error) { return nil, errors.New("x") }); err == nil {
		t.Error("an error was lost")
	}
	if want := []string{"credentialPolicyAllowed", "credentialRecordFound", "mustAuthenticate", "error"}; !slices.Equal(n.checks, want) {
		t.Errorf("checks %q, want %q", n.checks, want)
	}
	n.no(n.Begin("r.io/team/slow:1"))
	if intents, records := n.Sizes(); intents != 1 || records != 1 {
		t.Errorf("%d intents and %d records, want one each", intents, records)
	}
}
