package reading

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// state makes a generation with the values and makes it the newest.
func state(t *testing.T, dir string, generation int, values map[string]string) {
	t.Helper()
	name := "..gen-" + strconv.Itoa(generation)
	if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
		t.Fatal(err)
	}
	for key, value := range values {
		if err := os.WriteFile(filepath.Join(dir, name, key), []byte(value), 0o644); err != nil {
			t.Fatal(err)
		}
		_ = os.Symlink(filepath.Join(dataDir, key), filepath.Join(dir, key)) // it stays
	}
	next := filepath.Join(dir, "..next")
	if err := os.Symlink(name, next); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, filepath.Join(dir, dataDir)); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsWrongIsSeen(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		values map[string]string
		want   Tally
	}{
		"good":    {map[string]string{"a": Value(7), "b": Value(7)}, Tally{Reads: 1, States: 1, Last: 7}},
		"older":   {map[string]string{"a": Value(3), "b": Value(3)}, Tally{Reads: 1, States: 1, Back: 1, Last: 3}},
		"torn":    {map[string]string{"a": Value(7), "b": Value(8)}, Tally{Torn: 1, Last: 5}},
		"half":    {map[string]string{"a": Value(7), "b": Value(7)[:100]}, Tally{Torn: 1, Last: 5}},
		"empty":   {map[string]string{"a": Value(7), "b": ""}, Tally{Torn: 1, Last: 5}},
		"missing": {map[string]string{"a": Value(7)}, Tally{Missing: 1, Last: 5}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			state(t, dir, 1, c.values)
			got := Tally{Last: 5}
			got.pair(dir, "a", "b")
			got.plain(dir, "a")
			said := got.First
			got.First = ""
			if got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
			if (said == "") != (name == "good") {
				t.Errorf("it says %q", said)
			}
		})
	}
}

func TestMissingByName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	state(t, dir, 1, map[string]string{"a": Value(1), "b": Value(1)})
	if err := os.Remove(filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	var got Tally
	got.plain(dir, "a")
	if got.Missing != 1 {
		t.Errorf("%+v, want one missing", got)
	}
}

func TestPairsUntilTheEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	state(t, dir, 1, map[string]string{"a": Value(1), "b": Value(1)})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan Tally)
	go func() { done <- Pairs(ctx, dir, "a", "b") }()
	for i := 2; i < 50; i++ {
		state(t, dir, i, map[string]string{"a": Value(i), "b": Value(i)})
	}
	cancel()
	if got := <-done; got.Torn+got.Missing+got.Back+got.Overtaken > 0 {
		t.Errorf("%+v, want nothing wrong", got)
	}
}
