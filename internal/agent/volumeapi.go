package agent

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

// forVolumes asks the API server for what volumes are made of, beside the objects
// that are watched.
type forVolumes struct {
	api  kubernetes.Interface
	node string
}

// PersistentVolumeClaim implements claim.Objects.
func (f forVolumes) PersistentVolumeClaim(ctx context.Context, namespace, name string) (*corev1.PersistentVolumeClaim, error) {
	return f.api.CoreV1().PersistentVolumeClaims(namespace).Get(ctx, name, metav1.GetOptions{})
}

// PersistentVolume implements claim.Objects.
func (f forVolumes) PersistentVolume(ctx context.Context, name string) (*corev1.PersistentVolume, error) {
	return f.api.CoreV1().PersistentVolumes().Get(ctx, name, metav1.GetOptions{})
}

// CreateToken implements token.Client.
func (f forVolumes) CreateToken(ctx context.Context, namespace, serviceAccount string, req *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	return f.api.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, serviceAccount, req, metav1.CreateOptions{})
}

// List implements podcert.Client.
func (f forVolumes) List(ctx context.Context, opts metav1.ListOptions) (*certificatesv1.PodCertificateRequestList, error) {
	return f.api.CertificatesV1().PodCertificateRequests(metav1.NamespaceAll).List(ctx, opts)
}

// Watch implements podcert.Client.
func (f forVolumes) Watch(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	return f.api.CertificatesV1().PodCertificateRequests(metav1.NamespaceAll).Watch(ctx, opts)
}

// Create implements podcert.Client.
func (f forVolumes) Create(ctx context.Context, req *certificatesv1.PodCertificateRequest) (*certificatesv1.PodCertificateRequest, error) {
	return f.api.CertificatesV1().PodCertificateRequests(req.Namespace).Create(ctx, req, metav1.CreateOptions{})
}

// ServiceAccount implements podcert.Client.
func (f forVolumes) ServiceAccount(ctx context.Context, namespace, name string) (types.UID, error) {
	account, err := f.api.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	return account.UID, nil
}

// nodeLabels are those of the node's object: anybody may add some.
func (f forVolumes) nodeLabels(ctx context.Context) (map[string]string, error) {
	node, err := f.api.CoreV1().Nodes().Get(ctx, f.node, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return node.Labels, nil
}

// Node implements podcert.Client.
func (f forVolumes) Node(ctx context.Context) (types.UID, error) {
	node, err := f.api.CoreV1().Nodes().Get(ctx, f.node, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	return node.UID, nil
}
