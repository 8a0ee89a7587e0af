//go:build e2e

package volumes

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// TestLife: a pod with a volume of every type starts, keeps its volumes when the
// agent is killed, and leaves nothing. A neighbour keeps everything meanwhile.
// It is not parallel: the agent is killed.
func TestLife(t *testing.T) {
	b := shared.Bed(t)
	f := furnish(newSite(t, b, "life"))
	before := podFolders(t, f.site)
	neighbour := f.start(f.everything("neighbour", bedtest.Obeys))
	p := f.everything("all", bedtest.Obeys)
	must(t, "preparing a pod", f.ephemeral(t.Context(), p))
	p = f.start(p)
	first := mountsOf(t, f.site, p)
	if len(first) < 4 { // memory, two subPaths of the volume, one of the ConfigMap, local, and tmpfs of secrets
		f.weak("pod %s has mounts %q, want more", p.Name, first)
	}
	beside := mountsOf(t, f.site, neighbour)

	agent := b.Component("agent")
	must(t, "killing the agent", agent.Kill(t.Context()))
	must(t, "starting the agent", agent.Start(t.Context()))
	must(t, "waiting for the node", b.WaitNodeReady(t.Context()))
	// The agent has looked at all pods when one that is new is ready.
	f.end(f.start(f.pod("later", bedtest.Obeys)))
	if again := mountsOf(t, f.site, p); !slices.Equal(first, again) {
		t.Errorf("after a kill of the agent pod %s has mounts\n%s\nbefore\n%s", p.Name, strings.Join(again, "\n"), strings.Join(first, "\n"))
	}
	f.end(p)
	f.leaves(p)
	if again := mountsOf(t, f.site, neighbour); !slices.Equal(beside, again) {
		t.Errorf("when another pod was gone, %s has mounts\n%s\nbefore\n%s", neighbour.Name, strings.Join(again, "\n"), strings.Join(beside, "\n"))
	}
	now := f.await(neighbour, "there", func(*corev1.Pod) bool { return true })
	if got := now.Status.ContainerStatuses[0]; got.RestartCount != 0 || got.ContainerID != neighbour.Status.ContainerStatuses[0].ContainerID {
		t.Errorf("the neighbour was disturbed: %+v", got)
	}
	f.end(neighbour)
	f.leaves(neighbour)
	for _, dir := range []string{f.host, f.kept} {
		if text, err := os.ReadFile(filepath.Join(dir, "a")); string(text) != "1" {
			t.Errorf("what users keep was touched: %s has %q (%v)", dir, text, err)
		}
	}
	if after := podFolders(t, f.site); len(after) > len(before) {
		t.Errorf("folders of pods: %q, before the test %q", after, before)
	}
}

// TestUpdatesAreSeen: what volumes are made of changes, and so do they, but for
// what a container was given by subPath.
func TestUpdatesAreSeen(t *testing.T) {
	t.Parallel()
	f := furnish(newSite(t, shared.Bed(t), "seen"))
	files := []string{"/cm/a", "/secret/a", "/projected/config", "/projected/deep/secret", "/label/state", "/projected/state"}
	p := f.everything("watched", "exec /witness watch /x/notes /cm-a "+strings.Join(files, " "))
	p = f.start(p)
	for _, file := range files {
		f.noted("notes", file, "1")
	}
	began := time.Now()
	f.patch("configmap", f.name, dataPatch("configmap", "2"))
	f.patch("secret", f.name, dataPatch("secret", "2"))
	f.patch("pod", p.Name, `{"metadata":{"labels":{"state":"2"}}}`)
	for _, file := range files {
		t.Logf("%s after %s", file, f.noted("notes", file, "2").Sub(began).Round(time.Millisecond))
	}
	for _, n := range f.notes("notes") {
		if n.content == "missing" || n.file == "/cm-a" && n.content != "1" {
			t.Errorf("%s was %q", n.file, n.content)
		}
	}
	f.end(p)
	f.leaves(p)
}

// TestKeysComeAndGo: a key that is added or removed is a file that comes or goes.
func TestKeysComeAndGo(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared.Bed(t), "keys")
	s.objects(s.name, "1")
	p := s.pod("watched", "exec /witness watch /x/notes /cm/a /cm/b /cm/c")
	mount(p, configMap("cm", s.name), "/cm")
	s.start(p)
	s.noted("notes", "/cm/c", "missing")
	s.patch("configmap", s.name, `{"data":{"c":"new","b":null}}`)
	s.noted("notes", "/cm/c", "new")
	s.noted("notes", "/cm/b", "missing")
	s.end(p)
	for _, n := range s.notes("notes") {
		if n.file == "/cm/a" && n.content != "1" {
			t.Errorf("%s was %q", n.file, n.content)
		}
	}
}
