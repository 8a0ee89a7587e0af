package projected_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/volume/projected"
	"nodeagent.dev/nodeagent/internal/volume/volumetest"
)

func TestConformance(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	volumetest.Run(t, newWorld().plugin(), map[string]corev1.VolumeSource{
		"service account": sources(token("token", ""), configMap("cm"), downward("namespace", "metadata.namespace")),
		"nothing":         sources(),
		"nested":          sources(secret("s", corev1.KeyToPath{Key: "key", Path: "deep/er/key"})),
	})
}

func TestAllSources(t *testing.T) {
	w := newWorld()
	m := prepare(t, w, sources(
		configMap("cm", corev1.KeyToPath{Key: "a", Path: "dir/a", Mode: new(int32)}), secret("s"), downward("labels", "metadata.labels"),
		token("token", ""), token("for-x", "x"), bundle("ctb", "", "named.pem"), optional(bundle("", "sig", "signed.pem")),
		certificate("bundle.pem", "key.pem", "chain.pem"),
		corev1.VolumeProjection{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
			{Path: "cpu", ResourceFieldRef: &corev1.ResourceFieldSelector{ContainerName: "main", Resource: "limits.cpu"}},
		}}},
	))
	m.expect(
		"bundle.pem 644 0:0 key\nchain\n", "chain.pem 644 0:0 chain\n", "cpu 644 0:0 3", "dir/a 0 0:0 of a", "for-x 644 0:0 token-1",
		"key 644 0:0 of key", "key.pem 644 0:0 key\n", `labels 644 0:0 l="1"`, "named.pem 644 0:0 anchors of ctb false",
		"signed.pem 644 0:0 anchors by sig a=b true", "token 644 0:0 token-1",
	)
	want := []string{"default/sa [] 3607 v1 Pod p uid", `default/sa ["x"] 3607 v1 Pod p uid`, "certificate of uid v 7"}
	if !slices.Equal(w.asked, want) {
		t.Errorf("asked for %q, want %q", w.asked, want)
	}
	if st := (syscall.Statfs_t{}); syscall.Statfs(m.req.Ref.Dir(), &st) != nil || st.Type != 0x01021994 {
		t.Errorf("it is on a file system of type %x, not in memory", st.Type)
	}
	marker := filepath.Join(m.req.Ref.Root, "pods/uid/plugins/kubernetes.io~empty-dir/wrapped_v/ready")
	if _, err := os.Stat(marker); err != nil {
		t.Error(err)
	}
}

func TestTheLaterSourceCounts(t *testing.T) {
	w := newWorld()
	at := corev1.KeyToPath{Key: "a", Path: "x"}
	prepare(t, w, sources(configMap("cm", at), token("x", ""))).expect("x 644 0:0 token-1")
	prepare(t, w, sources(token("x", ""), configMap("cm", at))).expect("x 644 0:0 of a")
	prepare(t, w, sources(certificate("x", "x", "x"))).expect("x 644 0:0 chain\n")
}

func TestModesAndOwners(t *testing.T) {
	id := func(n int64) *int64 { return &n }
	as := func(user *int64) corev1.Container {
		return corev1.Container{Name: "c", VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}, SecurityContext: &corev1.SecurityContext{RunAsUser: user}}
	}
	for name, c := range map[string]struct {
		pod        *corev1.PodSecurityContext
		containers []corev1.Container
		want       string // of the token
		other      string // of the ConfigMap's key
	}{
		"nobody in particular": {containers: []corev1.Container{as(nil)}, want: "644 0:0", other: "644 0:0"},
		"the pod's user":       {pod: &corev1.PodSecurityContext{RunAsUser: id(7)}, containers: []corev1.Container{as(nil), as(nil)}, want: "600 7:0", other: "644 0:0"},
		"the containers' user": {pod: &corev1.PodSecurityContext{RunAsUser: id(7)}, containers: []corev1.Container{as(id(8)), as(id(8))}, want: "600 8:0", other: "644 0:0"},
		"two users":            {containers: []corev1.Container{as(id(7)), as(id(8))}, want: "644 0:0", other: "644 0:0"},
		"one does not say":     {containers: []corev1.Container{as(id(7)), as(nil)}, want: "644 0:0", other: "644 0:0"},
		"a group":              {pod: &corev1.PodSecurityContext{FSGroup: id(9)}, containers: []corev1.Container{as(nil)}, want: "640 0:9", other: "644 0:9"},
		"user and group":       {pod: &corev1.PodSecurityContext{FSGroup: id(9), RunAsUser: id(7)}, containers: []corev1.Container{as(nil)}, want: "640 7:9", other: "644 0:9"},
	} {
		t.Run(name, func(t *testing.T) {
			m := prepare(t, newWorld(), sources(token("token", ""), bundle("b", "", "ctb"), certificate("pem", "", ""), configMap("cm", corev1.KeyToPath{Key: "a", Path: "a"})))
			m.req.Pod.Spec.SecurityContext, m.req.Pod.Spec.Containers = c.pod, c.containers
			m.expect("a "+c.other+" of a", "ctb "+c.want+" anchors of b false", "pem "+c.want+" key\nchain\n", "token "+c.want+" token-1")
			// An ephemeral container counts, too.
			if c.want == "600 7:0" {
				m.req.Pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon(as(id(1)))}}
				m.expect("a "+c.other+" of a", "ctb 644 0:0 anchors of b false", "pem 644 0:0 key\nchain\n", "token 644 0:0 token-1")
			}
		})
	}
}

