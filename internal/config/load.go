package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"strings"

	"k8s.io/kubelet/config/v1beta1"
	"sigs.k8s.io/yaml"
)

// dropInExt is the only extension that counts in --config-dir.
const dropInExt = ".conf"

// decodeFile parses one configuration file, YAML or JSON, and checks it strictly: no unknown
// or duplicate fields, no values of a wrong type, one document, the right apiVersion and kind.
func decodeFile(path string, data []byte) (map[string]any, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, Problems{{Source: path, Reason: "the file is empty", Fix: "write at least apiVersion: " + v1beta1.SchemeGroupVersion.String() + " and kind: " + configKind}}
	}
	if documents(data) > 1 {
		return nil, Problems{{Source: path, Reason: "the file holds more than one YAML document", Fix: "keep one KubeletConfiguration per file"}}
	}
	text, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, Problems{{Source: path, Reason: strings.ReplaceAll(err.Error(), "\n", " "), Fix: "correct the YAML or JSON; a key may stand only once in a group"}}
	}
	doc, err := decodeObject(text)
	if err != nil {
		return nil, Problems{{Source: path, Reason: "the file is not a group of fields", Fix: "start it with apiVersion and kind"}}
	}
	if problems := append(checkKind(path, doc), checkSchema(path, doc)...); len(problems) > 0 {
		return nil, problems
	}
	return doc, nil
}

// documents counts the YAML documents in data that are not just comments.
func documents(data []byte) int {
	count, content := 0, false
	for line := range bytes.Lines(data) {
		line = bytes.TrimRight(line, " \t\r\n")
		switch {
		case bytes.Equal(line, []byte("---")) || bytes.HasPrefix(line, []byte("--- ")):
			content = false
		case len(line) == 0 || line[0] == '#' || content:
		default:
			content = true
			count++
		}
	}
	return count
}

// decodeObject keeps numbers as they are written.
func decodeObject(text []byte) (map[string]any, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var doc map[string]any
	if err := decoder.Decode(&doc); err != nil {
		return nil, fmt.Errorf("decode object: %w", err)
	}
	if doc == nil {
		return nil, errors.New("decode object: null")
	}
	return doc, nil
}

func checkKind(path string, doc map[string]any) Problems {
	var problems Problems
	for _, want := range [][2]string{{"apiVersion", v1beta1.SchemeGroupVersion.String()}, {"kind", configKind}} {
		if got, isText := doc[want[0]].(string); !isText || got != want[1] {
			problems = append(problems, Problem{Source: path, Field: want[0], Value: show(doc[want[0]]),
				Reason: "only " + want[1] + " is supported", Fix: "write " + want[0] + ": " + want[1]})
		}
	}
	return problems
}

// withoutNulls returns v without the map entries that are null, because null means unset and
// not every Go type of the API accepts it.
func withoutNulls(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, value := range v {
			if value != nil {
				out[key] = withoutNulls(value)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = withoutNulls(item)
		}
		return out
	default:
		return v
	}
}

// decodeConfig turns a checked document into the Go type.
func decodeConfig(source string, doc map[string]any) (*v1beta1.KubeletConfiguration, error) {
	text, err := json.Marshal(withoutNulls(doc))
	if err != nil {
		return nil, fmt.Errorf("%s: encode: %w", source, err)
	}
	kc := &v1beta1.KubeletConfiguration{}
	if err := json.Unmarshal(text, kc); err != nil {
		return nil, fmt.Errorf("%s: decode: %w", source, err)
	}
	return kc, nil
}

// loadFile reads --config and fills in the defaults of a start with a config file.
func loadFile(env Environment, path string, gates map[string]bool) (*v1beta1.KubeletConfiguration, error) {
	doc, err := readDocument(env, path, "config")
	if err != nil {
		return nil, err
	}
	kc, err := decodeConfig(path, doc)
	if err != nil {
		return nil, err
	}
	applyDefaults(kc, gates)
	switch {
	case kc.EvictionHard == nil:
		kc.EvictionHard = defaultEvictionHard()
	case *kc.MergeDefaultEvictionSettings:
		merged := defaultEvictionHard()
		maps.Copy(merged, kc.EvictionHard)
		kc.EvictionHard = merged
	}
	resolvePaths(kc, filepath.Dir(path))
	return kc, nil
}

func readDocument(env Environment, path, flagName string) (map[string]any, error) {
	data, err := env.ReadFile(path)
	if err != nil {
		fix := "check the permissions of the file"
		if errors.Is(err, fs.ErrNotExist) {
			fix = "create the file or correct --" + flagName
		}
		return nil, Problems{{Source: path, Flag: flagName, Reason: "can not be read (" + err.Error() + ")", Fix: fix}}
	}
	return decodeFile(path, data)
}

// resolvePaths makes paths in the --config file relative to its directory.
func resolvePaths(kc *v1beta1.KubeletConfiguration, dir string) {
	for _, p := range []*string{
		&kc.StaticPodPath, &kc.Authentication.X509.ClientCAFile, &kc.TLSCertFile, &kc.TLSPrivateKeyFile,
		kc.ResolverConfig, &kc.VolumePluginDir, &kc.PodLogsDir,
	} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
}

// mergeDropIns applies every *.conf below dir, in lexical order, as JSON merge patches: maps
// are merged, lists replaced, null returns a field to its API default.
func mergeDropIns(env Environment, base *v1beta1.KubeletConfiguration, dir string, gates map[string]bool) (*v1beta1.KubeletConfiguration, error) {
	text, err := json.Marshal(base)
	if err != nil {
		return nil, fmt.Errorf("--config-dir %s: encode the configuration so far: %w", dir, err)
	}
	merged, err := decodeObject(text)
	if err != nil {
		return nil, fmt.Errorf("--config-dir %s: %w", dir, err)
	}
	var problems Problems
	err = env.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() || filepath.Ext(entry.Name()) != dropInExt {
			return nil
		}
		patch, err := readDocument(env, path, "config-dir")
		if found := (Problems)(nil); errors.As(err, &found) {
			problems = append(problems, found...)
			return nil
		}
		if err != nil {
			return err
		}
		merged = mergePatch(merged, patch)
		return nil
	})
	if err != nil {
		return nil, Problems{{Source: dir, Flag: "config-dir", Reason: "can not be read (" + err.Error() + ")", Fix: "create the directory or correct --config-dir"}}
	}
	if err := problems.asError(); err != nil {
		return nil, err
	}
	kc, err := decodeConfig("--config-dir "+dir, merged)
	if err != nil {
		return nil, err
	}
	applyDefaults(kc, gates)
	return kc, nil
}

// mergePatch is RFC 7386 for objects.
func mergePatch(doc, patch map[string]any) map[string]any {
	out := maps.Clone(doc)
	if out == nil {
		out = map[string]any{}
	}
	for key, value := range patch {
		switch v := value.(type) {
		case nil:
			delete(out, key)
		case map[string]any:
			inner, _ := out[key].(map[string]any)
			out[key] = mergePatch(inner, v)
		default:
			out[key] = v
		}
	}
	return out
}
