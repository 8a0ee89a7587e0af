package certificate

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// kubeconfig is what a kubeconfig's current context says.
type kubeconfig struct {
	// rest has the server and every credential but the client certificate. Its
	// CA is data, not a file.
	rest *rest.Config
	// pair is the client certificate; pairErr is why there is none although
	// one is named.
	pair    *tls.Certificate
	pairErr error
	// certPEM and keyPEM are the pair if it is part of the file; certFile and
	// keyFile are where it is if it is not.
	certPEM, keyPEM   []byte
	certFile, keyFile string
	// caFile is where the CA was read, "" if it is part of the file.
	caFile string
	// digest changes when the file or the CA does.
	digest [sha256.Size]byte
}

// loadKubeconfig reads a kubeconfig and the files it names.
func loadKubeconfig(path string) (*kubeconfig, error) {
	raw, err := readFile(path)
	if err != nil {
		return nil, err
	}
	all, err := clientcmd.Load(raw)
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig %s: %w", path, err)
	}
	cluster, user, err := inUse(all, path)
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig %s: %w", path, err)
	}
	k := &kubeconfig{certPEM: user.ClientCertificateData, keyPEM: user.ClientKeyData}
	if len(user.ClientCertificateData) == 0 {
		k.certFile = user.ClientCertificate
	}
	if len(user.ClientKeyData) == 0 {
		k.keyFile = user.ClientKey
	}
	user.ClientCertificate, user.ClientKey, user.ClientCertificateData, user.ClientKeyData = "", "", nil, nil
	if len(cluster.CertificateAuthorityData) == 0 && cluster.CertificateAuthority != "" {
		k.caFile = cluster.CertificateAuthority
		if cluster.CertificateAuthorityData, err = readFile(k.caFile); err != nil {
			return nil, fmt.Errorf("reading the CA that the kubeconfig %s names: %w", path, err)
		}
		cluster.CertificateAuthority = ""
	}
	k.rest, err = clientcmd.NewNonInteractiveClientConfig(*all, all.CurrentContext, &clientcmd.ConfigOverrides{}, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig %s: %w", path, err)
	}
	k.digest = sha256.Sum256(append(append([]byte(nil), raw...), cluster.CertificateAuthorityData...))
	k.readPair()
	return k, nil
}

// inUse returns the cluster and the user of the current context. Relative paths
// in them are made absolute.
func inUse(all *clientcmdapi.Config, path string) (*clientcmdapi.Cluster, *clientcmdapi.AuthInfo, error) {
	for _, c := range all.Clusters {
		c.LocationOfOrigin = path
	}
	for _, u := range all.AuthInfos {
		u.LocationOfOrigin = path
	}
	if err := clientcmd.ResolveLocalPaths(all); err != nil {
		return nil, nil, err
	}
	context := all.Contexts[all.CurrentContext]
	if context == nil {
		return nil, nil, fmt.Errorf("its current-context %q is not one of its contexts", all.CurrentContext)
	}
	cluster, user := all.Clusters[context.Cluster], all.AuthInfos[context.AuthInfo]
	if cluster == nil || cluster.Server == "" {
		return nil, nil, fmt.Errorf("the cluster %q of its current context has no server", context.Cluster)
	}
	if user == nil {
		user = &clientcmdapi.AuthInfo{}
	}
	return cluster, user, nil
}

// readPair reads the client certificate, if one is named.
func (k *kubeconfig) readPair() {
	if len(k.certPEM) == 0 && len(k.keyPEM) == 0 && k.certFile == "" && k.keyFile == "" {
		return
	}
	cert, key := k.certPEM, k.keyPEM
	var errs [2]error
	if len(cert) == 0 {
		cert, errs[0] = readFile(k.certFile)
	}
	if len(key) == 0 {
		key, errs[1] = readFile(k.keyFile)
	}
	if k.pairErr = errors.Join(errs[0], errs[1]); k.pairErr == nil {
		k.pair, k.pairErr = parsePair(cert, key)
	}
}

// server is the kubeconfig without any credential.
func (k *kubeconfig) server() *kubeconfig {
	return &kubeconfig{rest: rest.AnonymousClientConfig(k.rest), caFile: k.caFile, digest: k.digest}
}

// otherwise reports whether there is a credential that is no certificate.
func (k *kubeconfig) otherwise() bool {
	c := k.rest
	return c.BearerToken != "" || c.BearerTokenFile != "" || c.Username != "" || c.ExecProvider != nil || c.AuthProvider != nil
}

// derived is the kubeconfig that the kubelet makes from a bootstrap kubeconfig:
// the same cluster, and a user whose certificate and key are in one file.
func (k *kubeconfig) derived(pemPath string) ([]byte, error) {
	cluster := &clientcmdapi.Cluster{Server: k.rest.Host, InsecureSkipTLSVerify: k.rest.Insecure, CertificateAuthority: k.caFile}
	if k.caFile == "" {
		cluster.CertificateAuthorityData = k.rest.CAData
	}
	return clientcmd.Write(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"default-cluster": cluster},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"default-auth": {ClientCertificate: pemPath, ClientKey: pemPath}},
		Contexts:       map[string]*clientcmdapi.Context{"default-context": {Cluster: "default-cluster", AuthInfo: "default-auth", Namespace: "default"}},
		CurrentContext: "default-context",
	})
}
