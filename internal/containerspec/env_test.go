package containerspec

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

const hidden = "s3cr3t" // what no error text may say

func inConfigMap(name, key string, optional *bool) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key, Optional: optional,
	}}
}

func inSecret(name, key string, optional *bool) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key, Optional: optional,
	}}
}

func inFile(volume, path, key string, optional *bool) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{FileKeyRef: &corev1.FileKeySelector{VolumeName: volume, Path: path, Key: key, Optional: optional}}
}

func fromConfigMap(prefix, name string, optional *bool) corev1.EnvFromSource {
	return corev1.EnvFromSource{Prefix: prefix, ConfigMapRef: &corev1.ConfigMapEnvSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: name}, Optional: optional,
	}}
}

func fromSecret(prefix, name string, optional *bool) corev1.EnvFromSource {
	return corev1.EnvFromSource{Prefix: prefix, SecretRef: &corev1.SecretEnvSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: name}, Optional: optional,
	}}
}

// envRequest is a request of a pod in namespace shop that has a ConfigMap, a
// Secret, a file and a service to take variables from.
func envRequest(links bool, from []corev1.EnvFromSource, env []corev1.EnvVar) *pod.ContainerRequest {
	p := testPod()
	p.Spec.EnableServiceLinks = &links
	p.Spec.Containers[0].EnvFrom, p.Spec.Containers[0].Env = from, env
	req := request(p)
	req.Volumes = pod.Volumes{"v": {HostPath: "/pods/0b1c/v"}}
	req.Environment = pod.Environment{
		ConfigMaps: map[string]*corev1.ConfigMap{"cm": {Data: map[string]string{"b": "2", "a": "1", "not a.name": "3", "ref": "$(a)"}}},
		Secrets:    map[string]*corev1.Secret{"s": {Data: map[string][]byte{"a": []byte(hidden), "empty": nil}}},
		Services:   []*corev1.Service{service("default", "kubernetes", "10.96.0.1", corev1.ServicePort{Name: "https", Port: 443})},
		Files: func(volume, path string) ([]byte, error) {
			switch path {
			case "env":
				return []byte("KEY='from file'\nEMPTY=''\n"), nil
			case "bad":
				return []byte("KEY=" + hidden), nil
			}
			return nil, errors.New("no such file")
		},
	}
	return &req
}

