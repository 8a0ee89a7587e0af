package cri

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/pod"
)

// ListAll shows in short every pod that the runtime knows, ordered by UID. It
// costs two lists and no status. Objects that name no pod are left out.
func (c *Client) ListAll(ctx context.Context) ([]pod.Listing, error) {
	sandboxes, containers, err := c.list(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("list all pods of the runtime: %w", err)
	}
	pods := map[types.UID]*gathered{}
	for _, s := range sandboxes {
		g := gather(pods, s.GetLabels(), s.GetMetadata().GetNamespace(), s.GetMetadata().GetName())
		if g == nil || s.GetId() == "" {
			continue
		}
		g.objects = append(g.objects, s.GetId()+s.GetState().String())
		g.live = g.live || s.GetState() == runtimeapi.PodSandboxState_SANDBOX_READY
	}
	for _, k := range containers {
		g := gather(pods, k.GetLabels(), "", "")
		if g == nil || k.GetId() == "" {
			continue
		}
		g.objects = append(g.objects, k.GetId()+k.GetState().String())
		g.live = g.live || k.GetState() == runtimeapi.ContainerState_CONTAINER_RUNNING
	}
	out := make([]pod.Listing, 0, len(pods))
	for _, g := range pods {
		slices.Sort(g.objects)
		sum := sha256.Sum256([]byte(strings.Join(g.objects, "\n")))
		out = append(out, pod.Listing{Ref: g.ref, Digest: hex.EncodeToString(sum[:]), Live: g.live})
	}
	slices.SortFunc(out, func(a, b pod.Listing) int { return cmp.Compare(a.Ref.UID, b.Ref.UID) })
	return out, nil
}

// gathered is what the lists show of one pod.
type gathered struct {
	ref     pod.Ref
	objects []string
	live    bool
}

// gather returns the pod that labels name, or nil.
func gather(pods map[types.UID]*gathered, labels map[string]string, namespace, name string) *gathered {
	uid := types.UID(labels[containerspec.LabelPodUID])
	if uid == "" {
		return nil
	}
	g := pods[uid]
	if g == nil {
		g = &gathered{ref: pod.Ref{UID: uid}}
		pods[uid] = g
	}
	g.ref.Namespace = cmp.Or(g.ref.Namespace, labels[containerspec.LabelPodNamespace], namespace)
	g.ref.Name = cmp.Or(g.ref.Name, labels[containerspec.LabelPodName], name)
	return g
}
