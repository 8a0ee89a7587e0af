//go:build vm

package vm

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fact is where something was seen: an area (cgroup, reboot, ...), a place in it
// and what was looked at.
type fact struct{ Area, Place, What string }

func (k fact) compare(other fact) int {
	return slices.Compare([]string{k.Area, k.Place, k.What}, []string{other.Area, other.Place, other.What})
}

// facts are what was seen under one agent.
type facts map[fact]string

func (f facts) put(area, place, what, value string) { f[fact{area, place, what}] = value }

// kept is a fact in a file.
type kept struct {
	fact
	Value string
}

func factsFile(dir, agent string) string { return filepath.Join(dir, agent+".json") }

// save writes the facts to a file of the folder.
func (f facts) save(t *testing.T, dir, agent string) {
	t.Helper()
	list := make([]kept, 0, len(f))
	for k, v := range f {
		list = append(list, kept{k, v})
	}
	slices.SortFunc(list, func(a, b kept) int { return a.compare(b.fact) })
	text, err := json.MarshalIndent(list, "", " ")
	must(t, "encoding what was seen", err)
	must(t, "keeping what was seen", os.MkdirAll(dir, 0o755))
	must(t, "keeping what was seen", os.WriteFile(factsFile(dir, agent), text, 0o644))
}

// load reads what an earlier run saw under an agent; nil when there was none.
func load(t *testing.T, dir, agent string) facts {
	t.Helper()
	text, err := os.ReadFile(factsFile(dir, agent))
	if dir == "" || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	must(t, "reading what was seen", err)
	var list []kept
	must(t, "reading "+factsFile(dir, agent), json.Unmarshal(text, &list))
	f := facts{}
	for _, k := range list {
		f[k.fact] = k.Value
	}
	return f
}

// wanted reports whether an agent is to be tested now.
func wanted(agent string) bool { return slices.Contains(strings.Split(*agents, ","), agent) }
