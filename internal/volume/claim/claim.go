package claim

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/storage/ephemeral"
	storage "k8s.io/component-helpers/storage/volume"

	"nodeagent.dev/nodeagent/internal/pod"
)

// protection is the finalizer that keeps a claim while pods use it.
const protection = "kubernetes.io/pvc-protection"

// Objects reads from the API server, and not from a cache that may be old: a claim
// that has been bound to another volume must not lead to the one before.
type Objects interface {
	PersistentVolumeClaim(ctx context.Context, namespace, name string) (*corev1.PersistentVolumeClaim, error)
	PersistentVolume(ctx context.Context, name string) (*corev1.PersistentVolume, error)
}

// Finder finds what claims are bound to.
type Finder struct {
	objects Objects
	labels  func(context.Context) (map[string]string, error)
}

// New returns a finder. labels returns those of the node, and is asked only about
// volumes that are for some nodes; nil: all volumes pass for being for this one.
func New(objects Objects, labels func(context.Context) (map[string]string, error)) *Finder {
	return &Finder{objects: objects, labels: labels}
}

// Find returns the PersistentVolume behind a volume of the pod that names a claim,
// or has one made for it (ephemeral). The errors are the kubelet's words. A
// [pod.Failure] is all that users read; of the others the kubelet makes
// "Unable to attach or mount volumes: unmounted volumes=[...], unattached
// volumes=[], failed to process volumes=[...]: <error>; <error>".
func (f *Finder) Find(ctx context.Context, p *corev1.Pod, v *corev1.Volume) (*corev1.PersistentVolume, error) {
	var name string
	switch {
	case v.PersistentVolumeClaim != nil:
		name = v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		name = ephemeral.VolumeClaimName(p, v)
	default:
		return nil, fmt.Errorf("volume %q names no claim", v.Name)
	}
	claim, err := f.claim(ctx, p.Namespace, name)
	if err != nil {
		return nil, fmt.Errorf("error processing PVC %s/%s: %w", p.Namespace, name, err)
	}
	if v.PersistentVolumeClaim == nil {
		if err := ephemeral.VolumeIsForPod(p, claim); err != nil {
			return nil, err
		}
	}
	volume, err := f.volume(ctx, claim)
	if err != nil {
		return nil, fmt.Errorf("error processing PVC %s/%s: %w", p.Namespace, name, err)
	}
	if err := fits(p, v, volume); err != nil {
		return nil, err
	}
	if err := f.local(ctx, volume); err != nil {
		return nil, Failed("MountVolume.NodeAffinity check failed", volume.Name, err)
	}
	return volume, nil
}

// local checks that the volume may be used on this node.
func (f *Finder) local(ctx context.Context, volume *corev1.PersistentVolume) error {
	if f.labels == nil || volume.Spec.NodeAffinity == nil {
		return nil
	}
	labels, err := f.labels(ctx)
	if err != nil {
		return err
	}
	return storage.CheckNodeAffinity(volume, labels)
}

// claim returns a claim that is bound. One that is being deleted may still be used
// while it is protected: that is by its pods.
func (f *Finder) claim(ctx context.Context, namespace, name string) (*corev1.PersistentVolumeClaim, error) {
	claim, err := f.objects.PersistentVolumeClaim(ctx, namespace, name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("failed to fetch PVC from API server: %w", err)
	case claim.DeletionTimestamp != nil && !slices.Contains(claim.Finalizers, protection):
		return nil, errors.New("PVC is being deleted")
	case claim.Status.Phase != corev1.ClaimBound:
		return nil, errors.New("PVC is not bound")
	case claim.Spec.VolumeName == "":
		return nil, errors.New("PVC has empty pvc.Spec.VolumeName")
	}
	return claim, nil
}

// volume returns the volume that a claim is bound to, if that says so too.
func (f *Finder) volume(ctx context.Context, claim *corev1.PersistentVolumeClaim) (*corev1.PersistentVolume, error) {
	name := claim.Spec.VolumeName
	volume, err := f.objects.PersistentVolume(ctx, name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("failed to fetch PV %s from API server: %w", name, err)
	case volume.Spec.ClaimRef == nil:
		return nil, fmt.Errorf("found PV object %s but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim", name)
	case volume.Spec.ClaimRef.UID != claim.UID:
		return nil, fmt.Errorf("found PV object %s but its pv.Spec.ClaimRef.UID %s does not point to claim.UID %s",
			name, volume.Spec.ClaimRef.UID, claim.UID)
	}
	return volume, nil
}

// fits checks that containers use the volume as what it is, a file system or a
// device.
func fits(p *corev1.Pod, v *corev1.Volume, volume *corev1.PersistentVolume) error {
	if volume.Spec.VolumeMode == nil {
		return fmt.Errorf("cannot get volumeMode for volume: %s", volume.Name)
	}
	mode := *volume.Spec.VolumeMode
	mounted, device := uses(p, v.Name)
	if mounted && mode != corev1.PersistentVolumeFilesystem {
		return fmt.Errorf("volume %s has volumeMode %s, but is specified in volumeMounts", v.Name, mode)
	}
	if device && mode != corev1.PersistentVolumeBlock {
		return fmt.Errorf("volume %s has volumeMode %s, but is specified in volumeDevices", v.Name, mode)
	}
	return nil
}

// uses says how containers of the pod use a volume.
func uses(p *corev1.Pod, name string) (mounted, device bool) {
	for _, c := range pod.Containers(p) {
		mounted = mounted || slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == name })
		device = device || slices.ContainsFunc(c.VolumeDevices, func(d corev1.VolumeDevice) bool { return d.Name == name })
	}
	return mounted, device
}
