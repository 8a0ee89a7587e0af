package cri

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/pod"
)

// ImagePresent looks an image up by name, digest or ID. imageRef is what a
// container is to be made from; size is in bytes, 0 when unknown. Failures have
// reason ImageInspectError.
func (c *Client) ImagePresent(ctx context.Context, ref string) (imageRef string, size int64, ok bool, err error) {
	image, err := c.imageStatus(ctx, ref)
	if err != nil {
		return "", 0, false, fail(reasonInspectImage, err)
	}
	if image.GetId() == "" {
		return "", 0, false, nil
	}
	return image.GetId(), int64(min(image.GetSize(), math.MaxInt64)), true, nil // #nosec G115 -- limited
}

// imageStatus returns an image, or nil when it is not there.
func (c *Client) imageStatus(ctx context.Context, ref string) (*runtimeapi.Image, error) {
	resp, err := call(ctx, c, "image_status", c.cfg.RequestTimeout, c.images.ImageStatus,
		&runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: ref}})
	if err != nil && !isNotFound(err) {
		return nil, fmt.Errorf("look up image %q: %w", ref, err)
	}
	return resp.GetImage(), nil
}

// PullImage pulls an image for a pod and returns what to make a container from.
// ref has a tag or a digest; auth may be nil. There is no deadline but ctx's:
// progress is the runtime's. Failures have reason ErrImagePull, or the one that
// the runtime names.
func (c *Client) PullImage(ctx context.Context, p *corev1.Pod, ref string, auth *pod.RegistryAuth) (imageRef string, err error) {
	req := &runtimeapi.PullImageRequest{
		Image:         &runtimeapi.ImageSpec{Image: ref, Annotations: maps.Clone(p.Annotations)},
		SandboxConfig: c.pullFor(p),
	}
	if auth != nil {
		req.Auth = &runtimeapi.AuthConfig{
			Username: auth.Username, Password: auth.Password, Auth: auth.Auth, ServerAddress: auth.ServerAddress,
			IdentityToken: auth.IdentityToken, RegistryToken: auth.RegistryToken,
		}
	}
	resp, err := call(ctx, c, "pull_image", 0, c.images.PullImage, req)
	if err != nil {
		return "", fail(pullReason(err), err)
	}
	if resp.GetImageRef() == "" {
		return "", fail(reasonPullImage, fmt.Errorf("the runtime returned no reference for image %q", ref))
	}
	return resp.GetImageRef(), nil
}

// pullFor describes the pod that a pull is for: runtimes have policies by
// namespace and storage by annotation. A pod whose sandbox cannot be made is told
// so when that is tried.
func (c *Client) pullFor(p *corev1.Pod) *runtimeapi.PodSandboxConfig {
	cfg, err := containerspec.Sandbox(pod.SandboxRequest{Pod: p}, c.cfg.Node())
	if err != nil {
		return &runtimeapi.PodSandboxConfig{
			Metadata:    &runtimeapi.PodSandboxMetadata{Name: p.Name, Namespace: p.Namespace, Uid: string(p.UID)},
			Annotations: maps.Clone(p.Annotations),
		}
	}
	return cfg
}

// pullReason lets a runtime name the failure in the first word of its message
// (cri-api: pkg/errors).
func pullReason(err error) string {
	_, text, _ := strings.Cut(err.Error(), "desc = ")
	for _, reason := range []string{"RegistryUnavailable", "SignatureValidationFailed"} {
		if strings.HasPrefix(text, reason) {
			return reason
		}
	}
	return reasonPullImage
}

// Images lists the images that the runtime has.
func (c *Client) Images(ctx context.Context) ([]pod.StoredImage, error) {
	resp, err := call(ctx, c, "list_images", c.cfg.RequestTimeout, c.images.ListImages, &runtimeapi.ListImagesRequest{})
	if err != nil {
		return nil, err
	}
	list := make([]pod.StoredImage, 0, len(resp.GetImages()))
	for _, i := range resp.GetImages() {
		list = append(list, pod.StoredImage{ID: i.GetId(), Names: append(slices.Clone(i.GetRepoTags()), i.GetRepoDigests()...)})
	}
	return list, nil
}
