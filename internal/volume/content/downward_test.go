package content

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func amounts(cpu, memory, disk, huge string) corev1.ResourceList {
	list := corev1.ResourceList{}
	for name, amount := range map[corev1.ResourceName]string{"cpu": cpu, "memory": memory, "ephemeral-storage": disk, "hugepages-2Mi": huge} {
		if amount != "" {
			list[name] = resource.MustParse(amount)
		}
	}
	return list
}

func downwardPod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "p", Namespace: "ns", UID: "uid-1",
			Labels:      map[string]string{"b": "2", "a": "1\n\"quoted\"", "example.com/c": ""},
			Annotations: map[string]string{"Some.Org/Key": "value", "long": "tab\tü"},
		},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{Name: "init", Resources: corev1.ResourceRequirements{Requests: amounts("10m", "", "", "")}}},
			Containers: []corev1.Container{
				{Name: "bare"},
				{Name: "full", Resources: corev1.ResourceRequirements{
					Limits: amounts("1500m", "100Mi", "1Gi", "4Mi"), Requests: amounts("250m", "64Mi", "1M", "2Mi"),
				}},
			},
		},
	}
}

func TestFields(t *testing.T) {
	for path, want := range map[string]string{
		"metadata.name": "p", "metadata.namespace": "ns", "metadata.uid": "uid-1",
		"metadata.labels":                      "a=\"1\\n\\\"quoted\\\"\"\nb=\"2\"\nexample.com/c=\"\"",
		"metadata.annotations":                 "Some.Org/Key=\"value\"\nlong=\"tab\\tü\"",
		"metadata.labels['b']":                 "2",
		"metadata.labels['none']":              "",
		"metadata.labels['example.com/c']":     "",
		"metadata.annotations['Some.Org/Key']": "value",
		"metadata.annotations['some.org/key']": "",
		"metadata.labels['']":                  "! invalid key subscript in metadata.labels['']: name part must be non-empty;name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
		"metadata.name['b']":                   `! fieldPath "metadata.name['b']" does not support subscript`,
		"['b']":                                "! unsupported fieldPath: ['b']",
		"metadata.labels['b'":                  "! unsupported fieldPath: metadata.labels['b'",
		"spec.nodeName":                        "! unsupported fieldPath: spec.nodeName",
		"status.podIP":                         "! unsupported fieldPath: status.podIP",
		"":                                     "! unsupported fieldPath: ",
	} {
		items := []corev1.DownwardAPIVolumeFile{{Path: "./f", FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}}
		files, err := FromDownward(downwardPod(), items, 0o644, nil)
		got := string(files["f"].Data)
		if err != nil {
			got = "! " + err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestResourceFields(t *testing.T) {
	allocatable := amounts("3900m", "7Gi", "50Gi", "1Gi")
	for _, c := range []struct{ container, resource, divisor, want string }{
		{"full", "limits.cpu", "", "2"},
		{"full", "limits.cpu", "1m", "1500"},
		{"full", "requests.cpu", "", "1"},
		{"full", "requests.cpu", "1m", "250"},
		{"full", "limits.memory", "", "104857600"},
		{"full", "limits.memory", "1Mi", "100"},
		{"full", "limits.memory", "1Gi", "1"},
		{"full", "requests.memory", "1M", "68"},
		{"full", "limits.ephemeral-storage", "1Mi", "1024"},
		{"full", "requests.ephemeral-storage", "1k", "1000"},
		{"full", "limits.hugepages-2Mi", "1Mi", "4"},
		{"full", "requests.hugepages-2Mi", "", "2097152"},
		{"full", "limits.hugepages-1Gi", "", "0"},
		{"bare", "limits.cpu", "1m", "3900"},
		{"bare", "limits.memory", "1Mi", "7168"},
		{"bare", "limits.ephemeral-storage", "1Gi", "50"},
		{"bare", "limits.hugepages-2Mi", "", "0"},
		{"bare", "requests.cpu", "1m", "0"},
		{"bare", "requests.memory", "", "0"},
		{"init", "requests.cpu", "1m", "10"},
		{"init", "limits.cpu", "1m", "3900"},
		{"none", "limits.cpu", "", "! container none not found"},
		{"", "limits.cpu", "", "! container  not found"},
		{"full", "limits.pods", "", "! unsupported container resource : limits.pods"},
		{"full", "other.cpu", "", "! unsupported container resource : other.cpu"},
		{"full", "limits", "", "! unsupported container resource : limits"},
		{"full", "", "", "! unsupported container resource : "},
	} {
		ref := &corev1.ResourceFieldSelector{ContainerName: c.container, Resource: c.resource}
		if c.divisor != "" {
			ref.Divisor = resource.MustParse(c.divisor)
		}
		files, err := FromDownward(downwardPod(), []corev1.DownwardAPIVolumeFile{{Path: "f", ResourceFieldRef: ref}}, 0o644, allocatable)
		got := string(files["f"].Data)
		if err != nil {
			got = "! " + err.Error()
		}
		if got != c.want {
			t.Errorf("%s of %s by %s: %q, want %q", c.resource, c.container, c.divisor, got, c.want)
		}
	}
	ref := &corev1.ResourceFieldSelector{ContainerName: "bare", Resource: "limits.memory"}
	files, err := FromDownward(downwardPod(), []corev1.DownwardAPIVolumeFile{{Path: "f", ResourceFieldRef: ref}}, 0o644, nil)
	if got := string(files["f"].Data); got != "0" || err != nil {
		t.Errorf("nothing known of the node: %q, %v", got, err)
	}
}

func TestFromDownwardSaysAllThatFails(t *testing.T) {
	items := []corev1.DownwardAPIVolumeFile{
		{Path: "a", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "x"}},
		{Path: "b", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}},
		{Path: "c", ResourceFieldRef: &corev1.ResourceFieldSelector{ContainerName: "y"}},
	}
	_, err := FromDownward(downwardPod(), items, 0o644, nil)
	if err == nil || err.Error() != "[unsupported fieldPath: x, container y not found]" {
		t.Errorf("%v", err)
	}
}

func TestFromDownwardPathsAndModes(t *testing.T) {
	name := &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}
	items := []corev1.DownwardAPIVolumeFile{
		{Path: "a//b/", FieldRef: name}, {Path: "c", FieldRef: name, Mode: new(int32(0o400))}, {Path: "neither"},
	}
	files, err := FromDownward(downwardPod(), items, 0o640, nil)
	if got := show(files); err != nil || got != "a/b=p 640; c=p 400; neither= 640" {
		t.Errorf("%q, %v", got, err)
	}
	files, err = FromDownward(downwardPod(), []corev1.DownwardAPIVolumeFile{{FieldRef: name}}, 0o640, nil)
	if err != nil || files.Check() == nil {
		t.Errorf("no path: %v, %v", err, files.Check())
	}
}
