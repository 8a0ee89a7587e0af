package node

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

const (
	annotationAttachDetach = "volumes.kubernetes.io/controller-managed-attach-detach"
	annotationProvidedIP   = "alpha.kubernetes.io/provided-node-ip"
	taintUninitialized     = "node.cloudprovider.kubernetes.io/uninitialized"
	labelBetaOS            = "beta.kubernetes.io/os"
	labelBetaArch          = "beta.kubernetes.io/arch"
	// maxImageNames is how many names of one image are posted.
	maxImageNames = 5
)

// Result is what Build decided.
type Result struct {
	// Node is the prior Node with everything of ours brought up to date.
	Node *corev1.Node
	// Events are to be recorded once Node is posted.
	Events []Event
	// Problems are what could not be determined, for the log.
	Problems []string
}

// Ready reports whether the node was found ready.
func (r Result) Ready() bool {
	c := findCondition(r.Node.Status.Conditions, corev1.NodeReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

// Build works out the Node from the facts. A nil prior means that the Node is
// to be created: only then the configured labels and taints are set. Labels,
// annotations, resources and conditions of others are left alone.
func Build(cfg *Config, f Facts, prior *corev1.Node, now time.Time) Result {
	r := Result{}
	if prior == nil {
		r.Node = newNode(cfg, f)
	} else {
		r.Node = prior.DeepCopy()
		assertLabels(r.Node, f)
	}
	buildAddresses(&r, cfg, f.Network)
	buildResources(&r, cfg, f.Machine)
	buildInfo(&r, cfg, f)
	status := &r.Node.Status
	status.DaemonEndpoints.KubeletEndpoint.Port = cfg.Port
	status.Images = images(f.Images, cfg.MaxImages)
	if f.Runtime.Info != nil {
		status.RuntimeHandlers = runtimeHandlers(f.Runtime.Info.Handlers)
		status.Features = &corev1.NodeFeatures{SupplementalGroupsPolicy: new(f.Runtime.Info.SupplementalGroupsPolicy)}
	}
	status.DeclaredFeatures = slices.Sorted(slices.Values(cfg.DeclaredFeatures))
	buildConditions(&r, f, metav1.NewTime(now))
	return r
}

// newNode is the object before it has a status.
func newNode(cfg *Config, f Facts) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: cfg.Name, Labels: defaultLabels(cfg, f)}}
	maps.Copy(n.Labels, cfg.Labels)
	n.Spec.ProviderID = cfg.ProviderID
	n.Spec.Taints = slices.Clone(cfg.Taints)
	if cfg.ExternalCloud {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: taintUninitialized, Value: "true", Effect: corev1.TaintEffectNoSchedule})
	}
	if cfg.AttachDetach {
		n.Annotations = map[string]string{annotationAttachDetach: "true"}
	}
	return n
}

func defaultLabels(cfg *Config, f Facts) map[string]string {
	return map[string]string{
		corev1.LabelHostname:   cfg.Hostname,
		corev1.LabelOSStable:   f.Machine.OperatingSystem,
		corev1.LabelArchStable: f.Machine.Architecture,
		labelBetaOS:            f.Machine.OperatingSystem,
		labelBetaArch:          f.Machine.Architecture,
	}
}

// assertLabels restores what the scheduler cannot do without.
func assertLabels(n *corev1.Node, f Facts) {
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	n.Labels[corev1.LabelOSStable] = f.Machine.OperatingSystem
	n.Labels[corev1.LabelArchStable] = f.Machine.Architecture
}

