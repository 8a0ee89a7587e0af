package containerspec

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

func fieldPod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "web", Namespace: "shop", UID: "0b1c",
			Labels:      map[string]string{"b": "2", "a.b/c": "quote \" and\nline"},
			Annotations: map[string]string{"Upper.example/K": "v", "k": "w"},
		},
		Spec: corev1.PodSpec{NodeName: "n1", ServiceAccountName: "sa", RestartPolicy: corev1.RestartPolicyAlways},
	}
}

func TestFieldValue(t *testing.T) {
	env := &pod.Environment{PodIPs: []string{"10.0.0.5", "fd00::5"}, HostIPs: []string{"192.0.2.1", "fd00::1"}}
	for _, c := range []struct{ path, want, failure string }{
		{path: "metadata.name", want: "web"},
		{path: "metadata.namespace", want: "shop"},
		{path: "metadata.uid", want: "0b1c"},
		{path: "metadata.labels", want: "a.b/c=\"quote \\\" and\\nline\"\nb=\"2\""},
		{path: "metadata.annotations", want: "Upper.example/K=\"v\"\nk=\"w\""},
		{path: "metadata.labels['b']", want: "2"},
		{path: "metadata.labels['a.b/c']", want: "quote \" and\nline"},
		{path: "metadata.labels['none']", want: ""},
		{path: "metadata.annotations['Upper.example/K']", want: "v"},
		{path: "metadata.annotations['upper.example/K']", want: ""},
		{path: "spec.nodeName", want: "n1"},
		{path: "spec.host", want: "n1"},
		{path: "spec.serviceAccountName", want: "sa"},
		{path: "status.hostIP", want: "192.0.2.1"},
		{path: "status.hostIPs", want: "192.0.2.1,fd00::1"},
		{path: "status.podIP", want: "10.0.0.5"},
		{path: "status.podIPs", want: "10.0.0.5,fd00::5"},
		{path: "spec.restartPolicy", failure: "unsupported fieldPath: spec.restartPolicy"},
		{path: "status.phase", failure: "unsupported fieldPath: status.phase"},
		{path: "", failure: "field label not supported: "},
		{path: "['b']", failure: "field label not supported: ['b']"},
		{path: "metadata.labels['b'", failure: "field label not supported: metadata.labels['b'"},
		{path: "metadata.name['b']", failure: "field label does not support subscript: metadata.name['b']"},
		{
			path: "metadata.labels['']",
			failure: "invalid key subscript in metadata.labels['']: name part must be non-empty;name part must consist of alphanumeric characters, " +
				"'-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', " +
				"regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
		},
	} {
		got, err := fieldValue(fieldPod(), &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: c.path}, env)
		if failure := message(err); got != c.want || failure != c.failure {
			t.Errorf("%s: %q %q, want %q %q", c.path, got, failure, c.want, c.failure)
		}
	}
	_, err := fieldValue(fieldPod(), &corev1.ObjectFieldSelector{APIVersion: "v2", FieldPath: "metadata.name"}, env)
	wantFailure(t, "version", err, "CreateContainerConfigError", "unsupported pod version: v2")
}

func TestAddressesThatAreNotKnown(t *testing.T) {
	for _, path := range []string{"status.podIP", "status.podIPs"} {
		got, err := fieldValue(fieldPod(), &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}, &pod.Environment{})
		if got != "" || err != nil {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	for _, path := range []string{"status.hostIP", "status.hostIPs"} {
		_, err := fieldValue(fieldPod(), &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}, &pod.Environment{})
		wantFailure(t, path, err, "CreateContainerConfigError", "host IP unknown; known addresses: []")
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func FuzzFieldPath(f *testing.F) {
	for _, path := range []string{"metadata.name", "metadata.labels['b']", "metadata.annotations['a[b]c']", "x['']", "']", "['", "['']"} {
		f.Add(path)
	}
	p := fieldPod()
	f.Fuzz(func(t *testing.T, path string) {
		field, key, ok := subscript(path)
		if ok && field+"['"+key+"']" != path {
			t.Errorf("%q was taken apart to %q and %q", path, field, key)
		}
		got, err := fieldValue(p, &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}, &pod.Environment{HostIPs: []string{"192.0.2.1"}})
		if failure, is := errors.AsType[*pod.Failure](err); err != nil && (!is || failure.Message == "" || got != "") {
			t.Errorf("%q: %q with %v", path, got, err)
		}
		if ok && err == nil && got != p.Labels[key] && got != p.Annotations[key] {
			t.Errorf("%q is %q, which is no label or annotation of that key", path, got)
		}
	})
}
