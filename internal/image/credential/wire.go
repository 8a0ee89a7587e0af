package credential

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	metajson "k8s.io/apimachinery/pkg/runtime/serializer/json"
	configv1 "k8s.io/kubelet/config/v1"
	configv1alpha1 "k8s.io/kubelet/config/v1alpha1"
	configv1beta1 "k8s.io/kubelet/config/v1beta1"
	api "k8s.io/kubelet/pkg/apis/credentialprovider"
	"k8s.io/kubelet/pkg/apis/credentialprovider/install"
	apiv1 "k8s.io/kubelet/pkg/apis/credentialprovider/v1"
	apiv1alpha1 "k8s.io/kubelet/pkg/apis/credentialprovider/v1alpha1"
	apiv1beta1 "k8s.io/kubelet/pkg/apis/credentialprovider/v1beta1"
)

// versions are the API versions spoken with providers, newest first.
func versions() []string {
	return []string{
		apiv1.SchemeGroupVersion.String(), apiv1beta1.SchemeGroupVersion.String(), apiv1alpha1.SchemeGroupVersion.String(),
	}
}

// wire decodes configurations and answers, strictly: an unknown or repeated field
// is an error, as for the kubelet.
type wire struct{ codecs serializer.CodecFactory }

func newWire() (*wire, error) {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	for _, add := range []func(*runtime.Scheme) error{configv1.AddToScheme, configv1beta1.AddToScheme, configv1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	return &wire{codecs: serializer.NewCodecFactory(scheme, serializer.EnableStrict)}, nil
}

// request encodes what a provider reads. All versions have the same fields; what
// is new in v1 is only set for v1.
func (w *wire) request(apiVersion, repository string, id identity) ([]byte, error) {
	r := apiv1.CredentialProviderRequest{Image: repository, ServiceAccountToken: id.token, ServiceAccountAnnotations: id.annotations}
	r.APIVersion, r.Kind = apiVersion, "CredentialProviderRequest"
	return json.Marshal(r)
}

// reply decodes what a provider wrote. Its errors show nothing of it.
func (w *wire) reply(apiVersion string, data []byte) (*api.CredentialProviderResponse, error) {
	if len(data) == 0 {
		return nil, errors.New("it answered nothing on its standard output")
	}
	gvk, err := metajson.DefaultMetaFactory.Interpret(data)
	if err != nil {
		return nil, errors.New("its answer is not a JSON object with kind and apiVersion")
	}
	if got := gvk.GroupVersion().String(); got != apiVersion {
		return nil, fmt.Errorf("its answer has another apiVersion%s than %s, which it was asked in", known(got, versions()...), apiVersion)
	}
	obj, _, err := w.codecs.UniversalDecoder().Decode(data, nil, nil)
	if err != nil {
		return nil, errors.New("its answer is no CredentialProviderResponse: a field is unknown, repeated or of the wrong type, or the kind is another")
	}
	response, ok := obj.(*api.CredentialProviderResponse)
	if !ok {
		return nil, fmt.Errorf("its answer is a %T, not a CredentialProviderResponse", obj)
	}
	switch response.CacheKeyType {
	case api.ImagePluginCacheKeyType, api.RegistryPluginCacheKeyType, api.GlobalPluginCacheKeyType:
		return response, nil
	}
	return nil, errors.New("its answer has no valid cacheKeyType: it must be Image, Registry or Global")
}

// known shows a value from outside only when it is one of ours.
func known(got string, ours ...string) string {
	if slices.Contains(ours, got) {
		return " (" + got + ")"
	}
	return ""
}