// Reconcile adopts a Node that exists when the agent starts: it brings the
// labels and annotations that belong to the agent up to date.
func Reconcile(cfg *Config, f Facts, existing *corev1.Node) *corev1.Node {
	n := existing.DeepCopy()
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	want := newNode(cfg, f)
	for _, key := range reconciledLabels() {
		value, set := want.Labels[key]
		switch {
		case !set:
		case value == "":
			delete(n.Labels, key)
		default:
			n.Labels[key] = value
		}
	}
	value, set := want.Annotations[annotationAttachDetach]
	switch {
	case !set:
		delete(n.Annotations, annotationAttachDetach)
	case n.Annotations == nil:
		n.Annotations = map[string]string{annotationAttachDetach: value}
	default:
		n.Annotations[annotationAttachDetach] = value
	}
	return n
}

// reconciledLabels are the labels that a restarted agent corrects; all others
// are only set when the Node is created.
func reconciledLabels() []string {
	return []string{
		corev1.LabelHostname, corev1.LabelOSStable, corev1.LabelArchStable, labelBetaOS, labelBetaArch,
		corev1.LabelTopologyZone, corev1.LabelTopologyRegion,
		corev1.LabelFailureDomainBetaZone, corev1.LabelFailureDomainBetaRegion,
		corev1.LabelInstanceTypeStable, corev1.LabelInstanceType,
	}
}

func buildInfo(r *Result, cfg *Config, f Facts) {
	info, m := &r.Node.Status.NodeInfo, f.Machine
	if info.BootID != "" && m.BootID != "" && info.BootID != m.BootID {
		r.Events = append(r.Events, Event{Type: corev1.EventTypeWarning, Reason: "Rebooted",
			Message: fmt.Sprintf("Node %s has been rebooted, boot id: %s", cfg.Name, m.BootID)})
	}
	for _, set := range []struct {
		field *string
		value string
	}{
		{&info.MachineID, m.MachineID},
		{&info.SystemUUID, m.SystemUUID},
		{&info.BootID, m.BootID},
		{&info.KernelVersion, m.KernelVersion},
		{&info.OSImage, m.OSImage},
		{&info.OperatingSystem, m.OperatingSystem},
		{&info.Architecture, m.Architecture},
		{&info.KubeletVersion, cfg.Version},
	} {
		if set.value != "" { // a fact that could not be read this time keeps its value
			*set.field = set.value
		}
	}
	info.KubeProxyVersion = "" //nolint:staticcheck // deprecated, hence cleared where an older agent set it
	if rt := f.Runtime.Info; rt != nil {
		info.ContainerRuntimeVersion = rt.Name + "://" + cmp.Or(rt.Version, "Unknown")
	}
	info.Swap = nil
	if m.SwapBytes > 0 {
		info.Swap = &corev1.NodeSwapStatus{Capacity: new(m.SwapBytes)}
	}
	info.RunningInUserNamespace = m.UserNamespace
}

// images are the largest images first; the scheduler likes nodes that have them.
func images(all []corev1.ContainerImage, limit int32) []corev1.ContainerImage {
	if len(all) == 0 {
		return nil
	}
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b corev1.ContainerImage) int {
		return cmp.Or(cmp.Compare(b.SizeBytes, a.SizeBytes), strings.Compare(strings.Join(a.Names, ","), strings.Join(b.Names, ",")))
	})
	if limit >= 0 {
		all = all[:min(len(all), int(limit))]
	}
	for i := range all {
		all[i].Names = all[i].Names[:min(len(all[i].Names), maxImageNames)]
	}
	return all
}

func runtimeHandlers(handlers []pod.RuntimeHandler) []corev1.NodeRuntimeHandler {
	handlers = slices.Clone(handlers)
	slices.SortFunc(handlers, func(a, b pod.RuntimeHandler) int { return strings.Compare(a.Name, b.Name) })
	list := make([]corev1.NodeRuntimeHandler, 0, len(handlers))
	for _, h := range handlers {
		list = append(list, corev1.NodeRuntimeHandler{Name: h.Name, Features: &corev1.NodeRuntimeHandlerFeatures{
			RecursiveReadOnlyMounts: new(h.RecursiveReadOnlyMounts),
			UserNamespaces:          new(h.UserNamespaces),
		}})
	}
	return list
}
