package file

import (
	corev1 "k8s.io/api/core/v1"
)

// defaultVolume covers every type, also those that this agent will not mount:
// their defaults are part of the UID.
func defaultVolume(v *corev1.Volume) {
	if v.VolumeSource == (corev1.VolumeSource{}) {
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	if v.Image != nil {
		orWord(&v.Image.PullPolicy, pullPolicy(v.Image.Reference))
	}
	if v.HostPath != nil {
		orElse(&v.HostPath.Type, corev1.HostPathUnset)
	}
	if v.Secret != nil {
		orElse(&v.Secret.DefaultMode, corev1.SecretVolumeSourceDefaultMode)
	}
	if v.ConfigMap != nil {
		orElse(&v.ConfigMap.DefaultMode, corev1.ConfigMapVolumeSourceDefaultMode)
	}
	if v.DownwardAPI != nil {
		orElse(&v.DownwardAPI.DefaultMode, corev1.DownwardAPIVolumeSourceDefaultMode)
		defaultDownwardItems(v.DownwardAPI.Items)
	}
	if v.Projected != nil {
		defaultProjected(v.Projected)
	}
	if e := v.Ephemeral; e != nil && e.VolumeClaimTemplate != nil {
		orElse(&e.VolumeClaimTemplate.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
		roundUp(e.VolumeClaimTemplate.Spec.Resources.Limits)
		roundUp(e.VolumeClaimTemplate.Spec.Resources.Requests)
	}
	defaultNetworkVolume(v)
}

func defaultProjected(p *corev1.ProjectedVolumeSource) {
	orElse(&p.DefaultMode, corev1.ProjectedVolumeSourceDefaultMode)
	for i := range p.Sources {
		if d := p.Sources[i].DownwardAPI; d != nil {
			defaultDownwardItems(d.Items)
		}
		if t := p.Sources[i].ServiceAccountToken; t != nil {
			orElse(&t.ExpirationSeconds, 60*60)
		}
	}
}

func defaultDownwardItems(items []corev1.DownwardAPIVolumeFile) {
	for i := range items {
		defaultFieldRef(items[i].FieldRef)
	}
}

func defaultNetworkVolume(v *corev1.Volume) {
	if v.ISCSI != nil {
		orWord(&v.ISCSI.ISCSIInterface, "default")
	}
	if v.RBD != nil {
		orWord(&v.RBD.RBDPool, "rbd")
		orWord(&v.RBD.RadosUser, "admin")
		orWord(&v.RBD.Keyring, "/etc/ceph/keyring")
	}
	if v.AzureDisk != nil {
		orElse(&v.AzureDisk.CachingMode, corev1.AzureDataDiskCachingReadWrite)
		orElse(&v.AzureDisk.FSType, "ext4")
		orElse(&v.AzureDisk.ReadOnly, false)
		orElse(&v.AzureDisk.Kind, corev1.AzureSharedBlobDisk)
	}
	if v.ScaleIO != nil {
		orWord(&v.ScaleIO.StorageMode, "ThinProvisioned")
		orWord(&v.ScaleIO.FSType, "xfs")
	}
}
