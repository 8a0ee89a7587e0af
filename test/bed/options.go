package bed

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"time"
)

// The agents a bed can run.
const (
	// Nodeagent is the agent of this checkout.
	Nodeagent = "nodeagent"
	// Kubelet is the upstream agent, to compare with.
	Kubelet = "kubelet"
	// NoAgent leaves the node without an agent.
	NoAgent = "none"
)

// Environment variables that change where things come from and go to.
const (
	// BinEnv names a nodeagent program to use instead of building one.
	BinEnv = "NODEAGENT_BIN"
	// AgentEnv is the agent of beds whose options name none.
	AgentEnv = "NODEAGENT_BED_AGENT"
	// LogsEnv is the folder that takes the logs of failed tests.
	LogsEnv = "NODEAGENT_BED_LOGS"
	// BaseEnv is the folder of all beds; keep it short and on a disk.
	BaseEnv = "NODEAGENT_BED_DIR_BASE"
)

// Options say what a bed consists of. The zero value is a whole cluster of one
// node with nodeagent.
type Options struct {
	// Name is unique on the machine; empty takes a random one.
	Name string
	// Agent is Nodeagent, Kubelet or NoAgent; empty means NODEAGENT_BED_AGENT,
	// else Nodeagent.
	Agent string
	// Standalone leaves out the control plane: the agent gets no kubeconfig
	// and reads manifests only.
	Standalone bool
	// NodeName is the node's name; empty means "node-" and the bed's name.
	NodeName string
	// KubeletConfig changes the KubeletConfiguration before it is written.
	KubeletConfig func(config map[string]any)
	// AgentArgs are more flags for the agent.
	AgentArgs []string
	// AgentEnv are more environment variables for the agent, like "A=b".
	AgentEnv []string
	// APIServerArgs are more flags for kube-apiserver.
	APIServerArgs []string
	// ControllerManagerArgs are more flags for kube-controller-manager.
	ControllerManagerArgs []string
	// Agnhost imports the agnhost image too.
	Agnhost bool
	// UsualSocket lets the agent find the runtime's socket at
	// /run/containerd/containerd.sock, the only place where the upstream
	// kubelet's cAdvisor looks for it: without it, its /metrics/cadvisor and
	// /stats/summary know containers by their cgroups only.
	UsualSocket bool
	// NoRuntime leaves out containerd and the images. The bed starts without an
	// agent; before one is put there (Bed.SwitchAgent), somebody has to serve CRI
	// at Bed.CRISocket.
	NoRuntime bool
	// AuditLog makes kube-apiserver log every request, see Bed.AuditLogPath.
	AuditLog bool
	// NoWait returns without waiting for the agent to be healthy and the node
	// to be ready.
	NoWait bool
	// Output takes lines of progress; nil means none, in tests stderr when
	// something has to be built.
	Output io.Writer
	// StartTimeout bounds the start without building; 0 means two minutes.
	StartTimeout time.Duration

	temporary bool // nobody knows the name
}

// names are short since paths of sockets are limited to 108 bytes.
var validName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?$`)

func (o Options) withDefaults() (Options, error) {
	if o.Name == "" {
		random := make([]byte, 4)
		_, _ = rand.Read(random) // never fails
		o.temporary = true
		o.Name = "t" + hex.EncodeToString(random)
	}
	if !validName.MatchString(o.Name) {
		return o, fmt.Errorf("bed name %q: use at most 20 of a-z, 0-9 and inner dashes", o.Name)
	}
	if o.Agent == "" {
		o.Agent = os.Getenv(AgentEnv)
	}
	if o.Agent == "" {
		o.Agent = Nodeagent
	}
	if !slices.Contains([]string{Nodeagent, Kubelet, NoAgent}, o.Agent) {
		return o, fmt.Errorf("agent %q: known are %s, %s and %s", o.Agent, Nodeagent, Kubelet, NoAgent)
	}
	if o.NoRuntime && o.Agent != NoAgent {
		return o, fmt.Errorf("a bed without a runtime starts without an agent, not with %s", o.Agent)
	}
	if o.NodeName == "" {
		o.NodeName = "node-" + o.Name
	}
	if o.StartTimeout == 0 {
		o.StartTimeout = 2 * time.Minute
	}
	return o, nil
}
