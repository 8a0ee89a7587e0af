package checkpoint_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nodeagent.dev/nodeagent/internal/checkpoint"
)

type state struct {
	Entries map[string]int `json:"entries,omitempty"`
}

func TestRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	var got state
	if err := checkpoint.Read(path, &got); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a missing file: %v", err)
	}
	for _, want := range []int{1, 2} {
		if err := checkpoint.Write(path, state{Entries: map[string]int{"a": want}}); err != nil {
			t.Fatal(err)
		}
		got = state{}
		if err := checkpoint.Read(path, &got); err != nil || got.Entries["a"] != want {
			t.Fatalf("got %v, %v", got, err)
		}
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("files left: %v (%v)", left, err)
	}
}

func TestDamagedFiles(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		content string
	}{
		"checksum": {`{"data":"{}","checksum":1}`},
		"no JSON":  {`{"data":`},
		"empty":    {``},
		"data":     {`{"data":"[","checksum":2117245482}`},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
			if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			var got state
			if err := checkpoint.Read(path, &got); !errors.Is(err, checkpoint.ErrCorrupt) {
				t.Errorf("got %v", err)
			}
		})
	}
}