func pairsOf(t *testing.T, req *pod.ContainerRequest) []string {
	t.Helper()
	pairs, vars, err := environment(req, &Node{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, kv := range pairs {
		if string(kv.Value) != vars[kv.Key] {
			t.Errorf("%s is %q to the container and %q to its command", kv.Key, kv.Value, vars[kv.Key])
		}
		if !strings.HasPrefix(kv.Key, "KUBERNETES_") {
			got = append(got, kv.Key+"="+string(kv.Value))
		}
	}
	return got
}

func TestEnvironment(t *testing.T) {
	optional := new(true)
	for _, c := range []struct {
		name string
		from []corev1.EnvFromSource
		env  []corev1.EnvVar
		want []string
	}{
		{name: "nothing"},
		{
			name: "any name, and no expansion of what an object says",
			from: []corev1.EnvFromSource{fromConfigMap("", "cm", nil)},
			want: []string{"a=1", "b=2", "not a.name=3", "ref=$(a)"},
		},
		{
			name: "prefix, and the later source wins",
			from: []corev1.EnvFromSource{fromConfigMap("", "cm", nil), fromSecret("", "s", nil), fromSecret("P_", "s", nil)},
			want: []string{"a=" + hidden, "b=2", "not a.name=3", "ref=$(a)", "empty=", "P_a=" + hidden, "P_empty="},
		},
		{
			name: "env wins over envFrom and may use it",
			from: []corev1.EnvFromSource{fromSecret("", "s", nil)},
			env:  []corev1.EnvVar{{Name: "c", Value: "$(a)"}, {Name: "a", Value: "<$(a)>"}, {Name: "d", Value: "$(a) $$(a) $(no)"}},
			want: []string{"a=<" + hidden + ">", "empty=", "c=" + hidden, "d=<" + hidden + "> $(a) $(no)"},
		},
		{
			name: "optional and absent objects",
			from: []corev1.EnvFromSource{fromConfigMap("", "none", optional), fromSecret("", "none", optional), {}},
			env: []corev1.EnvVar{
				{Name: "a", Value: "before"},
				{Name: "a", ValueFrom: inConfigMap("none", "k", optional)}, {Name: "b", ValueFrom: inConfigMap("cm", "none", optional)},
				{Name: "c", ValueFrom: inSecret("none", "k", optional)}, {Name: "d", ValueFrom: inSecret("s", "none", optional)},
				{Name: "e", ValueFrom: inFile("v", "env", "NONE", optional)}, {Name: "f", ValueFrom: inFile("v", "env", "EMPTY", optional)},
			},
			want: []string{"a=before"},
		},
		{
			name: "sources of single variables",
			env: []corev1.EnvVar{
				{Name: "a", ValueFrom: inConfigMap("cm", "ref", nil)}, {Name: "b", ValueFrom: inSecret("s", "a", nil)},
				{Name: "c", ValueFrom: inSecret("s", "empty", nil)}, {Name: "d", ValueFrom: inFile("v", "env", "KEY", nil)},
				{Name: "e", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.name"}}},
				{Name: "f", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.cpu"}}},
				{Name: "g", ValueFrom: &corev1.EnvVarSource{}},
				{Name: "h", Value: "value wins", ValueFrom: inConfigMap("none", "none", nil)},
			},
			want: []string{"a=$(a)", "b=" + hidden, "c=", "d=from file", "e=web", "f=1", "g=", "h=value wins"},
		},
	} {
		if d := cmp.Diff(c.want, pairsOf(t, envRequest(false, c.from, c.env))); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

func TestServiceVariablesInEnvironment(t *testing.T) {
	env := []corev1.EnvVar{
		{Name: "URL", Value: "https://$(KUBERNETES_SERVICE_HOST):$(KUBERNETES_SERVICE_PORT)"},
		{Name: "KUBERNETES_SERVICE_HOST", Value: "mine, not $(KUBERNETES_SERVICE_HOST)"},
		{Name: "AGAIN", Value: "$(KUBERNETES_SERVICE_HOST)"},
	}
	req := envRequest(false, nil, env)
	req.Container.Args = []string{"$(KUBERNETES_PORT)", "$(KUBERNETES_SERVICE_HOST)"}
	got, err := Container(*req, node())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"tcp://10.96.0.1:443", "mine, not 10.96.0.1"}, got.Args); d != "" {
		t.Error(d)
	}
	var names []string
	for _, kv := range got.Envs {
		names = append(names, kv.Key)
	}
	want := []string{
		"URL", "KUBERNETES_SERVICE_HOST", "AGAIN", "KUBERNETES_SERVICE_PORT", "KUBERNETES_SERVICE_PORT_HTTPS", "KUBERNETES_PORT",
		"KUBERNETES_PORT_443_TCP", "KUBERNETES_PORT_443_TCP_PROTO", "KUBERNETES_PORT_443_TCP_PORT", "KUBERNETES_PORT_443_TCP_ADDR",
	}
	if d := cmp.Diff(want, names); d != "" {
		t.Error(d)
	}
	if got := string(got.Envs[0].Value); got != "https://10.96.0.1:443" {
		t.Error(got)
	}
	if got := string(got.Envs[2].Value); got != "mine, not 10.96.0.1" {
		t.Error(got)
	}
}

func TestEnvironmentFailures(t *testing.T) {
	optional := new(true)
	for _, c := range []struct {
		from corev1.EnvFromSource
		env  *corev1.EnvVarSource
		want string
	}{
		{from: fromConfigMap("", "none", nil), want: `configmap "none" not found`},
		{from: fromSecret("", "none", new(false)), want: `secret "none" not found`},
		{env: inConfigMap("none", "k", nil), want: `configmap "none" not found`},
		{env: inConfigMap("cm", "k", nil), want: `couldn't find key k in ConfigMap shop/cm`},
		{env: inSecret("none", "k", nil), want: `secret "none" not found`},
		{env: inSecret("s", "k", nil), want: `couldn't find key k in Secret shop/s`},
		{env: inFile("none", "env", "KEY", optional), want: `cannot find the volume "none" referenced by FileKeyRef`},
		{env: inFile("v", "none", "KEY", optional), want: `couldn't parse env file`},
		{env: inFile("v", "bad", "KEY", nil), want: `couldn't parse env file`},
		{env: inFile("v", "env", "EMPTY", nil), want: `environment variable key "EMPTY" not found in file "/pods/0b1c/v/env"`},
		{
			env:  &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "spec.tolerations"}},
			want: "field label not supported: spec.tolerations",
		},
		{
			env:  &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.gpu"}},
			want: "unsupported container resource : limits.gpu",
		},
	} {
		req := envRequest(true, []corev1.EnvFromSource{fromSecret("X_", "s", nil), c.from}, []corev1.EnvVar{{Name: "E", ValueFrom: c.env}})
		_, err := Container(*req, node())
		if reason, message := pod.ReasonOf(err, ""); reason != "CreateContainerConfigError" || message != c.want {
			t.Errorf("%s: %q, want %q", reason, message, c.want)
		}
		for cause := err; cause != nil; cause = errors.Unwrap(cause) {
			if strings.Contains(cause.Error(), hidden) {
				t.Errorf("%q gives a value away", cause)
			}
		}
	}
	req := envRequest(true, nil, []corev1.EnvVar{{Name: "E", ValueFrom: inFile("v", "env", "KEY", nil)}})
	req.Environment.Files = nil
	_, err := Container(*req, node())
	wantFailure(t, "files", err, "CreateContainerConfigError", `cannot find the volume "v" referenced by FileKeyRef`)
	req = envRequest(true, nil, nil)
	req.Sandbox.Pod.Spec.EnableServiceLinks = nil
	_, err = Container(*req, node())
	wantFailure(t, "links", err, "CreateContainerConfigError", "nil pod.spec.enableServiceLinks encountered, cannot construct envvars")
}

func TestReferences(t *testing.T) {
	p := &corev1.Pod{Spec: corev1.PodSpec{
		InitContainers: []corev1.Container{{EnvFrom: []corev1.EnvFromSource{fromSecret("", "i", nil)}}},
		Containers: []corev1.Container{
			{
				EnvFrom: []corev1.EnvFromSource{fromConfigMap("", "z", nil), fromSecret("", "s", new(true)), fromConfigMap("", "", nil), {}},
				Env: []corev1.EnvVar{
					{ValueFrom: inConfigMap("a", "k", nil)}, {ValueFrom: inConfigMap("z", "k", nil)}, {ValueFrom: inSecret("r", "k", nil)},
					{Value: "v"}, {Value: "v", ValueFrom: inSecret("unused", "k", nil)}, {ValueFrom: inFile("v", "p", "k", nil)},
				},
			},
			{Env: []corev1.EnvVar{{ValueFrom: inSecret("other", "k", nil)}}},
		},
		EphemeralContainers: []corev1.EphemeralContainer{{
			EphemeralContainerCommon: corev1.EphemeralContainerCommon{EnvFrom: []corev1.EnvFromSource{fromConfigMap("", "e", nil)}},
		}},
	}}
	maps, secrets := References(p, &p.Spec.Containers[0])
	if !slices.Equal(maps, []string{"a", "z"}) || !slices.Equal(secrets, []string{"r", "s"}) {
		t.Error(maps, secrets)
	}
	maps, secrets = ReferencesOf(p)
	if !slices.Equal(maps, []string{"a", "e", "z"}) || !slices.Equal(secrets, []string{"i", "other", "r", "s"}) {
		t.Error(maps, secrets)
	}
	maps, secrets = ReferencesOf(testPod())
	if d := cmp.Diff([][]string{nil, nil}, [][]string{maps, secrets}, cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
}
