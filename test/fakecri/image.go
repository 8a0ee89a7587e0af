package fakecri

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

type imageService struct {
	cri.UnimplementedImageServiceServer
	s *Server
}

// image finds a present image by its name or ID.
func (st *state) image(ref string) (Image, bool) {
	if i, ok := st.images[ref]; ok {
		return i.filled(), true
	}
	for _, i := range st.images {
		if i = i.filled(); i.ID == ref {
			return i, true
		}
	}
	if st.cfg.Present == nil && st.cfg.Pullable == nil && ref != "" {
		if strings.HasPrefix(ref, "sha256:") {
			return Image{Name: ref, ID: ref}, true
		}
		return Image{Name: ref}.filled(), true
	}
	return Image{}, false
}

// filled returns the image with an ID.
func (i Image) filled() Image {
	if i.ID == "" {
		i.ID = fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(i.Name)))
	}
	return i
}

func (i Image) proto() *cri.Image {
	out := &cri.Image{Id: i.ID, RepoTags: []string{i.Name}, Size: i.Size, Username: i.Username}
	if i.UID != nil {
		out.Uid = &cri.Int64Value{Value: *i.UID}
	}
	return out
}

// ImageStatus shows one image; none is an empty answer.
func (r *imageService) ImageStatus(_ context.Context, req *cri.ImageStatusRequest) (*cri.ImageStatusResponse, error) {
	st := r.s.state
	st.mu.Lock()
	defer st.mu.Unlock()
	i, ok := st.image(req.GetImage().GetImage())
	if !ok {
		return &cri.ImageStatusResponse{}, nil
	}
	return &cri.ImageStatusResponse{Image: i.proto()}, nil
}

// ListImages lists the present images.
func (r *imageService) ListImages(context.Context, *cri.ListImagesRequest) (*cri.ListImagesResponse, error) {
	st := r.s.state
	st.mu.Lock()
	defer st.mu.Unlock()
	out := &cri.ListImagesResponse{}
	for _, i := range st.images {
		out.Images = append(out.Images, i.filled().proto())
	}
	slices.SortFunc(out.Images, func(a, b *cri.Image) int { return strings.Compare(a.RepoTags[0], b.RepoTags[0]) })
	return out, nil
}

// PullImage makes a pullable image present, in its own time.
func (r *imageService) PullImage(ctx context.Context, req *cri.PullImageRequest) (*cri.PullImageResponse, error) {
	st := r.s.state
	ref := req.GetImage().GetImage()
	at := slices.IndexFunc(st.cfg.Pullable, func(i Image) bool { return i.Name == ref })
	if at < 0 {
		st.mu.Lock()
		i, ok := st.image(ref)
		st.mu.Unlock()
		if !ok {
			return nil, status.Errorf(codes.NotFound, "failed to pull and unpack image %q: failed to resolve reference %q: %s: not found", ref, ref, ref)
		}
		return &cri.PullImageResponse{ImageRef: i.ID}, nil
	}
	i := st.cfg.Pullable[at].filled()
	if err := sleep(ctx, i.PullFor); err != nil {
		return nil, err
	}
	if i.PullError != "" {
		return nil, status.Error(codes.Unknown, i.PullError)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.images[i.Name] = i
	st.note("PullImage", "", i.Name, 0, i.ID, "")
	return &cri.PullImageResponse{ImageRef: i.ID}, nil
}

// RemoveImage removes an image; none is fine.
func (r *imageService) RemoveImage(_ context.Context, req *cri.RemoveImageRequest) (*cri.RemoveImageResponse, error) {
	st := r.s.state
	st.mu.Lock()
	defer st.mu.Unlock()
	if i, ok := st.image(req.GetImage().GetImage()); ok {
		delete(st.images, i.Name)
		st.note("RemoveImage", "", i.Name, 0, i.ID, "")
	}
	return &cri.RemoveImageResponse{}, nil
}
