package node

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// patch sends the difference of two Nodes to the status subresource, which also
// takes labels and annotations. What did not change is not sent, so that others
// may change it meanwhile.
func (r *Registrar) patch(ctx context.Context, from, to *corev1.Node) (*corev1.Node, error) {
	data, err := statusPatch(from, to)
	if err != nil {
		return nil, err
	}
	if string(data) == "{}" {
		return from, nil
	}
	n, err := r.deps.Client.CoreV1().Nodes().Patch(ctx, r.cfg.Name, types.StrategicMergePatchType, data, metav1.PatchOptions{}, "status")
	if err != nil {
		return nil, fmt.Errorf("patching the Node's status with %s: %w", data, err)
	}
	return n, nil
}

func statusPatch(from, to *corev1.Node) ([]byte, error) {
	before, err := json.Marshal(ours(from, from.Status.Addresses))
	if err != nil {
		return nil, fmt.Errorf("encoding the Node as it was: %w", err)
	}
	// The API says that addresses are merged by type, which loses one of two
	// addresses of a type: they are replaced as a whole instead.
	after, err := json.Marshal(ours(to, from.Status.Addresses))
	if err != nil {
		return nil, fmt.Errorf("encoding the Node as it should be: %w", err)
	}
	data, err := strategicpatch.CreateTwoWayMergePatch(before, after, corev1.Node{})
	if err != nil {
		return nil, fmt.Errorf("comparing the Node with what it should be: %w", err)
	}
	if equality.Semantic.DeepEqual(from.Status.Addresses, to.Status.Addresses) {
		return data, nil
	}
	return replaceAddresses(data, to.Status.Addresses)
}

// ours are the parts of a Node that the agent posts.
func ours(n *corev1.Node, addresses []corev1.NodeAddress) *corev1.Node {
	part := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: n.Labels, Annotations: n.Annotations}, Status: *n.Status.DeepCopy()}
	part.Status.Addresses = addresses
	return part
}

func replaceAddresses(data []byte, addresses []corev1.NodeAddress) ([]byte, error) {
	patch := map[string]any{}
	if err := json.Unmarshal(data, &patch); err != nil {
		return nil, fmt.Errorf("decoding a patch of the Node: %w", err)
	}
	status, ok := patch["status"].(map[string]any)
	if !ok {
		status = map[string]any{}
		patch["status"] = status
	}
	list := make([]any, 0, len(addresses)+1)
	for _, a := range addresses {
		list = append(list, a)
	}
	status["addresses"] = append(list, map[string]string{"$patch": "replace"})
	data, err := json.Marshal(patch)
	if err != nil {
		return nil, fmt.Errorf("encoding a patch of the Node: %w", err)
	}
	return data, nil
}
