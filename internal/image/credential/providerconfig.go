package credential

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	metajson "k8s.io/apimachinery/pkg/runtime/serializer/json"
	configv1 "k8s.io/kubelet/config/v1"
	configv1alpha1 "k8s.io/kubelet/config/v1alpha1"
	configv1beta1 "k8s.io/kubelet/config/v1beta1"
	"sigs.k8s.io/yaml"
)

// readProviders reads a CredentialProviderConfig, or all that are in a directory
// in the order of their names, and the hash the kubelet shows of them.
func readProviders(w *wire, path string) ([]configv1.CredentialProvider, string, error) {
	files, err := configFiles(path)
	if err != nil {
		return nil, "", err
	}
	sum := sha256.New()
	var all []configv1.CredentialProvider
	from := map[string]string{}
	for _, file := range files {
		data, err := readFile(file)
		if err != nil {
			return nil, "", err
		}
		// Each file is hashed after its length, in eight bytes.
		_, _ = sum.Write(binary.BigEndian.AppendUint64(nil, uint64(len(data))))
		_, _ = sum.Write(data)
		providers, err := w.providers(data)
		if err != nil {
			return nil, "", fmt.Errorf("%s: %w", file, err)
		}
		for _, p := range providers {
			if earlier, ok := from[p.Name]; ok {
				return nil, "", fmt.Errorf("provider %q is in %s and again in %s: every name may be there once", p.Name, earlier, file)
			}
			from[p.Name] = file
		}
		all = append(all, providers...)
	}
	return all, "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}

func configFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path) // in the order of names
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if !e.IsDir() && slices.Contains([]string{".json", ".yaml", ".yml"}, filepath.Ext(e.Name())) {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no file *.json, *.yaml or *.yml is in the directory %s", path)
	}
	return files, nil
}

// providers decodes a CredentialProviderConfig of any version.
func (w *wire) providers(data []byte) ([]configv1.CredentialProvider, error) {
	text, err := yaml.YAMLToJSON(data)
	if err != nil {
		return nil, configTrouble(err)
	}
	gvk, err := metajson.DefaultMetaFactory.Interpret(text)
	if err != nil || gvk.Kind == "" {
		return nil, errors.New("it is no object with kind and apiVersion")
	}
	if gvk.Group != configv1.GroupName || gvk.Kind != "CredentialProviderConfig" {
		return nil, fmt.Errorf("it is %q of %q, not a CredentialProviderConfig of %s/v1", gvk.Kind, gvk.GroupVersion(), configv1.GroupName)
	}
	obj, _, err := w.codecs.UniversalDeserializer().Decode(data, nil, nil)
	if err != nil {
		if runtime.IsNotRegisteredError(err) {
			return nil, fmt.Errorf("CredentialProviderConfig has no version %q: it is v1, v1beta1 or v1alpha1", gvk.Version)
		}
		return nil, configTrouble(err)
	}
	switch c := obj.(type) {
	case *configv1.CredentialProviderConfig:
		return c.Providers, nil
	case *configv1beta1.CredentialProviderConfig:
		return fromBeta(c.Providers), nil
	case *configv1alpha1.CredentialProviderConfig:
		return fromAlpha(c.Providers), nil
	}
	return nil, fmt.Errorf("it is a %T, not a CredentialProviderConfig", obj)
}

func fromBeta(old []configv1beta1.CredentialProvider) []configv1.CredentialProvider {
	providers := make([]configv1.CredentialProvider, len(old))
	for i, o := range old {
		providers[i] = configv1.CredentialProvider{Name: o.Name, MatchImages: o.MatchImages,
			DefaultCacheDuration: o.DefaultCacheDuration, APIVersion: o.APIVersion, Args: o.Args}
		for _, v := range o.Env {
			providers[i].Env = append(providers[i].Env, configv1.ExecEnvVar(v))
		}
	}
	return providers
}

func fromAlpha(old []configv1alpha1.CredentialProvider) []configv1.CredentialProvider {
	providers := make([]configv1.CredentialProvider, len(old))
	for i, o := range old {
		providers[i] = configv1.CredentialProvider{Name: o.Name, MatchImages: o.MatchImages,
			DefaultCacheDuration: o.DefaultCacheDuration, APIVersion: o.APIVersion, Args: o.Args}
		for _, v := range o.Env {
			providers[i].Env = append(providers[i].Env, configv1.ExecEnvVar(v))
		}
	}
	return providers
}

// configTrouble says what is wrong with a configuration without its values:
// variables of a provider may be secret, and parsers like to quote what they
// stumbled over. Names of fields are shown.
func configTrouble(err error) error {
	if runtime.IsStrictDecodingError(err) {
		return err
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("field %q has the wrong type: it must be %s", wrong.Field, wrong.Type)
	}
	if line := regexp.MustCompile(`\bline \d+\b`).FindString(err.Error()); line != "" {
		return fmt.Errorf("it is not valid YAML or JSON (%s)", line)
	}
	return errors.New("it is not valid YAML or JSON, or a field has the wrong type")
}
