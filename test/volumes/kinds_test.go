//go:build e2e || volumeload

package volumes

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

func vol(name string, source corev1.VolumeSource) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: source}
}

func hostPath(name, path string, kind corev1.HostPathType) corev1.Volume {
	return vol(name, corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path, Type: &kind}})
}

func emptyDir(name string, medium corev1.StorageMedium) corev1.Volume {
	return vol(name, corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: medium}})
}

func configMap(name, object string, items ...corev1.KeyToPath) corev1.Volume {
	return vol(name, corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: object}, Items: items}})
}

func secret(name, object string, items ...corev1.KeyToPath) corev1.Volume {
	return vol(name, corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: object, Items: items}})
}

func labelFile(path string) []corev1.DownwardAPIVolumeFile {
	return []corev1.DownwardAPIVolumeFile{{Path: path, FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['state']"}}}
}

func downwardAPI(name, path string) corev1.Volume {
	return vol(name, corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: labelFile(path)}})
}

// projected has files of a ConfigMap, a Secret, the pod's label and a token.
func projected(name, config, secret string) corev1.Volume {
	ref := func(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }
	at := func(path string) []corev1.KeyToPath { return []corev1.KeyToPath{{Key: "a", Path: path}} }
	hour := int64(3600)
	return vol(name, corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: ref(config), Items: at("config")}},
		{Secret: &corev1.SecretProjection{LocalObjectReference: ref(secret), Items: at("deep/secret")}},
		{DownwardAPI: &corev1.DownwardAPIProjection{Items: labelFile("state")}},
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &hour}},
	}}})
}

func claim(name, claim string) corev1.Volume {
	return vol(name, corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}})
}

func imageVolume(name string) corev1.Volume {
	return vol(name, corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: bedtest.Image, PullPolicy: corev1.PullIfNotPresent}})
}

// objects makes a ConfigMap and a Secret of the name, with keys a and b.
func (s *site) objects(name, value string) {
	s.t.Helper()
	meta := metav1.ObjectMeta{Name: name, Namespace: namespace}
	data := map[string]string{"a": value, "b": value}
	_, err := s.b.Client().CoreV1().ConfigMaps(namespace).Create(s.t.Context(), &corev1.ConfigMap{ObjectMeta: meta, Data: data}, metav1.CreateOptions{})
	must(s.t, "making a ConfigMap", err)
	_, err = s.b.Client().CoreV1().Secrets(namespace).Create(s.t.Context(), &corev1.Secret{ObjectMeta: meta, StringData: data}, metav1.CreateOptions{})
	must(s.t, "making a Secret", err)
}

// dataPatch makes the keys a and b of a ConfigMap or Secret what is given.
func dataPatch(kind, value string) string {
	field := map[string]string{"configmap": "data", "secret": "stringData"}[kind]
	return fmt.Sprintf(`{%q:{"a":%q,"b":%q}}`, field, value, value)
}

// persist makes a volume for a folder of this machine and a claim bound to it,
// both of the name.
func (s *site) persist(name string, source corev1.PersistentVolumeSource) {
	s.t.Helper()
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Mi")}
	modes := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	none := ""
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{
		Capacity: size, AccessModes: modes, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
		PersistentVolumeSource: source, ClaimRef: &corev1.ObjectReference{Namespace: namespace, Name: name},
	}}
	if source.Local != nil {
		v.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{
				Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{s.b.NodeName}}},
		}}}}
	}
	_, err := s.b.Client().CoreV1().PersistentVolumes().Create(s.t.Context(), v, metav1.CreateOptions{})
	must(s.t, "making a PersistentVolume", err)
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: modes, StorageClassName: &none, VolumeName: name, Resources: corev1.VolumeResourceRequirements{Requests: size},
	}}
	_, err = s.b.Client().CoreV1().PersistentVolumeClaims(namespace).Create(s.t.Context(), c, metav1.CreateOptions{})
	must(s.t, "making a claim", err)
}

func local(path string) corev1.PersistentVolumeSource {
	return corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: path}}
}

// furnished is a site that has what pods with every type of volume need.
type furnished struct {
	*site
	host, kept string // folders
}

