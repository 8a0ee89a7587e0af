//go:build e2e || volumeload

package volumes

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
	"nodeagent.dev/nodeagent/test/bed/build"
)

const (
	namespace = bedtest.Namespace
	// patience bounds what takes as long as the machine is slow.
	patience = 90 * time.Second
)

var must = bedtest.Must

// shared is the bed that the e2e tests use, each with pods of its own. The kubelet
// looks at its volumes as often as this says; nodeagent does not wait for it.
var shared = bedtest.Shared{Options: bed.Options{
	KubeletConfig: func(config map[string]any) { config["syncFrequency"], config["volumeStatsAggPeriod"] = "5s", "5s" },
}}

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("16") // the tests wait more than they compute
	}
	os.Exit(shared.Run(m))
}

// site is where a test works: a bed, and a folder that its containers see as /x.
type site struct {
	t     testing.TB
	b     *bed.Bed
	board *bedtest.Board
	name  string
	dir   string
	tool  string // the program witness
	limit time.Duration
}

// newSite makes a site; its name begins the names of what is made there.
func newSite(t testing.TB, b *bed.Bed, name string) *site {
	t.Helper()
	builder, err := build.New(nil)
	must(t, "preparing to build witness", err)
	tool, err := builder.Program(t.Context(), "./test/volumes/witness", "witness", "-s -w")
	must(t, "building witness", err)
	s := &site{t: t, b: b, name: name, tool: tool, limit: patience, board: bedtest.WatchPods(t, b, patience)}
	s.dir = s.folder("x-" + name)
	return s
}

// folder makes a folder of this machine for containers. It goes with the bed: they
// may write to it until then.
func (s *site) folder(name string) string {
	s.t.Helper()
	dir := filepath.Join(s.b.Dir, name)
	must(s.t, "making a folder", os.Mkdir(dir, 0o755))
	must(s.t, "opening the folder to all users", os.Chmod(dir, 0o777))
	return dir
}

// weak tells of something that must not be: it is the end of a test of nodeagent,
// and only told of the kubelet.
func (s *site) weak(format string, args ...any) {
	s.t.Helper()
	if s.b.Agent() == bed.Nodeagent {
		s.t.Errorf(format, args...)
		return
	}
	s.t.Logf("told, not judged, the agent is "+s.b.Agent()+": "+format, args...)
}

// pod is a pod with a container for each script: a, b, c. They see the folder of
// the test at /x and the program witness.
func (s *site) pod(name string, scripts ...string) *corev1.Pod {
	p := bedtest.NewPod(s.name+"-"+name, 1, scripts...)
	for _, v := range []struct{ name, path, at string }{{"x", s.dir, "/x"}, {"witness", s.tool, "/witness"}} {
		mount(p, hostPath(v.name, v.path, ""), v.at)
	}
	return p
}

// mount gives a pod a volume that all its containers have at a path, or adds
// another mount of one that it has.
func mount(p *corev1.Pod, v corev1.Volume, at string, change ...func(*corev1.VolumeMount)) {
	if !slices.ContainsFunc(p.Spec.Volumes, func(o corev1.Volume) bool { return o.Name == v.Name }) {
		p.Spec.Volumes = append(p.Spec.Volumes, v)
	}
	m := corev1.VolumeMount{Name: v.Name, MountPath: at}
	for _, c := range change {
		c(&m)
	}
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			list[i].VolumeMounts = append(list[i].VolumeMounts, m)
		}
	}
}

func subPath(path string) func(*corev1.VolumeMount) {
	return func(m *corev1.VolumeMount) { m.SubPath = path }
}

// once is a pod whose containers are not restarted.
func once(p *corev1.Pod) *corev1.Pod {
	p.Spec.RestartPolicy = corev1.RestartPolicyNever
	return p
}

// create makes a pod and deletes it at the end of the test.
func (s *site) create(p *corev1.Pod) *corev1.Pod {
	s.t.Helper()
	return bedtest.Create(s.t, s.b, p)
}

// await waits until a pod is as wanted.
func (s *site) await(p *corev1.Pod, what string, done func(*corev1.Pod) bool) *corev1.Pod {
	s.t.Helper()
	seen, err := s.board.Await(s.t.Context(), p.Name, what, bedtest.Settled(done))
	must(s.t, "waiting for a pod", err)
	return seen.Pod
}

