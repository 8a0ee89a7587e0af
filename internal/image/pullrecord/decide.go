package pullrecord

import (
	"cmp"
	"slices"

	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"

	"nodeagent.dev/nodeagent/internal/image"
)

// manySecrets is how many secrets a record may have before looking alone adds
// none: namespaces that come and go must not make it grow for ever.
const manySecrets = 100

// verdict is what a record says about a pod.
type verdict int

const (
	unknown verdict = iota // it depends on the pod's credentials
	may
	mayNot
)

// forAll answers without a look at the pod.
func forAll(have kubeletv1beta1.ImagePullCredentials) verdict {
	switch {
	case have.NodePodsAccessible:
		return may
	case len(have.KubernetesSecrets) == 0 && len(have.KubernetesServiceAccounts) == 0:
		return mayNot
	}
	return unknown
}

// matching returns the first of a pod's credentials with which the image has been
// pulled: the same content in whichever secret, or the same secret whatever is in
// it now; or the same service account. known says that the record has it as it is.
func matching(have kubeletv1beta1.ImagePullCredentials, list []image.Credential) (by image.Source, known, ok bool) {
	room := len(have.KubernetesSecrets) < manySecrets
	for _, c := range list {
		if c.Source.Secret == nil {
			continue
		}
		mine := secretOf(*c.Source.Secret)
		for _, theirs := range have.KubernetesSecrets {
			equal := theirs.CredentialHash != "" && theirs.CredentialHash == mine.CredentialHash
			itself := sameSecret(theirs, mine)
			if equal || itself && room {
				return c.Source, equal && itself || !room, true
			}
		}
	}
	// The first account alone counts: which one does not depend on the image.
	i := slices.IndexFunc(list, func(c image.Credential) bool { return c.Source.Secret == nil && c.Source.ServiceAccount != nil })
	if i >= 0 && slices.Contains(have.KubernetesServiceAccounts, accountOf(*list[i].Source.ServiceAccount)) {
		return list[i].Source, true, true
	}
	return image.Source{}, false, false
}

// grant notes in a record that an image, by its repository, was pulled with
// something. It reports whether that is new.
func grant(r *kubeletv1beta1.ImagePulledRecord, repo string, by image.Source) bool {
	have := r.CredentialMapping[repo]
	if have.NodePodsAccessible {
		return false
	}
	switch {
	case by.Secret != nil:
		mine := secretOf(*by.Secret)
		if slices.Contains(have.KubernetesSecrets, mine) {
			return false
		}
		rest := slices.DeleteFunc(slices.Clone(have.KubernetesSecrets), func(s kubeletv1beta1.ImagePullSecret) bool { return sameSecret(s, mine) })
		have.KubernetesSecrets = append(rest, mine)
		slices.SortFunc(have.KubernetesSecrets, func(a, b kubeletv1beta1.ImagePullSecret) int {
			return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID))
		})
	case by.ServiceAccount != nil:
		mine := accountOf(*by.ServiceAccount)
		if slices.Contains(have.KubernetesServiceAccounts, mine) {
			return false
		}
		have.KubernetesServiceAccounts = append(slices.Clone(have.KubernetesServiceAccounts), mine)
		slices.SortFunc(have.KubernetesServiceAccounts, func(a, b kubeletv1beta1.ImagePullServiceAccount) int {
			return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID))
		})
	default:
		have = kubeletv1beta1.ImagePullCredentials{NodePodsAccessible: true}
	}
	if r.CredentialMapping == nil {
		r.CredentialMapping = map[string]kubeletv1beta1.ImagePullCredentials{}
	}
	r.CredentialMapping[repo] = have
	return true
}

func secretOf(s image.SecretSource) kubeletv1beta1.ImagePullSecret {
	return kubeletv1beta1.ImagePullSecret{UID: string(s.UID), Namespace: s.Namespace, Name: s.Name, CredentialHash: s.Hash}
}

func accountOf(s image.ServiceAccountSource) kubeletv1beta1.ImagePullServiceAccount {
	return kubeletv1beta1.ImagePullServiceAccount{UID: string(s.UID), Namespace: s.Namespace, Name: s.Name}
}

func sameSecret(a, b kubeletv1beta1.ImagePullSecret) bool {
	return a.UID == b.UID && a.Namespace == b.Namespace && a.Name == b.Name
}
