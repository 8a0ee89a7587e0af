package credential

import (
	"encoding/base64"
	"encoding/hex"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
)

// canary stands for whatever is secret.
const canary = "canary7Zq:s3cr3t!"

// noCanary checks that something was said, and that it shows no canary.
func noCanary(t *testing.T, where, said string) {
	t.Helper()
	if strings.TrimSpace(said) == "" {
		t.Errorf("%s: nothing was said", where)
	}
	for _, form := range []string{canary, "canary7Zq", "s3cr3t", base64.StdEncoding.EncodeToString([]byte(canary))[:12], hex.EncodeToString([]byte(canary))[:12]} {
		if strings.Contains(said, form) {
			t.Errorf("%s: a secret is shown: %s", where, said)
		}
	}
}

func TestDockerConfigurationsStaySecret(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString([]byte(canary))
	for _, entries := range []string{
		canary, `"` + canary + `"`, `{"r.io":"` + canary + `"}`, `{"r.io":{"auth":"` + canary + `"}}`, `{"r.io":{"auth":"` + b64 + `","password":["` + canary + `"]}}`,
		`{"r.io":{"auth":"` + base64.StdEncoding.EncodeToString([]byte("canary7Zq s3cr3t")) + `"}}`, `{"r.io":{"password":{"` + canary + `":1}}}`,
		`{"r.io":{"auth":"` + b64 + `"}`, `{"https://` + canary + `@bad host":{"auth":"` + b64 + `"}}`, `{"r.io":{"auth":"` + b64 + `"},` + canary + `}`,
		`{"r.io":{"auth":"` + b64 + `*"}}`,
	} {
		for form, c := range map[string]struct {
			kind      corev1.SecretType
			key, text string
		}{
			"config.json": {corev1.SecretTypeDockerConfigJson, corev1.DockerConfigJsonKey, `{"auths":` + entries + `}`},
			".dockercfg":  {corev1.SecretTypeDockercfg, corev1.DockerConfigKey, entries},
		} {
			log, text := logged()
			secret := &corev1.Secret{Type: c.kind, Data: map[string][]byte{c.key: []byte(c.text)}}
			_, err := newStore(t, Config{}, Deps{}, log).For(t.Context(), aPod(""), []*corev1.Secret{secret}, "r.io/a")
			said := text()
			if err != nil {
				said += err.Error()
			}
			noCanary(t, "secret "+c.text, said)

			log, text = logged()
			file := write(t, filepath.Join(t.TempDir(), form), c.text)
			_, err = newStore(t, Config{DockerConfigs: []string{file}}, Deps{}, log).For(t.Context(), aPod(""), nil, "r.io/a")
			ok(t, err)
			noCanary(t, "file "+c.text, text())
		}
	}
}

func TestProviderConfigurationsStaySecret(t *testing.T) {
	env := func(value string) string {
		return header("v1") + goodProvider + "  env: [{name: X, value: " + value + "}]\n"
	}
	for _, text := range []string{
		canary, env("'" + canary), env(`"\` + canary + `"`), env("!!int '" + canary + "'"), env("!!binary '" + canary + "'"), env("*" + canary), env("['" + canary + "']"),
		env("{<<: '" + canary + "'}"), env("'x', value: '" + canary + "'"), env("\t" + canary + "]"), env("'" + canary + "', other: '" + canary + "'"),
		env("'"+canary+"'") + "  defaultCacheDuration: '" + canary + "'\n", strings.Replace(env("'"+canary+"'"), "1m", "'"+canary+"'", 1),
		strings.Replace(env("'"+canary+"'"), "1m", "-1m", 1), strings.Replace(env("'"+canary+"'"), "name: a", "name: a/b", 1), "? [" + canary + "]\n: x\n",
		`{"kind":"CredentialProviderConfig","apiVersion":"kubelet.config.k8s.io/v1","providers":[{"name":"` + canary + `","env":[{"value":` + canary + `}]}]}`,
		strings.Replace(env("'"+canary+"'"), "name: a", "name: absent", 1),
	} {
		dir := t.TempDir()
		putProgram(t, dir, "a")
		_, err := New(Config{ProviderConfig: write(t, filepath.Join(dir, "c.yaml"), text), ProviderBinDir: dir}, Deps{}, zap.NewNop())
		if err == nil {
			t.Errorf("no error for %s", text)
			continue
		}
		noCanary(t, text, err.Error())
	}
}

func TestProvidersStaySecret(t *testing.T) {
	good := reply("Image", "1h", "*.example.com", "u", canary)
	change := func(from, to string) string { return strings.Replace(good, from, to, 1) }
	for name, c := range map[string]struct{ mode, reply string }{
		"standard error": {"fail", canary}, "both": {"fail", good}, "garbage": {"reply", canary}, "cut off": {"reply", good[:len(good)-1]},
		"version": {"reply", change(apiV1, canary)}, "version of two": {"reply", change(apiV1, "a/"+canary+"/b")}, "kind": {"reply", change("CredentialProviderResponse", canary)},
		"scope": {"reply", change(`"Image"`, `"`+canary+`"`)}, "duration": {"reply", change("1h", canary)}, "field": {"reply", change(`"auth"`, `"`+canary+`":1,"auth"`)},
		"twice": {"reply", change(`"password"`, `"password":"`+canary+`","password"`)}, "type": {"reply", change(`"password":"`, `"password":1,"x":"`)},
		"user": {"reply", change(`"u"`, `["`+canary+`"]`)}, "key": {"reply", change("*.example.com", "https://"+canary+"@bad host")},
		"held": {"leave-held", good}, "hang": {"hang", good}, "echo": {"echo", ""}, "nothing": {"reply", ""}, "unknown": {"nonsense", good},
	} {
		t.Run(name, func(t *testing.T) {
			log, text := logged()
			fifo := openFifo(t)
			a := &accounts{uid: "u", token: canary, annotations: map[string]string{"a": canary}}
			s := newStore(t, configure(t, plugin{name: "p", mode: c.mode,
				env: map[string]string{"TEST_REPLY": c.reply, "TEST_FIFO": fifo.path, "SECRET": canary},
				tokens: map[string]any{"serviceAccountTokenAudience": "a", "cacheType": "ServiceAccount", "requireServiceAccount": true,
					"optionalServiceAccountAnnotationKeys": []string{"a"}}}), Deps{Tokens: a, ServiceAccounts: a}, log)
			s.providers[0].program.grace = 100 * time.Millisecond
			if c.mode == "hang" {
				s.providers[0].program.timeout = 100 * time.Millisecond
			}
			got, err := s.For(t.Context(), aPod("sa"), nil, "eu.example.com/a")
			ok(t, err)
			if len(got) != 0 {
				t.Errorf("got %v", got)
			}
			noCanary(t, name, text())
		})
	}
	// A program that cannot be started.
	log, text := logged()
	cfg := configure(t, plugin{name: "p", mode: "reply", env: map[string]string{"SECRET": canary + "\x00"}})
	got, err := newStore(t, cfg, Deps{}, log).For(t.Context(), aPod(""), nil, "eu.example.com/a")
	ok(t, err)
	if len(got) != 0 {
		t.Errorf("got %v", got)
	}
	noCanary(t, "start", text())
}