// start makes a pod and waits until it is ready.
func (s *site) start(p *corev1.Pod) *corev1.Pod {
	s.t.Helper()
	s.create(p)
	got := s.await(p, "ready", func(p *corev1.Pod) bool { return bedtest.Ready(p) || p.Status.Phase == corev1.PodFailed })
	if got.Status.Phase == corev1.PodFailed {
		s.t.Fatalf("pod %s has failed: %s", p.Name, got.Status.String())
	}
	return got
}

// end deletes a pod and waits until it is gone.
func (s *site) end(p *corev1.Pod) {
	s.t.Helper()
	s.delete(p, -1)
	_, err := s.board.Await(s.t.Context(), p.Name, "gone", bedtest.Gone)
	must(s.t, "deleting a pod", err)
}

// delete asks for a pod's deletion; a negative grace leaves it to the pod.
func (s *site) delete(p *corev1.Pod, grace int64) {
	s.t.Helper()
	var o metav1.DeleteOptions
	if grace >= 0 {
		o.GracePeriodSeconds = &grace
	}
	must(s.t, "deleting pod "+p.Name, s.b.Client().CoreV1().Pods(namespace).Delete(s.t.Context(), p.Name, o))
}

// glance is how often a test looks at what has no events for it: the kernel allows
// one user few inotify instances, and every agent and container takes some. What is
// measured is noted by others, and not when a test sees it.
const glance = 5 * time.Millisecond

// until waits until something is true of files.
func (s *site) until(what string, done func() bool) {
	s.t.Helper()
	tick := time.NewTicker(glance)
	defer tick.Stop()
	for end := time.Now().Add(s.limit); !done(); <-tick.C {
		if time.Now().After(end) {
			s.t.Fatalf("not seen after %s: %s", s.limit, what)
		}
	}
}

// exists waits for a file in the test's folder.
func (s *site) exists(file string) {
	s.t.Helper()
	s.until("file "+file, func() bool {
		_, err := os.Stat(filepath.Join(s.dir, file))
		return err == nil
	})
}

// note is a content that witness has noted, and when.
type note struct {
	file, content string
	at            time.Time
}

// notes reads what witness has noted.
func (s *site) notes(file string) []note {
	text, _ := os.ReadFile(filepath.Join(s.dir, file)) // there is none yet
	var all []note
	for line := range bytes.Lines(text) {
		var n note
		var at int64
		if _, err := fmt.Sscanf(string(line), "%s %q %d\n", &n.file, &n.content, &at); err == nil {
			n.at = time.Unix(0, at)
			all = append(all, n)
		}
	}
	return all
}

// noted waits until witness has noted a content and returns when.
func (s *site) noted(notes, file, content string) time.Time {
	s.t.Helper()
	var at time.Time
	s.until(fmt.Sprintf("%s has %q (noted in %s)", file, content, notes), func() bool {
		for _, n := range s.notes(notes) {
			if n.file == file && n.content == content {
				at = n.at
				return true
			}
		}
		return false
	})
	return at
}

// patch changes an object of the namespace.
func (s *site) patch(kind, name, change string) {
	s.t.Helper()
	must(s.t, "changing "+name, s.tryPatch(kind, name, change))
}

func (s *site) tryPatch(kind, name, change string) error {
	client := s.b.Client().CoreV1()
	var err error
	switch kind {
	case "configmap":
		_, err = client.ConfigMaps(namespace).Patch(s.t.Context(), name, types.MergePatchType, []byte(change), metav1.PatchOptions{})
	case "secret":
		_, err = client.Secrets(namespace).Patch(s.t.Context(), name, types.MergePatchType, []byte(change), metav1.PatchOptions{})
	case "pod":
		_, err = client.Pods(namespace).Patch(s.t.Context(), name, types.MergePatchType, []byte(change), metav1.PatchOptions{})
	default:
		err = fmt.Errorf("an object of kind %q", kind)
	}
	if err != nil {
		return fmt.Errorf("patch %s %s: %w", kind, name, err)
	}
	return nil
}
