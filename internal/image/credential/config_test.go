package credential

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
)

const goodProvider = `
- name: a
  matchImages: ["*.example.com"]
  defaultCacheDuration: 1m
  apiVersion: credentialprovider.kubelet.k8s.io/v1
`

func header(version string) string {
	return "kind: CredentialProviderConfig\napiVersion: kubelet.config.k8s.io/" + version + "\nproviders:"
}

func TestConfigurations(t *testing.T) {
	tokens := func(more string) string {
		return header("v1") + goodProvider + "  tokenAttributes:\n" + strings.ReplaceAll(more, "+", "    ")
	}
	const good = "+serviceAccountTokenAudience: a\n+cacheType: Token\n+requireServiceAccount: true\n"
	for _, c := range []struct{ name, text, err string }{
		{"v1", header("v1") + goodProvider, ""},
		{"v1beta1", header("v1beta1") + goodProvider, ""},
		{"v1alpha1", header("v1alpha1") + goodProvider, ""},
		{"JSON", `{"kind":"CredentialProviderConfig","apiVersion":"kubelet.config.k8s.io/v1","providers":[{"name":"a","matchImages":["b"],"defaultCacheDuration":"0s","apiVersion":"credentialprovider.kubelet.k8s.io/v1beta1"}]}`, ""},
		{"tokens", tokens(good), ""},
		{"annotations", tokens(good + "+requiredServiceAccountAnnotationKeys: [Example.com/A]\n+optionalServiceAccountAnnotationKeys: [b]\n"), ""},

		{"nothing", "", "no object with kind"},
		{"no YAML", "a: [", "not valid YAML or JSON (line 1)"},
		{"a list", "[1]", "no object with kind"},
		{"another kind", strings.Replace(header("v1"), "Provider", "", 1) + goodProvider, `"CredentialConfig"`},
		{"another group", strings.Replace(header("v1"), "kubelet.config", "kubelet", 1) + goodProvider, "not a CredentialProviderConfig of kubelet.config.k8s.io/v1"},
		{"another version", header("v2") + goodProvider, `no version "v2"`},
		{"unknown field", header("v1") + goodProvider + "  nonsense: 1\n", `unknown field "providers[0].nonsense"`},
		{"case of a field", header("v1") + strings.Replace(goodProvider, "matchI", "MatchI", 1), `unknown field "providers[0].MatchImages"`},
		{"repeated field", header("v1") + goodProvider + "  name: b\n", `"name" already set`},
		{"tokens in v1beta1", strings.Replace(tokens(good), "io/v1", "io/v1beta1", 1), `unknown field "providers[0].tokenAttributes"`},
		{"wrong type", header("v1") + strings.Replace(goodProvider, "name: a", "name: [a]", 1), `wrong type`},
		{"bad duration", header("v1") + strings.Replace(goodProvider, "1m", "soon", 1), "wrong type"},

		{"no providers", header("v1") + " []", "at least one provider"},
		{"no name", header("v1") + strings.Replace(goodProvider, "name: a", `name: ""`, 1), "providers[0].name: Required"},
		{"a path", header("v1") + strings.Replace(goodProvider, "name: a", "name: ../a", 1), "must not contain '/'"},
		{"a space", header("v1") + strings.Replace(goodProvider, "name: a", "name: a b", 1), "must not contain '/' or spaces"},
		{"a directory", header("v1") + strings.Replace(goodProvider, "name: a", "name: ..", 1), "not of a directory"},
		{"twice", header("v1") + goodProvider + goodProvider[1:], `provider "a" is in`},
		{"no apiVersion", header("v1") + strings.Replace(goodProvider, "apiVersion: ", "args: [x] # ", 1), "providers[0].apiVersion: Required"},
		{"unknown apiVersion", header("v1") + goodProvider[:len(goodProvider)-1] + "9\n", "supported values"},
		{"no patterns", header("v1") + strings.Replace(goodProvider, `["*.example.com"]`, "[]", 1), "matchImages: Required"},
		{"no pattern", header("v1") + strings.Replace(goodProvider, `*.example.com`, "%zz", 1), "matchImages[0]"},
		{"no duration", header("v1") + strings.Replace(goodProvider, "defaultCacheDuration: 1m", "args: [x]", 1), "defaultCacheDuration: Required"},
		{"negative duration", header("v1") + strings.Replace(goodProvider, "1m", "-1s", 1), "must not be negative"},

		{"tokens for an old API", strings.Replace(tokens(good), "provider.kubelet.k8s.io/v1", "provider.kubelet.k8s.io/v1beta1", 1), "only apiVersion credentialprovider.kubelet.k8s.io/v1 has it"},
		{"no audience", tokens("+cacheType: Token\n+requireServiceAccount: true\n"), "serviceAccountTokenAudience: Required"},
		{"no cache type", tokens("+serviceAccountTokenAudience: a\n+requireServiceAccount: true\n"), "cacheType: Required"},
		{"unknown cache type", tokens("+serviceAccountTokenAudience: a\n+cacheType: Pod\n+requireServiceAccount: true\n"), `"Pod": supported values: "ServiceAccount", "Token"`},
		{"required or not", tokens("+serviceAccountTokenAudience: a\n+cacheType: Token\n"), "requireServiceAccount: Required"},
		{"annotations of nobody", tokens("+serviceAccountTokenAudience: a\n+cacheType: Token\n+requireServiceAccount: false\n+requiredServiceAccountAnnotationKeys: [a]\n"), "it needs requireServiceAccount: true"},
		{"a bad key", tokens(good + "+optionalServiceAccountAnnotationKeys: ['a b']\n"), "optionalServiceAccountAnnotationKeys[0]"},
		{"a key twice", tokens(good + "+requiredServiceAccountAnnotationKeys: [a, a]\n"), "requiredServiceAccountAnnotationKeys[1]: Duplicate"},
		{"required and optional", tokens(good + "+requiredServiceAccountAnnotationKeys: [a]\n+optionalServiceAccountAnnotationKeys: [a]\n"), "both required and optional"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			putProgram(t, dir, "a")
			_, err := New(Config{ProviderConfig: write(t, filepath.Join(dir, "c.yaml"), c.text), ProviderBinDir: dir, ServiceAccountTokens: true},
				Deps{Tokens: &accounts{}, ServiceAccounts: &accounts{}}, zap.NewNop())
			switch {
			case c.err == "" && err != nil:
				t.Error(err)
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
				t.Errorf("error %v, want %q", err, c.err)
			}
		})
	}
}

