package file

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"
	corev1 "k8s.io/api/core/v1"
)

func newSource(t *testing.T, path string) *Source {
	t.Helper()
	s, err := New(Config{Path: path, NodeName: "Node-1", CheckFrequency: time.Minute}, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestParseMakesAPodOfThisNode(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "apiserver.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := newSource(t, "/m").parse(data, "/etc/kubernetes/manifests/apiserver.yaml", time.Unix(0, 0).UTC())
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "kube-apiserver-node-1" || p.Namespace != "kube-system" || p.Spec.NodeName != "Node-1" {
		t.Errorf("identity: %s/%s on %s", p.Namespace, p.Name, p.Spec.NodeName)
	}
	for key, want := range map[string]string{
		annotationHash: "adb28657c16bc5022603f632bafa4f99", annotationSource: "file", annotationSeen: "1970-01-01T00:00:00Z",
	} {
		if got := p.Annotations[key]; got != want {
			t.Errorf("annotation %s is %q, want %q", key, got, want)
		}
	}
	want := corev1.Toleration{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}
	if len(p.Spec.Tolerations) != 1 || p.Spec.Tolerations[0] != want {
		t.Errorf("tolerations: %v", p.Spec.Tolerations)
	}
	if p.Status.Phase != corev1.PodPending {
		t.Errorf("phase %q", p.Status.Phase)
	}
	c := p.Spec.Containers[0]
	if c.Ports[0].HostPort != 6443 || c.LivenessProbe.SuccessThreshold != 1 || c.TerminationMessagePath == "" {
		t.Errorf("defaults are missing: %+v", c)
	}
	if p.Spec.EnableServiceLinks == nil || *p.Spec.TerminationGracePeriodSeconds != 30 {
		t.Error("defaults of the pod are missing")
	}
}

func TestPullPolicy(t *testing.T) {
	for image, want := range map[string]corev1.PullPolicy{
		"nginx": corev1.PullAlways, "nginx:latest": corev1.PullAlways, "nginx:1.2": corev1.PullIfNotPresent,
		"localhost:5000/a": corev1.PullAlways, "localhost:5000/a:1": corev1.PullIfNotPresent, "NOT A NAME": corev1.PullIfNotPresent,
		"a@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855": corev1.PullIfNotPresent,
	} {
		if got := pullPolicy(image); got != want {
			t.Errorf("%s: got %s, want %s", image, got, want)
		}
	}
}

func TestBrokenManifests(t *testing.T) {
	head := "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n"
	ok := "containers: [{name: c, image: i}]"
	tests := map[string]struct{ manifest, want string }{
		"empty":              {"", "the file is empty"},
		"not YAML":           {"a: [", "line 1"},
		"no kind":            {"a: b", "Kind"},
		"another kind":       {"apiVersion: v1\nkind: Service\nmetadata: {name: x}", "it holds a Service"},
		"unknown kind":       {"apiVersion: v1\nkind: Podd", "Podd"},
		"wrong type":         {head + "spec: {hostNetwork: 7, " + ok + "}", "hostNetwork"},
		"no name":            {"apiVersion: v1\nkind: Pod\nspec: {" + ok + "}", "metadata.name: Required"},
		"bad name":           {"apiVersion: v1\nkind: Pod\nmetadata: {name: A_b}\nspec: {" + ok + "}", "metadata.name: Invalid"},
		"no containers":      {head + "spec: {}", "spec.containers: Required"},
		"no image":           {head + "spec: {containers: [{name: c}]}", "spec.containers[0].image: Required"},
		"container twice":    {head + "spec: {initContainers: [{name: c, image: i}], " + ok + "}", "spec.containers[0].name: Duplicate"},
		"volume twice":       {head + "spec: {volumes: [{name: v}, {name: v}], " + ok + "}", "spec.volumes[1].name: Duplicate"},
		"unknown volume":     {head + "spec: {containers: [{name: c, image: i, volumeMounts: [{name: v, mountPath: /x}]}]}", "volumeMounts[0].name: Not found"},
		"bad port":           {head + "spec: {containers: [{name: c, image: i, ports: [{containerPort: 70000}]}]}", "containerPort: Invalid"},
		"bad restart policy": {head + "spec: {restartPolicy: Maybe, " + ok + "}", "spec.restartPolicy: Unsupported"},
		"request over limit": {head + "spec: {containers: [{name: c, image: i, resources: {limits: {cpu: 1}, requests: {cpu: 2}}}]}", "at most the limit"},
		"secret volume":      {head + "spec: {volumes: [{name: v, secret: {secretName: s}}], " + ok + "}", "static pods may not reference secrets (via secret volumes)"},
		"configmap volume":   {head + "spec: {volumes: [{name: v, configMap: {name: s}}], " + ok + "}", "static pods may not reference configmaps (via configmap volumes)"},
		"claim":              {head + "spec: {volumes: [{name: v, persistentVolumeClaim: {claimName: s}}], " + ok + "}", "static pods may not reference persistentvolumeclaims"},
		"token":              {head + "spec: {volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: t}}]}}], " + ok + "}", "serviceaccounts (via projected volumes)"},
		"service account":    {head + "spec: {serviceAccountName: s, " + ok + "}", "static pods may not reference serviceaccounts"},
		"old account field":  {head + "spec: {serviceAccount: s, " + ok + "}", "static pods may not reference serviceaccounts"},
		"pull secret":        {head + "spec: {imagePullSecrets: [{name: s}], " + ok + "}", "static pods may not reference secrets"},
		"env of a secret":    {head + "spec: {containers: [{name: c, image: i, env: [{name: E, valueFrom: {secretKeyRef: {name: a, key: b}}}]}]}", "reference secrets"},
		"env of a configmap": {head + "spec: {containers: [{name: c, image: i, envFrom: [{configMapRef: {name: a}}]}]}", "reference configmaps"},
	}
	s := newSource(t, "/m")
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, _, err := s.parse([]byte(tt.manifest), "/m/x", time.Time{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want something with %q", err, tt.want)
			}
		})
	}
}

