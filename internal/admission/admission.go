package admission

import (
	"cmp"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/version"
)

// Reasons of rejections, as users find them in status.reason. A pod that does
// not fit gets "OutOf" and the name of the resource (see [Shortage.Reason]).
const (
	ReasonSysctlForbidden       = "SysctlForbidden"
	ReasonInvalidNodeInfo       = "InvalidNodeInfo"
	ReasonOSLabel               = "PodOSSelectorNodeLabelDoesNotMatch"
	ReasonOSField               = "PodOSNotSupported"
	ReasonSupplementalGroups    = "SupplementalGroupsPolicyNotSupported"
	ReasonNodeAffinity          = "NodeAffinity"
	ReasonNodeName              = "NodeName"
	ReasonNodePorts             = "NodePorts"
	ReasonTaintToleration       = "TaintToleration"
	ReasonUnexpected            = "UnexpectedAdmissionError"
	ReasonAppArmor              = "AppArmor"
	ReasonPodLevelResources     = "PodLevelResourcesNotSupported"
	ReasonPodFeatureUnsupported = "PodFeatureUnsupported"
)

// What users read of a pod that had to make room for a critical one: its phase
// is Failed, with this reason and message, and its condition DisruptionTarget is
// true with reason TerminationByKubelet and the third text. The event has the
// reason and the message, too. The pod's own grace period applies.
const (
	PreemptReason            = "Preempting"
	PreemptMessage           = "Preempted in order to admit critical pod"
	PreemptDisruptionMessage = "Pod was preempted by Kubelet to accommodate a critical pod."
)

const rejected = "Pod was rejected: "

// Features are the feature gates that the rules depend on.
type Features struct {
	PodLevelResources                       bool
	InPlacePodLevelResourcesVerticalScaling bool
	DRANodeAllocatableResources             bool
	TaintTolerationComparisonOperators      bool
}

// DefaultFeatures is how the gates are in Kubernetes 1.37 when nobody sets them.
func DefaultFeatures() Features {
	return Features{PodLevelResources: true, InPlacePodLevelResourcesVerticalScaling: true}
}

// Config is what does not change while the agent runs.
type Config struct {
	// AllowedUnsafeSysctls are names, or prefixes that end in "*", as in the field
	// allowedUnsafeSysctls of KubeletConfiguration.
	AllowedUnsafeSysctls []string
	// KernelVersion is the kernel's release, as uname has it. It decides which
	// sysctls are safe; one that can not be read leaves those that always were.
	KernelVersion string
	// AppArmor is set when the kernel has it and it is on.
	AppArmor bool
	// Version is the Kubernetes version that the node presents ("v1.37.1").
	Version string
	// Features are the feature gates.
	Features Features
}

// Node is what is known of the node at the moment.
type Node struct {
	// Object is the node as the API server has it. An agent without one passes the
	// object that it would register. Nil: labels and taints are not known, and the
	// rules that need them let the pod pass.
	Object *corev1.Node
	// Name stands in for the object's name when there is no object.
	Name string
	// Allocatable is what pods may have. Nil: what Object says. With neither,
	// every pod is refused with InvalidNodeInfo.
	Allocatable corev1.ResourceList
	// SupplementalGroupsPolicy is set when the runtime supports it.
	SupplementalGroupsPolicy bool
	// DeclaredFeatures are the features that the agent itself declares for the
	// node: the object may still have those of an agent before it.
	DeclaredFeatures []string
}

// Rejection is why a pod is refused.
type Rejection struct {
	// Reason goes to status.reason, and is the reason of the event.
	Reason string
	// Message goes to status.message.
	Message string
}

// Event is the text of the event, which the kubelet begins differently from
// status.message.
func (r Rejection) Event() string { return strings.TrimPrefix(r.Message, rejected) }

// Decision is what is to be done with a pod.
type Decision struct {
	// Reject is set when the pod is refused: it fails, and never starts.
	Reject *Rejection
	// Preempt are the pods that have to be gone before the pod may start, those
	// that matter least first. It is empty when the pod is refused.
	Preempt []*corev1.Pod
	// Short is the resource for which they have to go, the first of several.
	Short corev1.ResourceName
	// StaleNode is set when nothing but the node's labels speaks against the pod.
	// They may be newer than what we know: read the node from the API server and
	// ask once more before the pod is refused.
	StaleNode bool
}

// Rules are the rules of one node. They hold no state and may be shared.
type Rules struct {
	sysctls  sysctls
	appArmor bool
	version  *version.Version
	features Features
}

// New checks the configuration. It fails for a sysctl pattern that the kubelet
// does not start with, and for a version that is none.
func New(cfg Config) (*Rules, error) {
	allowed, err := allowSysctls(cfg.KernelVersion, cfg.AllowedUnsafeSysctls)
	if err != nil {
		return nil, err
	}
	v, err := version.Parse(cfg.Version)
	if err != nil {
		return nil, fmt.Errorf("reading the node's Kubernetes version %q, which pods' needs are compared with: %w; it has to look like v1.37.1", cfg.Version, err)
	}
	return &Rules{sysctls: allowed, appArmor: cfg.AppArmor, version: v, features: cfg.Features}, nil
}

// Admit decides about a pod. static says that it comes from a manifest on the
// node. others are the pods that were admitted and have not ended; the pod itself may
// be among them. Nothing that is passed is changed.
//
// The first rule that speaks against the pod names the reason. Unlike the
// kubelet, nobody is preempted for a pod that a later rule refuses.
func (r *Rules) Admit(p *corev1.Pod, static bool, others []*Tenant, node Node) Decision {
	if no := r.sysctls.check(p); no != nil {
		return Decision{Reject: no}
	}
	others = without(p, others)
	p = tame(p)
	d := r.predicates(p, static, others, node)
	if d.Reject != nil {
		return d
	}
	if no := cmp.Or(r.checkAppArmor(p), r.checkPodFeatures(p), r.checkDeclaredFeatures(p, node)); no != nil {
		return Decision{Reject: no}
	}
	return d
}

func reject(reason, message string) *Rejection {
	return &Rejection{Reason: reason, Message: rejected + message}
}
