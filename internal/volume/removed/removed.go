package removed

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/volume"
)

// Name is the plugin's name. No volume on a disk has it.
const Name = "kubernetes.io/removed"

// New returns the plugin. It is to be asked last.
func New() volume.Plugin { return plugin{} }

type plugin struct{}

// Name implements [volume.Plugin].
func (plugin) Name() string { return Name }

// Supports implements [volume.Plugin].
func (plugin) Supports(s volume.Spec) bool { return find(s) != nil }

// Mount implements [volume.Plugin]: it always fails.
func (plugin) Mount(_ context.Context, req volume.Request) (pod.Volume, error) {
	k := find(req.Spec)
	if k == nil {
		return pod.Volume{}, fmt.Errorf("volume %q is of no type that was removed", req.Name())
	}
	return pod.Volume{}, k.refuse(req.Name())
}

// Unmount implements [volume.Plugin]: nothing was mounted.
func (plugin) Unmount(context.Context, volume.Ref) error { return nil }

// Refusal says that a volume is of a type that is not set up here, in any pod and at
// any time.
type Refusal struct {
	message string
	// unprocessed: see Unprocessed.
	unprocessed bool
}

// Error implements error.
func (r *Refusal) Error() string { return r.message }

// Unprocessed reports whether the kubelet says so before it sets up any of the
// pod's volumes: "Unable to attach or mount volumes: unmounted volumes=[...],
// unattached volumes=[], failed to process volumes=[...]: <the error>".
func (r *Refusal) Unprocessed() bool { return r.unprocessed }

// kind is one type.
type kind struct {
	// field is its name in manifests.
	field string
	// driver is the CSI driver that has taken it over.
	driver string
	// kept: the kubelet still has it.
	kept bool
}

func (k *kind) refuse(volume string) error {
	switch {
	case k.driver != "":
		return &Refusal{message: fmt.Sprintf("volume type %s is the business of the CSI driver %s (CSI migration), which this version of nodeagent does not ask for it; "+
			"use a volume of type csi with this driver", k.field, k.driver)}
	case k.kept:
		return &Refusal{message: fmt.Sprintf("volume type %s is not supported by this version of nodeagent", k.field)}
	}
	return &Refusal{message: fmt.Sprintf("failed to get Plugin from volumeSpec for volume %q err=no volume plugin matched", volume), unprocessed: true}
}

// find returns what type a volume is of; nil: of none of these. What a claim is
// bound to counts, not the claim.
func find(s volume.Spec) *kind {
	if s.Persistent != nil {
		return kindOf(typeName(s.Persistent.Spec.PersistentVolumeSource))
	}
	return kindOf(typeName(s.Volume.VolumeSource))
}

// kindOf knows the types by their names in manifests, which volumes of pods and
// PersistentVolumes share.
func kindOf(field string) *kind {
	k := &kind{field: field}
	switch field {
	case "awsElasticBlockStore":
		k.driver = "ebs.csi.aws.com"
	case "azureDisk":
		k.driver = "disk.csi.azure.com"
	case "azureFile":
		k.driver = "file.csi.azure.com"
	case "cinder":
		k.driver = "cinder.csi.openstack.org"
	case "gcePersistentDisk":
		k.driver = "pd.csi.storage.gke.io"
	case "portworxVolume":
		k.driver = "pxd.portworx.com"
	case "vsphereVolume":
		k.driver = "csi.vsphere.vmware.com"
	case "fc", "flexVolume", "iscsi":
		k.kept = true
	case "cephfs", "flocker", "glusterfs", "photonPersistentDisk", "quobyte", "rbd", "scaleIO", "storageos":
	default:
		return nil
	}
	return k
}

// typeName is the JSON name of the one field of a volume's source that is set; "":
// none is.
func typeName(source any) string {
	v := reflect.ValueOf(source)
	for i := range v.NumField() {
		if field := v.Field(i); field.Kind() == reflect.Pointer && !field.IsNil() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			return name
		}
	}
	return ""
}
