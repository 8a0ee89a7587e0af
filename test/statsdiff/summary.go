package statsdiff

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"time"

	"nodeagent.dev/nodeagent/test/diff"
)

// told are the members of the summary whose values count: names and references.
var told = regexp.MustCompile(`(\.|^)(name|namespace|uid|nodeName)$`)

// Summary takes in the JSON of /stats/summary: every path, and what is there.
// Place replaces what is special about a run.
func Summary(text []byte, place func(string) string) (diff.Facts, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var root any
	if err := decoder.Decode(&root); err != nil {
		return nil, fmt.Errorf("read a summary: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("read a summary: there is more behind its end")
	}
	t := &tree{facts: diff.Facts{}, place: place}
	if err := t.walk("", root); err != nil {
		return nil, err
	}
	return t.facts, nil
}

type tree struct {
	facts diff.Facts
	place func(string) string
}

func (t *tree) walk(path string, value any) error {
	switch v := value.(type) {
	case map[string]any:
		if len(v) == 0 {
			t.facts[path] = "{}"
		}
		for key, child := range v {
			at := key
			if path != "" {
				at = path + "." + key
			}
			if err := t.walk(at, child); err != nil {
				return err
			}
		}
	case []any:
		if len(v) == 0 {
			t.facts[path] = "[]"
		}
		for i, child := range v {
			if err := t.walk(path+"["+t.place(nameOf(child, i))+"]", child); err != nil {
				return err
			}
		}
	case json.Number:
		n, err := strconv.ParseFloat(v.String(), 64)
		if err != nil || n < 0 {
			return fmt.Errorf("read a summary: %s is %q: %w", path, v, err)
		}
		t.facts[path] = "number"
	case string:
		t.facts[path] = "text"
		if told.MatchString(path) {
			t.facts[path] = t.place(v)
		} else if _, err := time.Parse(time.RFC3339, v); err == nil {
			t.facts[path] = "time"
		}
	default:
		t.facts[path] = fmt.Sprintf("%T", v)
	}
	return nil
}

// nameOf is what an element is called by.
func nameOf(element any, index int) string {
	object, _ := element.(map[string]any)
	if name, ok := object["name"].(string); ok {
		return name
	}
	ref, _ := object["podRef"].(map[string]any)
	if name, ok := ref["name"].(string); ok {
		return name
	}
	return strconv.Itoa(index)
}
