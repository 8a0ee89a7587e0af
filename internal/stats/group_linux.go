package stats

import (
	"errors"
	"path"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Cgroups knows where the cgroups of pods are.
type Cgroups interface {
	// Parent is the cgroup of a pod below the root of the hierarchies; empty: pods have
	// none.
	Parent(p *corev1.Pod) string
	// Above are the cgroups around those of pods: that of all pods first, then those of
	// the QoS classes.
	Above() []string
}

// known is what was found of a pod's cgroups. It holds as long as the pod's view is
// the same.
type known struct {
	view   *pod.View
	groups []Group
}

// finder finds the cgroups of pods. Only one goroutine at a time uses it.
type finder struct {
	machine *machine
	pods    map[types.UID]known
	fixed   map[string]Group // those that are no pod's
}

func newFinder(m *machine) *finder {
	return &finder{machine: m, pods: map[types.UID]known{}, fixed: map[string]Group{}}
}

// find returns all cgroups that are there: the machine's, the daemons', those around
// pods, and each pod's, its sandbox's and its containers'.
func (f *finder) find(at Cgroups, system []string, views []*pod.View) []Group {
	groups := make([]Group, 0, 4+4*len(views))
	add := func(kind Kind, name string) {
		if g, ok := f.one(kind, name); ok {
			groups = append(groups, g)
		}
	}
	add(KindRoot, "/")
	for _, name := range system {
		add(KindSystem, name)
	}
	if at == nil {
		return groups
	}
	for _, name := range at.Above() {
		add(KindQoS, name)
	}
	seen := make(map[types.UID]bool, len(views))
	for _, v := range views {
		if v == nil || v.Pod == nil {
			continue
		}
		seen[v.Ref.UID] = true
		k := f.pods[v.Ref.UID]
		if k.view != v {
			var whole bool
			if k, whole = f.look(at, v); whole {
				f.pods[v.Ref.UID] = k
			} else {
				delete(f.pods, v.Ref.UID)
			}
		}
		groups = append(groups, k.groups...)
	}
	for uid := range f.pods {
		if !seen[uid] {
			delete(f.pods, uid)
		}
	}
	return groups
}

// forget drops what is known of a cgroup that is no longer there.
func (f *finder) forget(g Group) {
	delete(f.pods, g.Pod.UID)
	delete(f.fixed, g.Path)
}

func (f *finder) one(kind Kind, name string) (Group, bool) {
	if name == "" || path.Clean("/"+name) != name || name == "/" && kind != KindRoot {
		return Group{}, false
	}
	if g, ok := f.fixed[name]; ok {
		return g, true
	}
	if !f.is(name) {
		return Group{}, false
	}
	g := Group{Kind: kind, Path: name, Started: f.machine.made(name)}
	f.fixed[name] = g
	return g, true
}

// is reports whether a cgroup is there. It is a directory; a symlink is not followed.
func (f *finder) is(name string) bool {
	var st unix.Stat_t
	return unix.Lstat(f.machine.anchor()+name, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// look finds a pod's cgroups. It is not whole if one is missing of what is said to
// run: then the next call has to look again.
func (f *finder) look(at Cgroups, v *pod.View) (k known, whole bool) {
	k, whole = known{view: v}, true
	parent := at.Parent(v.Pod)
	if parent == "" || !f.is(parent) {
		return k, false
	}
	add := func(g Group) {
		g.Pod, g.HostNetwork = v.Ref, v.Pod.Spec.HostNetwork
		made := f.machine.made(g.Path)
		if g.Started.IsZero() {
			g.Started = made
		}
		k.groups = append(k.groups, g)
	}
	network := true // until somebody shows it
	add(Group{Kind: KindPod, Path: parent})
	if name, ok := f.below(parent, v.Sandbox); ok {
		add(Group{Kind: KindSandbox, Path: name, RuntimeID: v.Sandbox, network: true})
		network = false
	}
	for _, list := range statuses(v) {
		for i := range list {
			c := &list[i]
			if c.State.Running == nil {
				continue
			}
			_, id, _ := strings.Cut(c.ContainerID, "://")
			name, ok := f.below(parent, id)
			if !ok {
				whole = false
				continue
			}
			add(Group{
				Kind: KindContainer, Path: name, Container: c.Name, RuntimeID: id, Image: c.Image,
				Started: c.State.Running.StartedAt.Time, network: network,
			})
			network = false
		}
	}
	return k, whole
}

// statuses are those of all kinds of containers.
func statuses(v *pod.View) [3][]corev1.ContainerStatus {
	return [...][]corev1.ContainerStatus{v.Status.InitContainerStatuses, v.Status.ContainerStatuses, v.Status.EphemeralContainerStatuses}
}

// errName is what a runtime's ID must be to become part of a path.
var errName = errors.New("no name of a cgroup")

// below finds the cgroup that a runtime made for an ID. containerd names it after
// the ID, CRI-O with a prefix; with systemd both make a scope.
func (f *finder) below(parent, id string) (string, bool) {
	if safeID(id) != nil {
		return "", false
	}
	names := []string{id, "crio-" + id}
	if strings.HasSuffix(parent, ".slice") {
		names = []string{"cri-containerd-" + id + ".scope", "crio-" + id + ".scope"}
	}
	for _, name := range names {
		if full := parent + "/" + name; f.is(full) {
			return full, true
		}
	}
	return "", false
}

// maxID is longer than any runtime's ID.
const maxID = 200

func safeID(id string) error {
	if id == "" || len(id) > maxID || id[0] == '.' {
		return errName
	}
	for _, c := range []byte(id) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return errName
		}
	}
	return nil
}
