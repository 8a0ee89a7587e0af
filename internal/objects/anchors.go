package objects

import (
	"bytes"
	"crypto/sha256"
	"encoding/pem"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
)

// anchors returns the certificates of the bundles as PEM, each once, without what
// stands between them. Nobody is to rely on the order: the kubelet's is random for
// each run. Here it is that of their hashes, so that nothing is written anew after a
// restart.
func anchors(of []*certificatesv1.ClusterTrustBundle) []byte {
	type anchor struct {
		hash [sha256.Size]byte
		der  []byte
	}
	var all []anchor
	for _, b := range of {
		rest := []byte(b.Spec.TrustBundle)
		for {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			all = append(all, anchor{hash: sha256.Sum256(block.Bytes), der: block.Bytes})
		}
	}
	slices.SortFunc(all, func(a, b anchor) int { return bytes.Compare(a.hash[:], b.hash[:]) })
	all = slices.CompactFunc(all, func(a, b anchor) bool { return a.hash == b.hash })
	out := []byte{}
	for _, a := range all {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.der})...)
	}
	return out
}
