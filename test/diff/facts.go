package diff

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
)

// Facts are what was seen of one pod: paths like "status.phase" and values.
type Facts map[string]string

// Add takes in a value and everything below it. Structures are seen as JSON has
// them. Elements of lists are called by what names them, else by their place.
func (f Facts) Add(path string, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("take %s for a fact: %w", path, err)
	}
	return f.AddJSON(path, raw)
}

// AddJSON is Add for what is JSON already.
func (f Facts) AddJSON(path string, raw []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var tree any
	if err := decoder.Decode(&tree); err != nil {
		return fmt.Errorf("take %s for a fact: %w", path, err)
	}
	f.flatten(path, tree)
	return nil
}

func (f Facts) flatten(path string, tree any) {
	switch v := tree.(type) {
	case map[string]any:
		if len(v) == 0 {
			f[path] = "{}"
		}
		for key, child := range v {
			f.flatten(path+step(key), child)
		}
	case []any:
		if len(v) == 0 {
			f[path] = "[]"
		}
		names := elementNames(v)
		for i, child := range v {
			f.flatten(path+"["+names[i]+"]", child)
		}
	case nil:
		f[path] = "null"
	default:
		f[path] = fmt.Sprint(v)
	}
}

var plain = regexp.MustCompile(`^\w*$`)

// step is the way to a member: ".name", or "[name]" where the name has dots.
func step(key string) string {
	if plain.MatchString(key) {
		return "." + key
	}
	return "[" + key + "]"
}

// elementNames calls the elements of a list by the member that tells them apart.
func elementNames(list []any) []string {
	for _, member := range []string{"container_path", "mountPath", "key", "type", "name"} {
		names := make([]string, 0, len(list))
		for _, e := range list {
			object, _ := e.(map[string]any)
			name, ok := object[member].(string)
			if !ok || slices.Contains(names, name) {
				break
			}
			names = append(names, name)
		}
		if len(names) == len(list) {
			return names
		}
	}
	names := make([]string, len(list))
	for i := range list {
		names[i] = strconv.Itoa(i)
	}
	return names
}

// Normalised returns the facts with everything replaced that may differ.
func (f Facts) Normalised(n *Normaliser) Facts {
	out := make(Facts, len(f))
	for _, path := range slices.Sorted(maps.Keys(f)) {
		key := n.Text(path)
		for _, taken := out[key]; taken; _, taken = out[key] {
			key += "'" // two paths that differ only in what is random
		}
		out[key] = n.Text(f[path])
	}
	return out
}