// furnish makes the objects, claims and folders of a site.
func furnish(s *site) *furnished {
	s.t.Helper()
	f := &furnished{site: s, host: s.folder("host-" + s.name), kept: s.folder("kept-" + s.name)}
	for _, dir := range []string{f.host, f.kept} {
		must(s.t, "writing a file", os.WriteFile(filepath.Join(dir, "a"), []byte("1"), 0o644))
	}
	s.objects(s.name, "1")
	s.persist(s.name+"-local", local(f.kept))
	s.persist(s.name+"-host", corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: f.kept}})
	return f
}

// checked is what every container of such a pod makes sure of first.
const checked = `set -e; is() { [ "$(cat $1)" = "$2" ] || { echo "$1 is not $2"; exit 1; }; }
for f in /cm/a /cm/b /secret/a /projected/config /projected/deep/secret /host/a /local/a /hostpv/a /cm-a; do is $f 1; done
is /label/state 1; is /projected/state 1; test -s /projected/token; test -x /image/bin/busybox
echo $HOSTNAME > /empty/@; echo $HOSTNAME > /memory/@; echo $HOSTNAME > /sub/@; test -e /empty/sub/dir/@; test -e /empty/$HOSTNAME
! (: > /cm/new) 2>/dev/null; ! (: > /secret/new) 2>/dev/null; `

// everything is a pod with a volume of every type. It fails when one of them is
// not as it should be.
func (f *furnished) everything(name, then string) *corev1.Pod {
	p := once(f.pod(name, strings.ReplaceAll(checked, "@", "a")+then))
	p.Labels["state"] = "1"
	p.Spec.InitContainers = []corev1.Container{{Name: "first", Image: bedtest.Image, Command: []string{"sh", "-c", strings.ReplaceAll(checked, "@", "first")}}}
	p.Spec.InitContainers[0].TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
	p.Spec.Containers[0].TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
	node := []corev1.EnvVar{{Name: "POD", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}}}
	p.Spec.InitContainers[0].Env, p.Spec.Containers[0].Env = node, node
	mount(p, emptyDir("empty", corev1.StorageMediumDefault), "/empty")
	mount(p, p.Spec.Volumes[len(p.Spec.Volumes)-1], "/sub", subPath("sub/dir"))
	mount(p, p.Spec.Volumes[len(p.Spec.Volumes)-1], "/mine", func(m *corev1.VolumeMount) { m.SubPathExpr = "$(POD)" })
	mount(p, emptyDir("memory", corev1.StorageMediumMemory), "/memory")
	mount(p, hostPath("host", f.host, corev1.HostPathDirectory), "/host")
	mount(p, configMap("cm", f.name), "/cm")
	mount(p, configMap("cm", f.name), "/cm-a", subPath("a"))
	mount(p, secret("secret", f.name), "/secret")
	mount(p, downwardAPI("label", "state"), "/label")
	mount(p, projected("projected", f.name, f.name), "/projected")
	mount(p, claim("local", f.name+"-local"), "/local")
	mount(p, claim("hostpv", f.name+"-host"), "/hostpv")
	mount(p, imageVolume("image"), "/image")
	return p
}

// class is the storage class of volumes that are made for pods.
const class = "volumes-own"

// ephemeral gives a pod a volume of its own, which has to be there.
func (f *furnished) ephemeral(ctx context.Context, p *corev1.Pod) error {
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Mi")}
	modes := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	name := class
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: p.Name}, Spec: corev1.PersistentVolumeSpec{
		Capacity: size, AccessModes: modes, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain, StorageClassName: class,
		ClaimRef:               &corev1.ObjectReference{Namespace: namespace, Name: p.Name + "-ephemeral"}, // nobody else's
		PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: f.kept}},
	}}
	if _, err := f.b.Client().CoreV1().PersistentVolumes().Create(ctx, v, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("make a PersistentVolume: %w", err)
	}
	mount(p, vol("ephemeral", corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{
		Spec: corev1.PersistentVolumeClaimSpec{AccessModes: modes, StorageClassName: &name, Resources: corev1.VolumeResourceRequirements{Requests: size}},
	}}}), "/ephemeral")
	for _, c := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		c[0].Command[2] = "[ \"$(cat /ephemeral/a)\" = 1 ] || exit 1; " + c[0].Command[2]
	}
	return nil
}