func TestADirectoryOfConfigurations(t *testing.T) {
	dir, bin := t.TempDir(), t.TempDir()
	named := func(name string) string {
		putProgram(t, bin, name)
		return header("v1") + strings.Replace(goodProvider, "name: a", "name: "+name, 1)
	}
	first, second := named("zeta"), named("ypsilon")
	write(t, filepath.Join(dir, "2.json"), second) // YAML is read whatever the name
	write(t, filepath.Join(dir, "10.yml"), first)
	write(t, filepath.Join(dir, "README.md"), "not read")
	write(t, filepath.Join(dir, "sub.yaml", "x.yaml"), "not read")
	cfg := Config{ProviderConfig: dir, ProviderBinDir: bin}
	s := newStore(t, cfg, Deps{}, zap.NewNop())
	if len(s.providers) != 2 || s.providers[0].name != "zeta" || s.providers[1].name != "ypsilon" {
		t.Errorf("providers %v", s.providers)
	}
	sum := sha256.New()
	for _, text := range []string{first, second} {
		sum.Write(binary.BigEndian.AppendUint64(nil, uint64(len(text))))
		sum.Write([]byte(text))
	}
	if got, want := s.ProviderConfigHash(), fmt.Sprintf("sha256:%x", sum.Sum(nil)); got != want {
		t.Errorf("hash %s, want %s", got, want)
	}
	write(t, filepath.Join(dir, "3.yaml"), first)
	if _, err := New(cfg, Deps{}, zap.NewNop()); err == nil || !strings.Contains(err.Error(), "10.yml and again in") {
		t.Errorf("a provider in two files: %v", err)
	}
	cfg.ProviderConfig = t.TempDir()
	if _, err := New(cfg, Deps{}, zap.NewNop()); err == nil || !strings.Contains(err.Error(), "no file") {
		t.Errorf("an empty directory: %v", err)
	}
}

func TestWhatIsMissingAtTheStart(t *testing.T) {
	dir := t.TempDir()
	good := write(t, filepath.Join(dir, "c.yaml"), header("v1")+goodProvider)
	withTokens := write(t, filepath.Join(dir, "t.yaml"), header("v1")+goodProvider+
		"  tokenAttributes: {serviceAccountTokenAudience: a, cacheType: Token, requireServiceAccount: true}\n")
	bin := t.TempDir()
	putProgram(t, bin, "a")
	plain := t.TempDir()
	write(t, filepath.Join(plain, "a"), "not executable")
	for name, c := range map[string]struct {
		cfg Config
		err string
	}{
		"no directory given":     {Config{ProviderConfig: good}, "both or none"},
		"no configuration given": {Config{ProviderBinDir: bin}, "both or none"},
		"no configuration":       {Config{ProviderConfig: "/nowhere/c.yaml", ProviderBinDir: bin}, "no such file"},
		"no directory":           {Config{ProviderConfig: good, ProviderBinDir: "/nowhere"}, "/nowhere"},
		"no program":             {Config{ProviderConfig: good, ProviderBinDir: t.TempDir()}, "does not exist: install it"},
		"not executable":         {Config{ProviderConfig: good, ProviderBinDir: plain}, "cannot be run"},
		"feature is off":         {Config{ProviderConfig: withTokens, ProviderBinDir: bin}, "KubeletServiceAccountTokenForCredentialProviders is off"},
		"no ports":               {Config{ProviderConfig: withTokens, ProviderBinDir: bin, ServiceAccountTokens: true}, "nothing that gives tokens"},
	} {
		if _, err := New(c.cfg, Deps{}, zap.NewNop()); err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: error %v, want %q", name, err, c.err)
		}
	}
}

// A directory given as "." must not make the program one of PATH.
func TestProgramsAreNotLookedForInPath(t *testing.T) {
	t.Chdir(t.TempDir())
	if found, err := findProgram(".", "sh"); err == nil {
		t.Errorf("found %s", found)
	}
}
