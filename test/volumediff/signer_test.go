//go:build e2e

package volumediff

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// The signers that pods of testdata name.
const (
	signs  = "volumes.test/signer"
	denies = "volumes.test/denies"
)

// authority answers requests for pods' certificates.
type authority struct {
	client kubernetes.Interface
	key    *ecdsa.PrivateKey
	cert   *x509.Certificate
}

// sign answers requests until the context ends.
func sign(ctx context.Context, t *testing.T, client kubernetes.Interface) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	bedtest.Must(t, "making the key of a signer", err)
	a := &authority{client: client, key: key, cert: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "signer of volumediff"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}}
	factory := informers.NewSharedInformerFactory(client, 0)
	informer := factory.Certificates().V1().PodCertificateRequests().Informer()
	_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(object any) {
		request := object.(*certificatesv1.PodCertificateRequest).DeepCopy()
		if err := a.answer(ctx, request); err != nil && ctx.Err() == nil {
			t.Errorf("answering the request for a certificate of pod %s: %v", request.Spec.PodName, err)
		}
	}})
	bedtest.Must(t, "watching for requests", err)
	factory.Start(ctx.Done())
	t.Cleanup(factory.Shutdown)
	factory.WaitForCacheSync(ctx.Done())
}

// answer issues or denies.
func (a *authority) answer(ctx context.Context, request *certificatesv1.PodCertificateRequest) error {
	condition := metav1.Condition{
		Type: certificatesv1.PodCertificateRequestConditionTypeIssued, Status: metav1.ConditionTrue,
		Reason: "Signed", Message: "as asked for", LastTransitionTime: metav1.Now(),
	}
	switch request.Spec.SignerName {
	case signs:
		if err := a.issue(request); err != nil {
			return err
		}
	case denies:
		condition.Type, condition.Reason = certificatesv1.PodCertificateRequestConditionTypeDenied, "Never"
		condition.Message = "this signer denies everything"
	default:
		return nil
	}
	request.Status.Conditions = []metav1.Condition{condition}
	_, err := a.client.CertificatesV1().PodCertificateRequests(request.Namespace).UpdateStatus(ctx, request, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

func (a *authority) issue(request *certificatesv1.PodCertificateRequest) error {
	csr, err := x509.ParseCertificateRequest(request.Spec.StubPKCS10Request)
	if err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	begin := time.Now().Truncate(time.Second)
	end := begin.Add(time.Duration(*request.Spec.MaxExpirationSeconds) * time.Second)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(begin.UnixNano()), Subject: pkix.Name{CommonName: request.Spec.PodName},
		NotBefore: begin, NotAfter: end, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, a.cert, csr.PublicKey, a.key)
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	request.Status.CertificateChain = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	request.Status.NotBefore, request.Status.NotAfter = &metav1.Time{Time: begin}, &metav1.Time{Time: end}
	request.Status.BeginRefreshAt = &metav1.Time{Time: end.Add(-10 * time.Minute)}
	return nil
}