func TestOptional(t *testing.T) {
	w := newWorld()
	none := corev1.KeyToPath{Key: "none", Path: "none"}
	m := prepare(t, w, sources(optional(configMap("late")), optional(secret("late")), optional(configMap("cm", none)), optional(secret("s", none)), configMap("cm", corev1.KeyToPath{Key: "a", Path: "a"})))
	m.expect("a 644 0:0 of a")
	w.configMaps["late"] = &corev1.ConfigMap{Data: map[string]string{"c": "1"}}
	w.secrets["late"] = &corev1.Secret{Data: map[string][]byte{"s": []byte("2")}}
	m.expect("a 644 0:0 of a", "c 644 0:0 1", "s 644 0:0 2")
	delete(w.configMaps, "late")
	m.expect("a 644 0:0 of a", "s 644 0:0 2")
}

func TestWhatFailsIsToldOfAllSources(t *testing.T) {
	w := newWorld()
	for want, s := range map[string]corev1.VolumeSource{
		`configmap "x" not found`:                                                    sources(configMap("x"), configMap("cm")),
		`[configmap "x" not found, secret "y" not found]`:                            sources(configMap("x"), configMap("cm"), secret("y"), secret("y")),
		"configmap references non-existent config key: none":                         sources(configMap("cm", corev1.KeyToPath{Key: "none", Path: "p"})),
		"references non-existent secret key: none":                                   sources(secret("s", corev1.KeyToPath{Key: "none", Path: "p"})),
		"ClusterTrustBundle projection requires either name or signerName to be set": sources(bundle("", "", "p")),
		"invalid path: must not contain '..': a/../b":                                sources(token("a/../b", "")),
	} {
		m := prepare(t, w, s)
		if _, err := m.update(); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	w.fail = errors.New("away")
	m := prepare(t, w, sources(token("t", ""), certificate("c", "", ""), bundle("b", "", "b"), bundle("", "s", "s"), configMap("x")))
	if _, err := m.update(); err == nil || err.Error() != `[away, configmap "x" not found]` {
		t.Errorf("got %v", err)
	}
}

func TestTheOldContentStaysUntilAllIsThere(t *testing.T) {
	w := newWorld()
	m := prepare(t, w, sources(token("token", ""), configMap("cm", corev1.KeyToPath{Key: "a", Path: "a"})))
	m.expect("a 644 0:0 of a", "token 644 0:0 token-1")
	w.token = "token-2"
	delete(w.configMaps, "cm")
	if _, err := m.update(); err == nil {
		t.Error("no error without the ConfigMap")
	}
	if got := m.files(); !slices.Contains(got, "token 644 0:0 token-1") || !slices.Contains(got, "a 644 0:0 of a") {
		t.Errorf("got %q", got)
	}
	w.configMaps["cm"] = &corev1.ConfigMap{Data: map[string]string{"a": "again"}}
	m.expect("a 644 0:0 again", "token 644 0:0 token-2")
}

func TestIsDueWithTheFirstToken(t *testing.T) {
	w := newWorld()
	w.due = time.Now().Add(time.Hour)
	m := prepare(t, w, sources(token("token", ""), configMap("cm")))
	if due, err := m.update(); err != nil || !due.Equal(w.due) {
		t.Errorf("due at %v, %v; want %v", due, err, w.due)
	}
	// What was replaced is removed before that.
	w.token = "token-2"
	if due, err := m.update(); err != nil || !due.Before(w.due) || due.IsZero() {
		t.Errorf("due at %v, %v; want it before %v", due, err, w.due)
	}
	if due, err := prepare(t, w, sources(configMap("cm"))).update(); err != nil || !due.IsZero() {
		t.Errorf("due at %v, %v, with nothing that ages", due, err)
	}
}

// The manager comes back when a token is due, although nothing else has changed.
func TestIsUpdatedWhenDue(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	w := newWorld()
	w.due, w.called = time.Now().Add(10*time.Millisecond), make(chan string, 2)
	m := volumetest.Manager(t, t.TempDir(), w.plugin())
	p := volumetest.Pod("uid", corev1.Volume{Name: "v", VolumeSource: sources(token("token", ""))})
	if _, err := m.Mount(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	if first, second := <-w.called, <-w.called; first != "token-1" || second != "token-10" {
		t.Errorf("asked for %s and %s", first, second)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := m.Unmount(t.Context(), pod.RefOf(p)); err != nil {
		t.Error(err)
	}
}

func TestUnmountForgetsThePod(t *testing.T) {
	w := newWorld()
	m := prepare(t, w, sources(token("token", "")))
	if _, err := m.update(); err != nil {
		t.Fatal(err)
	}
	if err := w.plugin().Unmount(t.Context(), m.req.Ref); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(w.dropped, []types.UID{"uid", "uid"}) {
		t.Errorf("dropped %v", w.dropped)
	}
	if left := volumetest.Mounts(t, m.req.Ref.Root); len(left) > 0 {
		t.Errorf("still mounted: %v", left)
	}
}

func TestWithoutAServer(t *testing.T) {
	m := prepare(t, newWorld(), sources(downward("labels", "metadata.labels")))
	m.plugin = projected.New(projected.Config{})
	if _, err := m.update(); err == nil || err.Error() != "cannot setup projected volume v because kube client is not configured" {
		t.Errorf("got %v", err)
	}
}
