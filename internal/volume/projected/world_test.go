package projected_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/volume"
	"nodeagent.dev/nodeagent/internal/volume/projected"
	"nodeagent.dev/nodeagent/internal/volume/volumetest"
)

// world is all that the plugin asks.
type world struct {
	configMaps map[string]*corev1.ConfigMap
	secrets    map[string]*corev1.Secret
	token      string
	due        time.Time
	fail       error // of tokens and certificates
	asked      []string
	dropped    []types.UID
	called     chan string // each token that was handed out; nil: nobody listens
}

func newWorld() *world {
	return &world{
		configMaps: map[string]*corev1.ConfigMap{"cm": {Data: map[string]string{"a": "of a", "b": "of b"}}},
		secrets:    map[string]*corev1.Secret{"s": {Data: map[string][]byte{"key": []byte("of key")}}},
		token:      "token-1",
	}
}

func (w *world) plugin() volume.Live {
	return projected.New(projected.Config{
		Objects: w, Tokens: w, Certificates: w,
		Allocatable: func() corev1.ResourceList {
			return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("3")}
		},
	})
}

func (w *world) ConfigMap(_ context.Context, ns, name string) (*corev1.ConfigMap, error) {
	if cm := w.configMaps[name]; cm != nil {
		return cm, nil
	}
	return nil, apierrors.NewNotFound(corev1.Resource("configmap"), name)
}

func (w *world) Secret(_ context.Context, ns, name string) (*corev1.Secret, error) {
	if s := w.secrets[name]; s != nil {
		return s, nil
	}
	return nil, apierrors.NewNotFound(corev1.Resource("secret"), name)
}

func (w *world) TrustAnchorsByName(_ context.Context, name string, optional bool) ([]byte, error) {
	return []byte(fmt.Sprintf("anchors of %s %v", name, optional)), w.fail
}

func (w *world) TrustAnchorsBySigner(_ context.Context, signer string, selector *metav1.LabelSelector, optional bool) ([]byte, error) {
	return []byte(fmt.Sprintf("anchors by %s %s %v", signer, metav1.FormatLabelSelector(selector), optional)), w.fail
}

func (w *world) TokenDue(_ context.Context, ns, account string, req *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, time.Time, error) {
	b := req.Spec.BoundObjectRef
	w.asked = append(w.asked, fmt.Sprintf("%s/%s %q %d %s %s %s %s", ns, account, req.Spec.Audiences, *req.Spec.ExpirationSeconds, b.APIVersion, b.Kind, b.Name, b.UID))
	if w.fail != nil {
		return nil, time.Time{}, w.fail
	}
	got := req.DeepCopy()
	got.Status.Token = w.token
	if w.called != nil {
		w.called <- w.token
		due := w.due
		w.token, w.due = w.token+"0", time.Time{}
		return got, due, nil
	}
	return got, w.due, nil
}

func (w *world) Certificate(_ context.Context, p *corev1.Pod, volume string, source int) (key, chain []byte, err error) {
	w.asked = append(w.asked, fmt.Sprintf("certificate of %s %s %d", p.UID, volume, source))
	return []byte("key\n"), []byte("chain\n"), w.fail
}

func (w *world) Drop(uid types.UID) { w.dropped = append(w.dropped, uid) }

func sources(all ...corev1.VolumeProjection) corev1.VolumeSource {
	mode := int32(0o644)
	return corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{DefaultMode: &mode, Sources: all}}
}

func configMap(name string, items ...corev1.KeyToPath) corev1.VolumeProjection {
	return corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Items: items}}
}

func secret(name string, items ...corev1.KeyToPath) corev1.VolumeProjection {
	return corev1.VolumeProjection{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Items: items}}
}

func token(path, audience string) corev1.VolumeProjection {
	seconds := int64(3607)
	return corev1.VolumeProjection{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: path, Audience: audience, ExpirationSeconds: &seconds}}
}

func downward(path, field string) corev1.VolumeProjection {
	return corev1.VolumeProjection{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
		{Path: path, FieldRef: &corev1.ObjectFieldSelector{FieldPath: field}},
	}}}
}

func optional(s corev1.VolumeProjection) corev1.VolumeProjection {
	yes := true
	switch {
	case s.ConfigMap != nil:
		s.ConfigMap.Optional = &yes
	case s.Secret != nil:
		s.Secret.Optional = &yes
	case s.ClusterTrustBundle != nil:
		s.ClusterTrustBundle.Optional = &yes
	}
	return s
}

func bundle(name, signer, path string) corev1.VolumeProjection {
	b := &corev1.ClusterTrustBundleProjection{Path: path}
	if name != "" {
		b.Name = &name
	}
	if signer != "" {
		b.SignerName, b.LabelSelector = &signer, &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
	}
	return corev1.VolumeProjection{ClusterTrustBundle: b}
}

func certificate(bundle, key, chain string) corev1.VolumeProjection {
	return corev1.VolumeProjection{PodCertificate: &corev1.PodCertificateProjection{CredentialBundlePath: bundle, KeyPath: key, CertificateChainPath: chain}}
}

// mounted is a volume of a pod that has been mounted once.
type mounted struct {
	t      *testing.T
	plugin volume.Live
	req    volume.Request
}

func prepare(t *testing.T, w *world, source corev1.VolumeSource) mounted {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	v := corev1.Volume{Name: "v", VolumeSource: source}
	p := volumetest.Pod("uid", v)
	p.Labels = map[string]string{"l": "1"}
	p.Spec.ServiceAccountName = "sa"
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	m := mounted{t: t, plugin: w.plugin(), req: volume.Request{
		Pod: p, Spec: volume.Spec{Volume: &v}, Ref: volume.Ref{Root: root, UID: p.UID, Plugin: projected.Name, Name: v.Name},
		Tell: func(bool, string, string) {},
	}}
	t.Cleanup(func() {
		if err := m.plugin.Unmount(context.WithoutCancel(t.Context()), m.req.Ref); err != nil {
			t.Error(err)
		}
	})
	return m
}

// update mounts and updates, and returns when the volume is due.
func (m mounted) update() (time.Time, error) {
	m.t.Helper()
	got, err := m.plugin.Mount(m.t.Context(), m.req)
	if err != nil {
		m.t.Fatal(err)
	}
	if !got.ReadOnly || got.HostPath != m.req.Ref.Dir() {
		m.t.Errorf("mounted as %+v", got)
	}
	return m.plugin.Update(m.t.Context(), m.req)
}

// files are what a container sees: "path mode uid:gid content".
func (m mounted) files() []string {
	m.t.Helper()
	var all []string
	dir := m.req.Ref.Dir()
	data := filepath.Join(dir, "..data")
	current, err := filepath.EvalSymlinks(data)
	if err != nil {
		m.t.Fatal(err)
	}
	err = filepath.WalkDir(current, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(current, path)
		text, err := os.ReadFile(filepath.Join(dir, rel))
		if err != nil {
			return err
		}
		info, err := d.Info()
		st := info.Sys().(*syscall.Stat_t)
		all = append(all, fmt.Sprintf("%s %o %d:%d %s", rel, info.Mode().Perm(), st.Uid, st.Gid, text))
		return err
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return all
}

func (m mounted) expect(want ...string) {
	m.t.Helper()
	if _, err := m.update(); err != nil {
		m.t.Fatal(err)
	}
	if got := m.files(); !slices.Equal(got, want) {
		m.t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
