package userns

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"go.uber.org/zap"
)

func TestNew(t *testing.T) {
	root := t.TempDir()
	for name, c := range map[string]struct {
		cfg  Config
		want string
	}{
		"relative root":  {Config{RootDir: "r"}, "absolute"},
		"no multiple":    {Config{RootDir: root, IDsPerPod: 65537}, "idsPerPod"},
		"negative":       {Config{RootDir: root, IDsPerPod: -65536}, "idsPerPod"},
		"all IDs":        {Config{RootDir: root, IDsPerPod: allIDs}, "idsPerPod"},
		"no answer":      {Config{RootDir: root, Subordinate: func(context.Context) (Range, bool, error) { return Range{}, false, errors.New("away") }}, "away"},
		"begins between": {Config{RootDir: root, Subordinate: has(Range{65537, 65536})}, "no multiple"},
		"the node's":     {Config{RootDir: root, Subordinate: has(Range{0, 65536 * 9})}, "the node's"},
		"below a pod's":  {Config{RootDir: root, IDsPerPod: 131072, Subordinate: has(Range{65536, 131072})}, "no multiple"},
		"ends between":   {Config{RootDir: root, Subordinate: has(Range{65536, 65537})}, "no multiple"},
		"beyond the end": {Config{RootDir: root, Subordinate: has(Range{allIDs - 65536, 131072})}, "after the last"},
		"too few":        {Config{RootDir: root, MaxPods: 3, Subordinate: has(Range{65536, 131072})}, "for 2 pods, and the node takes 3"},
		"none":           {Config{RootDir: root, Subordinate: has(Range{65536, 0})}, "for 0 pods"},
		"default":        {Config{RootDir: root, IDsPerPod: 1 << 31, MaxPods: 2, Subordinate: none}, "for 1 pods"},
	} {
		if _, err := New(t.Context(), c.cfg, zap.NewNop()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for length, want := range map[int64]Range{
		0:       {65536, 4294901760},
		131072:  {131072, 4294836224},
		196608:  {196608, 4294705152}, // does not divide the number of all IDs
		1 << 31: {1 << 31, 1 << 31},
	} {
		r, err := New(t.Context(), Config{RootDir: root, IDsPerPod: length, MaxPods: 1, Subordinate: none}, zap.NewNop())
		must(t, err)
		if r.all != want {
			t.Errorf("%d: %v, want %v", length, r.all, want)
		}
		got := ensure(t, r, "u")
		r.Forget("u")
		if got.Length != r.length || got.First%r.length != 0 || got.First < r.length || got.end() > allIDs {
			t.Errorf("%d: gave %v", length, got)
		}
	}
}

func TestParseSubids(t *testing.T) {
	for text, want := range map[string]Range{
		"0: kubelet 65536 2147483648\n": {65536, 2147483648},
		"0: kubelet 65536 2147483648":   {65536, 2147483648},
		"3: 998 131072 65536\n\n":       {131072, 65536},
	} {
		if got, err := parseSubids(text); got != want || err != nil {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "\n", "0: kubelet 65536", "0: kubelet 65536 1 1", "0: kubelet 65536 65536\n1: kubelet 131072 65536\n",
		"0: kubelet -1 65536", "0: kubelet 65536 4294967296", "0: kubelet x 65536"} {
		if got, err := parseSubids(text); err == nil || !strings.Contains(err.Error(), "getsubids") {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func TestAskTool(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"answers":       {`echo "0: kubelet 65536 131072"`, ""},
		"groups differ": {`echo "0: kubelet $# 131072"`, "say the same"},
		"fails":         {`echo "no such user" >&2; exit 1`, "no such user"},
		"nothing":       {`true`, "one range"},
	} {
		tool := t.TempDir() + "/getsubids"
		must(t, os.WriteFile(tool, []byte("#!/bin/sh\n"+c.script+"\n"), 0o700))
		got, ok, err := askTool(t.Context(), tool)
		switch {
		case c.want == "" && (err != nil || !ok || got != Range{65536, 131072}):
			t.Errorf("%s: %v, %v, %v", name, got, ok, err)
		case c.want != "" && (err == nil || ok || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, %v", name, ok, err)
		}
	}
}

// FuzzFile: whatever a file says, either it is refused, or a pod has what is written
// in it, which are IDs for pods and no other pod's.
func FuzzFile(f *testing.F) {
	f.Add([]byte(kubelet131072))
	f.Add([]byte(file(Range{10 * unit, unit})))
	f.Add([]byte(file(Range{10*unit - 1, 3 * unit})))
	f.Add([]byte(`{"uidMappings":null}`))
	f.Add([]byte(`{"UIDMAPPINGS":[{"hostId":131072,"length":65536,"length":1}],"gidMappings":[{}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		root := t.TempDir()
		put(t, root, "own", file(Range{12 * unit, unit}))
		put(t, root, "given", string(data))
		r := start(t, root, 4)
		own, ownErr := r.Ensure(testPod("own"))
		got, err := r.Ensure(testPod("given"))
		if err == nil && (got.Length != unit || got.First%unit != 0 || !r.all.overlaps(*got)) {
			t.Errorf("%q: got %v", data, got)
		}
		if other, otherErr := r.Ensure(testPod("other")); otherErr == nil && err == nil && other.overlaps(*got) {
			t.Errorf("%q: %v for two", data, got)
		}
		if err == nil && ownErr == nil && got.overlaps(*own) {
			t.Errorf("%q: %v for two", data, got)
		}
		if again, err2 := start(t, root, 4).Ensure(testPod("given")); (err == nil) != (err2 == nil) || err == nil && *again != *got {
			t.Errorf("%q: %v, %v, after a restart %v, %v", data, got, err, again, err2)
		}
	})
}
