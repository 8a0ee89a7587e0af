package userns

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/safedir"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func none(context.Context) (Range, bool, error) { return Range{}, false, nil }

func has(r Range) func(context.Context) (Range, bool, error) {
	return func(context.Context) (Range, bool, error) { return r, true, nil }
}

func testPod(uid types.UID) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: uid}, Spec: corev1.PodSpec{HostUsers: new(bool)}}
}

// start is an agent's start below a root directory, with IDs for n pods (0: all).
func start(t *testing.T, root string, n uint32) *Ranges {
	t.Helper()
	cfg := Config{RootDir: root, MaxPods: int(n), Subordinate: none}
	if n > 0 {
		cfg.Subordinate = has(Range{First: 10 * unit, Length: n * unit})
	}
	r, err := New(t.Context(), cfg, zap.NewNop())
	must(t, err)
	return r
}

func ensure(t *testing.T, r *Ranges, uid types.UID) Range {
	t.Helper()
	got, err := r.Ensure(testPod(uid))
	must(t, err)
	return *got
}

func refused(t *testing.T, r *Ranges, uid types.UID, texts ...string) {
	t.Helper()
	got, err := r.Ensure(testPod(uid))
	if got != nil || err == nil {
		t.Fatalf("%s got %v", uid, got)
	}
	word, text := pod.ReasonOf(err, "plain")
	if word != "CreatePodSandboxError" {
		t.Errorf("%s: reason %q", uid, word)
	}
	for _, want := range append(texts, "hostUsers") {
		if !strings.Contains(text, want) {
			t.Errorf("%s: %q says nothing of %q", uid, text, want)
		}
	}
}

func path(root string, uid types.UID) string {
	return filepath.Join(root, "pods", string(uid), "userns")
}

// put writes what somebody else left on the disk.
func put(t *testing.T, root string, uid types.UID, content string) {
	t.Helper()
	must(t, errors.Join(os.MkdirAll(filepath.Dir(path(root, uid)), 0o750), os.WriteFile(path(root, uid), []byte(content), 0o600)))
}

// kubelet131072 is byte for byte what a kubelet 1.37 writes.
const kubelet131072 = `{"uidMappings":[{"hostId":131072,"containerId":0,"length":65536}],"gidMappings":[{"hostId":131072,"containerId":0,"length":65536}]}`

func file(r Range) string {
	data, err := encode(r)
	if err != nil {
		panic(err)
	}
	return string(data)
}

func TestTheNodesIDs(t *testing.T) {
	r, yes := start(t, t.TempDir(), 0), true
	p := testPod("u")
	for _, host := range []*bool{nil, &yes} {
		p.Spec.HostUsers = host
		if got, err := r.Ensure(p); got != nil || err != nil {
			t.Errorf("%v, %v", got, err)
		}
	}
	if got, err := r.Ensure(nil); got != nil || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	if left, err := os.ReadDir(r.root); err != nil || len(left) != 0 {
		t.Errorf("%v, %v", left, err)
	}
}

func TestARangeIsKept(t *testing.T) {
	root := t.TempDir()
	r := start(t, root, 0)
	got := ensure(t, r, "u")
	if got.Length != 65536 || got.First%65536 != 0 || got.First < 65536 {
		t.Errorf("%+v", got)
	}
	data, err := os.ReadFile(path(root, "u"))
	must(t, err)
	if string(data) != file(got) {
		t.Errorf("%s", data)
	}
	info, err := os.Lstat(path(root, "u"))
	must(t, err)
	if info.Mode() != 0o600 {
		t.Error(info.Mode())
	}
	for _, again := range []*Ranges{r, start(t, root, 0)} {
		if now := ensure(t, again, "u"); now != got {
			t.Errorf("%v, then %v", got, now)
		}
	}
	must(t, os.RemoveAll(root+"/pods/u"))
	if now := ensure(t, r, "u"); now != got { // containers may have it
		t.Errorf("%v, then %v", got, now)
	}
	if now, err := os.ReadFile(path(root, "u")); err != nil || string(now) != file(got) {
		t.Errorf("%s, %v", now, err)
	}
}

func TestAKubeletsFile(t *testing.T) {
	if file(Range{First: 131072, Length: 65536}) != kubelet131072 {
		t.Errorf("wrote %s", file(Range{First: 131072, Length: 65536}))
	}
	want := Range{First: 131072, Length: 65536}
	root := t.TempDir()
	put(t, root, "before", kubelet131072)
	put(t, root, "empty", "") // for a kubelet this is no file
	r := start(t, root, 0)
	if got := ensure(t, r, "before"); got != want {
		t.Errorf("%v", got)
	}
	if got := ensure(t, r, "empty"); got == want {
		t.Error("given twice")
	}
	r = start(t, t.TempDir(), 0)
	put(t, r.root, "after", kubelet131072)
	if got := ensure(t, r, "after"); got != want {
		t.Errorf("%v", got)
	}
}

