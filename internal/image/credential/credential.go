package credential

import (
	"encoding/json"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Credential is one way to authenticate at a registry. Printing or marshalling
// it shows its source only.
type Credential struct {
	// Auth is what the runtime is given: a user and a password. Both may be
	// empty, as they may be for the kubelet.
	Auth pod.RegistryAuth
	// Source is where it came from.
	Source Source
}

// Source says where a credential came from; exactly one field is set. The
// records about pulled images keep it.
type Source struct {
	// Secret is a pull secret of the pod.
	Secret *SecretSource
	// ServiceAccount is the account whose token a provider was given.
	ServiceAccount *ServiceAccountSource
	// Node means every pod of the node may use it: it is from a file of the
	// node, or from a provider that was given no token.
	Node bool
}

// SecretSource is an entry of a pull secret.
type SecretSource struct {
	UID             types.UID
	Namespace, Name string
	// Hash stands for the entry's content, equal to the kubelet's
	// credentialHash in ImagePulledRecord.
	Hash string
}

// ServiceAccountSource is a service account.
type ServiceAccountSource struct {
	UID             types.UID
	Namespace, Name string
}

// String names the source, without anything secret.
func (s Source) String() string {
	switch {
	case s.Secret != nil:
		return fmt.Sprintf("secret %s/%s", s.Secret.Namespace, s.Secret.Name)
	case s.ServiceAccount != nil:
		return fmt.Sprintf("service account %s/%s", s.ServiceAccount.Namespace, s.ServiceAccount.Name)
	case s.Node:
		return "node"
	}
	return "nowhere"
}

// String names the credential's source.
func (c Credential) String() string { return "credential of " + c.Source.String() }

// Format keeps the password out of every verb of package fmt.
func (c Credential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// MarshalJSON keeps the password out of structured logs.
func (c Credential) MarshalJSON() ([]byte, error) { return json.Marshal(c.String()) }