// The kubelet reads manifests leniently, so such a pod has to run here too; what
// had no effect is said.
func TestOddFieldsAreWarnings(t *testing.T) {
	head := "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n"
	tests := map[string]struct {
		manifest string
		want     []string
	}{
		"unknown field":             {head + "spec: {hostNetwrk: true, containers: [{name: c, image: i}]}", []string{`unknown field "spec.hostNetwrk"`}},
		"unknown field in a list":   {head + "spec: {containers: [{name: c, image: i, comand: [x]}]}", []string{`unknown field "spec.containers[0].comand"`}},
		"wrong case":                {head + "spec: {hostnetwork: true, containers: [{name: c, image: i}]}", []string{`unknown field "spec.hostnetwork"`}},
		"repeated field":            {head + "spec: {hostPID: false, hostPID: true, containers: [{name: c, image: i}]}", []string{`line 4`, `"hostPID"`}},
		"repeated field in JSON":    {`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web"},"spec":{"hostPID":false,"hostPID":true,"containers":[{"name":"c","image":"i"}]}}`, []string{`duplicate field "spec.hostPID"`}},
		"several":                   {head + "spec: {a: 1, b: 2, containers: [{name: c, image: i}]}", []string{`unknown field "spec.a"`, `unknown field "spec.b"`}},
		"nothing odd":               {head + "spec: {containers: [{name: c, image: i}]}", nil},
		"status of an exported pod": {head + "spec: {containers: [{name: c, image: i}]}\nstatus: {phase: Running}", nil},
	}
	s := newSource(t, "/m")
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, warning, err := s.parse([]byte(tt.manifest), "/m/x", time.Time{})
			if err != nil {
				t.Fatal(err)
			}
			if (warning != "") != (tt.want != nil) || strings.Contains(warning, "\n") {
				t.Errorf("warning %q", warning)
			}
			for _, want := range tt.want {
				if !strings.Contains(warning, want) {
					t.Errorf("warning %q lacks %s", warning, want)
				}
			}
			if strings.HasPrefix(name, "repeated") && !p.Spec.HostPID {
				t.Error("of a repeated field the last one does not count")
			}
			if p.Spec.HostNetwork || len(p.Spec.Containers) != 1 || p.Name != "web-node-1" {
				t.Errorf("pod: %+v", p)
			}
		})
	}
}

// An unknown field is no part of the pod, so that its removal does not restart
// anything.
func TestOddFieldsDoNotChangeTheUID(t *testing.T) {
	s := newSource(t, "/m")
	parse := func(spec string) *corev1.Pod {
		p, _, err := s.parse([]byte("apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {"+spec+"}"), "/m/x", time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if a, b := parse("containers: [{name: c, image: i}]"), parse("containers: [{name: c, image: i}], odd: true"); a.UID != b.UID {
		t.Errorf("UIDs %s and %s differ", a.UID, b.UID)
	}
}