// Every pod has its own, until there are no more; one that is given back is given again.
func TestAllAreGivenOnce(t *testing.T) {
	r := start(t, t.TempDir(), 3)
	seen := map[Range]types.UID{}
	for _, uid := range []types.UID{"a", "b", "c"} {
		got := ensure(t, r, uid)
		if got.First < 10*unit || got.end() > 13*unit || seen[got] != "" {
			t.Errorf("%s has %v, as %s", uid, got, seen[got])
		}
		seen[got] = uid
	}
	refused(t, r, "d", "all 3 ranges", "655360 to 851967")
	b := ensure(t, r, "b")
	r.Forget("b")
	r.Forget("b")
	r.Forget("stranger")
	r.Forget("../b")
	if _, err := os.Lstat(path(r.root, "b")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if got := ensure(t, r, "d"); got != b {
		t.Errorf("%v, and %v was free", got, b)
	}
	refused(t, start(t, r.root, 3), "e")
}

// A pod of which nobody said that it has gone is found out when it matters.
func TestAMissedEnd(t *testing.T) {
	r := start(t, t.TempDir(), 2)
	a := ensure(t, r, "a")
	ensure(t, r, "b")
	refused(t, r, "c")
	must(t, os.RemoveAll(r.root+"/pods/a"))
	if got := ensure(t, r, "c"); got != a {
		t.Errorf("%v, and %v was free", got, a)
	}
}

func TestManyAtOnce(t *testing.T) {
	r := start(t, t.TempDir(), 40)
	var mu sync.Mutex
	seen := map[Range]int{}
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			uid := types.UID("pod-" + string(rune('A'+i)))
			for range 3 {
				got, err := r.Ensure(testPod(uid))
				if err != nil {
					t.Error(err)
					return
				}
				r.Forget(uid)
				_ = got
			}
			got, err := r.Ensure(testPod(uid))
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			seen[*got]++
		})
	}
	all.Wait()
	if len(seen) != 40 {
		t.Errorf("%d ranges for 40 pods", len(seen))
	}
}

func TestFilesThatAreRefused(t *testing.T) {
	const m = `{"hostId":131072,"containerId":0,"length":65536}`
	for name, c := range map[string]struct{ content, text string }{
		"no JSON":        {"nothing", "no JSON"},
		"more than JSON": {kubelet131072 + "x", "no JSON"},
		"negative":       {strings.ReplaceAll(kubelet131072, "131072", "-131072"), "no JSON"},
		"too large":      {strings.ReplaceAll(kubelet131072, "131072", "4294967296"), "no JSON"},
		"no mappings":    {"{}", "0 mappings"},
		"two mappings":   {`{"uidMappings":[` + m + `,` + m + `],"gidMappings":[` + m + `]}`, "2 mappings"},
		"groups differ":  {strings.Replace(kubelet131072, "131072", "65536", 1), "differently"},
		"not from 0":     {strings.ReplaceAll(kubelet131072, `"containerId":0`, `"containerId":1`), "has to be 0"},
		"the node's":     {strings.ReplaceAll(kubelet131072, "131072", "0"), "the node's own"},
		"empty range":    {file(Range{First: 131072}), "do not exist"},
		"beyond the end": {file(Range{First: allIDs - 1, Length: unit}), "do not exist"},
		"half a range":   {file(Range{First: 131072, Length: 32768}), "32768 IDs"},
		"longer":         {file(Range{First: 131072, Length: 131072}), "idsPerPod"},
		"between":        {file(Range{First: 131073, Length: unit}), "none of those for pods"},
		"long file":      {kubelet131072 + strings.Repeat(" ", maxFile), "longer than"},
	} {
		root := t.TempDir()
		put(t, root, "bad", c.content)
		core, logs := observer.New(zap.ErrorLevel)
		r, err := New(t.Context(), Config{RootDir: root, Subordinate: none}, zap.New(core))
		must(t, err)
		if logs.Len() != 1 || logs.All()[0].ContextMap()["podUID"] != "bad" {
			t.Errorf("%s: logged %v", name, logs.All())
		}
		refused(t, r, "bad", c.text, "delete the pod")
		refused(t, r, "bad", c.text) // each time
		ensure(t, r, "other")
		later := start(t, t.TempDir(), 0)
		put(t, later.root, "bad", c.content)
		refused(t, later, "bad", c.text)
		if data, err := os.ReadFile(path(root, "bad")); err != nil || string(data) != c.content {
			t.Errorf("%s: changed to %q, %v", name, data, err)
		}
		must(t, os.Remove(path(root, "bad"))) // as the error says
		ensure(t, r, "bad")
	}
}

