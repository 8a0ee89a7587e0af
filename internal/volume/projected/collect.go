package projected

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	"nodeagent.dev/nodeagent/internal/volume/content"
)

// confidentialMode is that of tokens, certificates and trust anchors that only some
// are to read. The fsGroup gets its right to read when the files are written.
const confidentialMode int32 = 0o600

// collector brings the files of all sources together.
type collector struct {
	Config
	pod    *corev1.Pod
	volume string
	mode   int32
	user   *int64 // that all containers run as; nil: none
	files  content.Files
	due    time.Time
}

// collect reads all sources. The error has what is wrong with any of them.
func (c *collector) collect(ctx context.Context, sources []corev1.VolumeProjection) error {
	var failed []error
	for i := range sources {
		files, err := c.source(ctx, i, &sources[i])
		if err != nil {
			failed = append(failed, err)
			continue
		}
		maps.Copy(c.files, files)
	}
	return utilerrors.NewAggregate(failed)
}

func (c *collector) source(ctx context.Context, index int, s *corev1.VolumeProjection) (content.Files, error) {
	switch {
	case s.Secret != nil:
		return c.secret(ctx, s.Secret)
	case s.ConfigMap != nil:
		return c.configMap(ctx, s.ConfigMap)
	case s.DownwardAPI != nil:
		var allocatable corev1.ResourceList
		if c.Allocatable != nil {
			allocatable = c.Allocatable()
		}
		return content.FromDownward(c.pod, s.DownwardAPI.Items, c.mode, allocatable)
	case s.ServiceAccountToken != nil:
		return c.token(ctx, s.ServiceAccountToken)
	case s.ClusterTrustBundle != nil:
		return c.trustBundle(ctx, s.ClusterTrustBundle)
	case s.PodCertificate != nil:
		return c.certificate(ctx, index, s.PodCertificate)
	}
	return nil, nil
}

func (c *collector) secret(ctx context.Context, s *corev1.SecretProjection) (content.Files, error) {
	optional := s.Optional != nil && *s.Optional
	object, err := c.Objects.Secret(ctx, c.pod.Namespace, s.Name)
	if optional && apierrors.IsNotFound(err) {
		object, err = &corev1.Secret{}, nil
	}
	if err != nil {
		return nil, err
	}
	return content.FromSecret(object, s.Items, c.mode, optional)
}

func (c *collector) configMap(ctx context.Context, s *corev1.ConfigMapProjection) (content.Files, error) {
	optional := s.Optional != nil && *s.Optional
	object, err := c.Objects.ConfigMap(ctx, c.pod.Namespace, s.Name)
	if optional && apierrors.IsNotFound(err) {
		object, err = &corev1.ConfigMap{}, nil
	}
	if err != nil {
		return nil, err
	}
	return content.FromConfigMap(object, s.Items, c.mode, optional)
}

func (c *collector) token(ctx context.Context, s *corev1.ServiceAccountTokenProjection) (content.Files, error) {
	req := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: s.ExpirationSeconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: c.pod.Name, UID: c.pod.UID},
	}}
	if s.Audience != "" {
		req.Spec.Audiences = []string{s.Audience}
	}
	got, due, err := c.Tokens.TokenDue(ctx, c.pod.Namespace, c.pod.Spec.ServiceAccountName, req)
	if err != nil {
		return nil, err
	}
	c.due = earlier(c.due, due)
	return content.Files{s.Path: c.confidential([]byte(got.Status.Token))}, nil
}

func (c *collector) trustBundle(ctx context.Context, s *corev1.ClusterTrustBundleProjection) (content.Files, error) {
	optional := s.Optional != nil && *s.Optional
	var data []byte
	var err error
	switch {
	case s.Name != nil:
		data, err = c.Objects.TrustAnchorsByName(ctx, *s.Name, optional)
	case s.SignerName != nil:
		data, err = c.Objects.TrustAnchorsBySigner(ctx, *s.SignerName, s.LabelSelector, optional)
	default:
		err = errors.New("ClusterTrustBundle projection requires either name or signerName to be set")
	}
	if err != nil {
		return nil, err
	}
	return content.Files{s.Path: c.confidential(data)}, nil
}

func (c *collector) certificate(ctx context.Context, index int, s *corev1.PodCertificateProjection) (content.Files, error) {
	key, chain, err := c.Certificates.Certificate(ctx, c.pod, c.volume, index)
	if err != nil {
		return nil, err
	}
	files := content.Files{}
	for _, file := range []struct {
		path string
		data []byte
	}{
		{s.CredentialBundlePath, slices.Concat(key, chain)}, {s.KeyPath, key}, {s.CertificateChainPath, chain},
	} {
		if file.path != "" {
			files[file.path] = c.confidential(file.data)
		}
	}
	return files, nil
}

// confidential is a file of the volume's mode, or one for the pod's user and group
// alone, if it has such.
func (c *collector) confidential(data []byte) content.File {
	f := content.File{Data: data, Mode: c.mode, Owner: c.user}
	if c.user != nil || c.pod.Spec.SecurityContext != nil && c.pod.Spec.SecurityContext.FSGroup != nil {
		f.Mode = confidentialMode
	}
	return f
}
