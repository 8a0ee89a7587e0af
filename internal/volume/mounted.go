package volume

import (
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Mounted is a volume of a pod that has been set up, for those who want to measure it.
type Mounted struct {
	// Name is that of the volume in the pod.
	Name string
	// Claim is the PersistentVolumeClaim that it comes from; empty: from none.
	Claim string
	// Dir is where it is on the node, an absolute path.
	Dir string
	// FileSystem: it is one of its own, perhaps a server's that does not answer.
	FileSystem bool
	// Ephemeral: it takes the node's disk, and counts as the pod's.
	Ephemeral bool
	// Confined: its pod is in a user namespace.
	Confined bool
}

// mountedVolumes remembers where the volumes of pods were set up.
type mountedVolumes struct {
	mu   sync.Mutex
	pods map[types.UID][]Mounted
}

// Mounted returns the volumes of a pod that were set up since this agent was started
// and that are the pod's alone: what is the node's (hostPath) or an image is left out,
// as the kubelet measures neither.
func (m *Manager) Mounted(uid types.UID) []Mounted {
	m.mounted.mu.Lock()
	defer m.mounted.mu.Unlock()
	return slices.Clone(m.mounted.pods[uid])
}

func (v *mountedVolumes) set(uid types.UID, all []Mounted) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.pods == nil {
		v.pods = map[types.UID][]Mounted{}
	}
	v.pods[uid] = all
}

func (v *mountedVolumes) forget(uid types.UID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.pods, uid)
}

// measurable are the volumes among used that Mounted tells of. A volume that is the
// pod's has a directory below the pod's own.
func (m *Manager) measurable(p *corev1.Pod, used []*corev1.Volume, at pod.Volumes) []Mounted {
	var all []Mounted
	for _, v := range used {
		got := at[v.Name]
		ref := Ref{Root: m.root, UID: p.UID, Name: v.Name}
		if got.Persistent != "" {
			ref.Name = got.Persistent
		}
		if !ref.holds(got.HostPath) {
			continue
		}
		all = append(all, Mounted{
			Name: v.Name, Claim: claimOf(p, v), Dir: got.HostPath,
			FileSystem: got.Persistent != "" || v.NFS != nil,
			Ephemeral:  isLocal(v), Confined: p.Spec.HostUsers != nil && !*p.Spec.HostUsers,
		})
	}
	return all
}

// claimOf is the name of the claim that a volume comes from.
func claimOf(p *corev1.Pod, v *corev1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		return p.Name + "-" + v.Name
	}
	return ""
}

// isLocal is the kubelet's rule for what counts as a pod's ephemeral storage.
func isLocal(v *corev1.Volume) bool {
	return v.GitRepo != nil || v.EmptyDir != nil && v.EmptyDir.Medium == corev1.StorageMediumDefault || v.ConfigMap != nil
}