// What two files say is nobody's to use, until one of the two has gone.
func TestOverlappingFiles(t *testing.T) {
	root := t.TempDir()
	shared := Range{First: 10 * unit, Length: unit}
	put(t, root, "a", file(shared))
	put(t, root, "b", file(shared))
	r := start(t, root, 2)
	refused(t, r, "a", "the file of pod b says too")
	refused(t, r, "b", "the file of pod a says too")
	if got := ensure(t, r, "c"); got.overlaps(shared) {
		t.Error("given to a third")
	}
	refused(t, r, "d", "all 2 ranges")
	r.Forget("a")
	if got := ensure(t, r, "b"); got != shared {
		t.Error(got)
	}
	// A file that comes later takes nothing away from who has it.
	put(t, root, "e", file(shared))
	refused(t, r, "e", "the file of pod b says too")
	if got := ensure(t, r, "b"); got != shared {
		t.Error(got)
	}
	put(t, root, "b", file(Range{First: 11 * unit, Length: unit}))
	refused(t, r, "b", "it was given 655360 to 720895")
}

// Processes may have IDs that a file says, also if we would not give them.
func TestRefusedRangesAreNotGivenToOthers(t *testing.T) {
	root := t.TempDir()
	put(t, root, "old", file(Range{First: 11*unit + 7, Length: 2 * unit}))
	r := start(t, root, 4)
	if got := ensure(t, r, "a"); got.First != 10*unit {
		t.Error(got)
	}
	refused(t, r, "b", "all 4 ranges")
	r.Forget("old")
	ensure(t, r, "b")
}

func TestNoSymlinkIsFollowed(t *testing.T) {
	for _, at := range []string{"pods", "pods/u", "pods/u/userns"} {
		root, outside := t.TempDir(), t.TempDir()
		put(t, outside, "u", kubelet131072)
		before := file(Range{First: 131072, Length: unit})
		link := filepath.Join(root, at)
		must(t, errors.Join(os.MkdirAll(filepath.Dir(link), 0o750), os.Symlink(filepath.Join(outside, at), link)))
		r, err := New(t.Context(), Config{RootDir: root, Subordinate: none}, zap.NewNop())
		if at == "pods" {
			if !errors.Is(err, safedir.ErrNotPlain) {
				t.Errorf("%s: %v", at, err)
			}
			continue
		}
		must(t, err)
		refused(t, r, "u", "symlinks are not followed")
		r.Forget("u")
		if data, err := os.ReadFile(path(outside, "u")); err != nil || string(data) != before {
			t.Errorf("%s: %s, %v", at, data, err)
		}
	}
}

func TestUIDsThatAreNoNames(t *testing.T) {
	r := start(t, t.TempDir(), 0)
	for _, uid := range []types.UID{"", ".", "..", "a/b", "../x", "a\x00b"} {
		refused(t, r, uid, "UID")
	}
}

// What could not be written down is not kept, and not lost.
func TestWritingFails(t *testing.T) {
	r := start(t, t.TempDir(), 1)
	must(t, os.Mkdir(r.root+"/pods", 0o750))
	must(t, os.MkdirAll(r.root+"/pods/u/.userns.tmp/in-the-way", 0o750))
	refused(t, r, "u", "write down")
	ensure(t, r, "other")
	refused(t, r, "u", "all 1 ranges")
}

func TestSupported(t *testing.T) {
	handlers := []pod.RuntimeHandler{{Name: "", UserNamespaces: true}, {Name: "runc", UserNamespaces: true}, {Name: "kata"}}
	const class = "can't set `spec.hostUsers: false`, RuntimeClass handler "
	const plain = "can't set `spec.hostUsers: false`, runtime does not support user namespaces"
	for _, c := range []struct {
		handlers []pod.RuntimeHandler
		handler  string
		want     string
	}{
		{handlers, "", ""},
		{handlers, "runc", ""},
		{handlers, "kata", class + `"kata" does not support user namespaces`},
		{handlers, "gone", class + `"gone" does not support user namespaces: the handler "gone" is not known`},
		{handlers[2:], "", plain + `: the handler "" is not known`},
		{nil, "", plain},
		{nil, "runc", class + `"runc" does not support user namespaces`},
		{[]pod.RuntimeHandler{{}}, "", plain},
	} {
		err := Supported(c.handlers, c.handler)
		if c.want == "" && err == nil {
			continue
		}
		if err == nil || err.Error() != c.want || pod.Reason(err, "") != "CreatePodSandboxError" {
			t.Errorf("%q: %v, want %s", c.handler, err, c.want)
		}
	}
}
