package hostpath_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/volume"
	"nodeagent.dev/nodeagent/internal/volume/hostpath"
	"nodeagent.dev/nodeagent/internal/volume/volumetest"
)

func source(path string, kind corev1.HostPathType) corev1.VolumeSource {
	return corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path, Type: &kind}}
}

func TestConformance(t *testing.T) {
	dir := t.TempDir()
	volumetest.Run(t, hostpath.New(), map[string]corev1.VolumeSource{
		"no type":    {HostPath: &corev1.HostPathVolumeSource{Path: dir}},
		"directory":  source(dir, corev1.HostPathDirectory),
		"new file":   source(filepath.Join(dir, "f"), corev1.HostPathFileOrCreate),
		"device":     source("/dev/null", corev1.HostPathCharDev),
		"new nested": source(filepath.Join(dir, "a/b/c"), corev1.HostPathDirectoryOrCreate),
	})
}

func TestTypes(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(at("file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("file", at("link")); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", at("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if err := unix.Mkfifo(at("fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		kind corev1.HostPathType
		want string // "" for success
	}{
		{dir, corev1.HostPathUnset, ""},
		{at("missing"), corev1.HostPathUnset, ""},
		{dir, corev1.HostPathDirectory, ""},
		{dir, corev1.HostPathDirectoryOrCreate, ""},
		{at("file"), corev1.HostPathFile, ""},
		{at("link"), corev1.HostPathFile, ""},
		{at("file"), corev1.HostPathFileOrCreate, ""},
		{at("socket"), corev1.HostPathSocket, ""},
		{"/dev/null", corev1.HostPathCharDev, ""},
		{at("file"), corev1.HostPathDirectory, "hostPath type check failed: " + at("file") + " is not a directory, it's a File"},
		{at("file"), corev1.HostPathDirectoryOrCreate, "hostPath type check failed: " + at("file") + " is not a directory"},
		{dir, corev1.HostPathFileOrCreate, "hostPath type check failed: " + dir + " is not a file, it's a Directory"},
		{at("missing"), corev1.HostPathDirectory, "hostPath type check failed, " + at("missing") + " is not a directory, unable to determine its type: path \"" + at("missing") + "\" does not exist"},
		{"/dev/null", corev1.HostPathBlockDev, "hostPath type check failed: /dev/null is not a block device, it's a CharDevice"},
		{at("file"), corev1.HostPathSocket, "hostPath type check failed: " + at("file") + " is not a socket file"},
		{at("file"), corev1.HostPathCharDev, "is not a character device"},
		{at("fifo"), corev1.HostPathFile, "only recognise file"},
		{dir, "Tape", "Tape is an invalid volume type"},
		{dir + "/../x", corev1.HostPathUnset, "must not contain '..'"},
		{"relative", corev1.HostPathUnset, "must be an absolute path"},
		{at("no/such/dir/file"), corev1.HostPathFileOrCreate, "no such file or directory"},
	} {
		t.Run(string(c.kind)+" "+filepath.Base(c.path), func(t *testing.T) {
			m := volumetest.Manager(t, t.TempDir(), hostpath.New())
			_, err := m.Mount(t.Context(), volumetest.Pod("u", corev1.Volume{Name: "v", VolumeSource: source(c.path, c.kind)}))
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), `MountVolume.SetUp failed for volume "v" : `) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v\nwant in it %q", err, c.want)
			}
		})
	}
}

func TestCreates(t *testing.T) {
	dir := t.TempDir()
	m := volumetest.Manager(t, t.TempDir(), hostpath.New())
	p := volumetest.Pod("u",
		corev1.Volume{Name: "d", VolumeSource: source(dir+"/new/dir", corev1.HostPathDirectoryOrCreate)},
		corev1.Volume{Name: "f", VolumeSource: source(dir+"/new-file", corev1.HostPathFileOrCreate)})
	if _, err := m.Mount(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{"new/dir": 0o755 | os.ModeDir, "new-file": 0o644} {
		if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", path, info, err, want)
		}
	}
}

func TestPersistent(t *testing.T) {
	dir := t.TempDir()
	kind := corev1.HostPathDirectory
	request := func(path string, readOnly bool) volume.Request {
		return volume.Request{Spec: volume.Spec{
			Volume: &corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c"}}},
			Persistent: &corev1.PersistentVolume{
				ObjectMeta: metav1.ObjectMeta{Name: "pv"},
				Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{
					HostPath: &corev1.HostPathVolumeSource{Path: path, Type: &kind},
				}},
			},
			ReadOnly: readOnly,
		}}
	}
	for _, readOnly := range []bool{false, true} {
		req := request(dir, readOnly)
		if !hostpath.New().Supports(req.Spec) {
			t.Fatal("not supported")
		}
		got, err := hostpath.New().Mount(t.Context(), req)
		if want := (pod.Volume{HostPath: dir, ReadOnly: readOnly}); err != nil || got != want {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
	if _, err := hostpath.New().Mount(t.Context(), request(dir+"/../x", false)); err == nil || !strings.Contains(err.Error(), "must not contain '..'") {
		t.Error(err)
	}
	if _, err := hostpath.New().Mount(t.Context(), request("/dev/null", false)); err == nil || !strings.Contains(err.Error(), "it's a CharDevice") {
		t.Error(err)
	}
	refused := request(dir, false)
	refused.Persistent.Spec.MountOptions = []string{"ro"}
	const want = `MountVolume.MountOptionSupport check failed for volume "pv" : mount options are not supported for this volume type`
	if _, err := hostpath.New().Mount(t.Context(), refused); err == nil || err.Error() != want {
		t.Error(err)
	}
	other := request(dir, false)
	other.Persistent.Spec.HostPath = nil
	if hostpath.New().Supports(other.Spec) {
		t.Error("another type is supported")
	}
}

// A container that starts again does not get something else than its pod asked for.
func TestTypeThatChanges(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "target")
	m := volumetest.Manager(t, t.TempDir(), hostpath.New())
	p := volumetest.Pod("u", corev1.Volume{Name: "typed", VolumeSource: source(path, corev1.HostPathFileOrCreate)},
		corev1.Volume{Name: "any", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path}}})
	if _, err := m.Mount(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	c := &p.Spec.Containers[0]
	check := func(want string) {
		t.Helper()
		err := m.Check(t.Context(), p, c)
		if (err == nil) != (want == "") || err != nil && (err.Error() != want || pod.Reason(err, "") != pod.ReasonContainerConfig) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	check("")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	check("")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	check("hostPath type check failed: " + path + " is not a file, it's a Directory")
	c.VolumeMounts = c.VolumeMounts[1:]
	check("")
}
