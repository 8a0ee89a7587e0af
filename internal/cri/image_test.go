package cri_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/internal/cri"
	"nodeagent.dev/nodeagent/internal/pod"
)

// puller is a runtime that keeps the last pull it was asked for.
type puller struct {
	grpc.ClientConnInterface
	asked *runtimeapi.PullImageRequest
	fails error
}

func (p *puller) Invoke(_ context.Context, _ string, args, reply any, _ ...grpc.CallOption) error {
	req, isPull := args.(*runtimeapi.PullImageRequest)
	resp, _ := reply.(*runtimeapi.PullImageResponse)
	if !isPull {
		return errors.New("another call than a pull")
	}
	p.asked, resp.ImageRef = req, "sha256:1"
	return p.fails
}

func TestPullSaysWhoAsks(t *testing.T) {
	rt := &puller{}
	c := cri.NewWithConns(rt, rt, cri.Config{}, zap.NewNop())
	p := thePod()
	p.Annotations = map[string]string{"a": "b"}
	auth := &pod.RegistryAuth{Username: "u", Password: "p", ServerAddress: "s", Auth: "x", IdentityToken: "i", RegistryToken: "r"}
	ref, err := c.PullImage(t.Context(), p, "busybox:latest", auth)
	if err != nil || ref != "sha256:1" {
		t.Fatal(ref, err)
	}
	image := &runtimeapi.ImageSpec{Image: "busybox:latest", Annotations: p.Annotations}
	want := &runtimeapi.AuthConfig{Username: "u", Password: "p", ServerAddress: "s", Auth: "x", IdentityToken: "i", RegistryToken: "r"}
	if diff := cmp.Diff(image, rt.asked.GetImage(), protocmp.Transform()) + cmp.Diff(want, rt.asked.GetAuth(), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	sb := rt.asked.GetSandboxConfig()
	if m := sb.GetMetadata(); m.GetUid() != string(p.UID) || m.GetNamespace() != p.Namespace || sb.GetLabels()["io.kubernetes.pod.name"] != p.Name {
		t.Errorf("the sandbox is %v", sb)
	}
	no := false
	p.Spec.HostUsers = &no // there is no sandbox for this one yet
	if _, err = c.PullImage(t.Context(), p, "busybox:latest", nil); err != nil || rt.asked.Auth != nil {
		t.Errorf("anonymously: %v, shown %v", err, rt.asked.GetAuth())
	}
	if sb := rt.asked.GetSandboxConfig(); sb.GetMetadata().GetNamespace() != p.Namespace || sb.GetAnnotations()["a"] != "b" {
		t.Errorf("the sandbox that cannot be made is %v", sb)
	}
}

func TestPullFailureNamesItself(t *testing.T) {
	for text, want := range map[string]string{
		"RegistryUnavailable: 503":       "RegistryUnavailable",
		"SignatureValidationFailed: bad": "SignatureValidationFailed",
		"no luck":                        "ErrImagePull",
	} {
		rt := &puller{fails: status.Error(codes.Unknown, text)}
		_, err := cri.NewWithConns(rt, rt, cri.Config{}, zap.NewNop()).PullImage(t.Context(), thePod(), "a:1", nil)
		reasonIs(t, err, want)
	}
}
