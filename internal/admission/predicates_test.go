package admission

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestOperatingSystem(t *testing.T) {
	const label = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"
	r := rules(t)
	labelled := func(os string) *corev1.Pod {
		return with(aPod("p"), func(p *corev1.Pod) { p.Labels = map[string]string{corev1.LabelOSStable: os} })
	}
	wantReject(t, r.Admit(labelled("windows"), true, nil, aNode()), "PodOSSelectorNodeLabelDoesNotMatch", label)
	wantReject(t, r.Admit(labelled("linux"), false, nil, aNode()), "", "")

	// What the node's label says is not believed: it is the agent that sets it.
	lies := aNode(func(n *Node) { n.Object.Labels[corev1.LabelOSStable] = "windows" })
	wantReject(t, r.Admit(labelled("linux"), false, nil, lies), "", "")
	wantReject(t, r.Admit(labelled("windows"), false, nil, lies), "PodOSSelectorNodeLabelDoesNotMatch", label)
	selects := with(aPod("p"), func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{corev1.LabelOSStable: "linux"} })
	wantReject(t, r.Admit(selects, false, nil, lies), "", "")
	if lies.Object.Labels[corev1.LabelOSStable] != "windows" {
		t.Error("the node object was changed")
	}

	field := func(os corev1.OSName) *corev1.Pod {
		return with(aPod("p"), func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: os} })
	}
	wantReject(t, r.Admit(field("windows"), false, nil, aNode()), "PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")
	wantReject(t, r.Admit(field("linux"), false, nil, aNode()), "", "")
}

func TestSupplementalGroupsPolicy(t *testing.T) {
	old := aNode(func(n *Node) { n.SupplementalGroupsPolicy = false })
	policy := func(policy corev1.SupplementalGroupsPolicy) *corev1.Pod {
		return with(aPod("p"), func(p *corev1.Pod) {
			p.Spec.SecurityContext = &corev1.PodSecurityContext{SupplementalGroupsPolicy: &policy}
		})
	}
	r := rules(t)
	wantReject(t, r.Admit(policy("Strict"), false, nil, old), "SupplementalGroupsPolicyNotSupported", "SupplementalGroupsPolicy=Strict is not supported in this node")
	wantReject(t, r.Admit(policy("Strict"), false, nil, aNode()), "", "")
	wantReject(t, r.Admit(policy("Merge"), false, nil, old), "", "")
}

func TestNodeAffinity(t *testing.T) {
	const message = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
	r := rules(t)
	selects := func(selector map[string]string) *corev1.Pod {
		return with(aPod("p"), func(p *corev1.Pod) { p.Spec.NodeSelector = selector })
	}
	requires := func(terms ...corev1.NodeSelectorTerm) *corev1.Pod {
		return with(aPod("p"), func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms},
			}}
		})
	}
	in := func(key string, op corev1.NodeSelectorOperator, values ...string) []corev1.NodeSelectorRequirement {
		return []corev1.NodeSelectorRequirement{{Key: key, Operator: op, Values: values}}
	}
	for _, c := range []struct {
		name string
		pod  *corev1.Pod
		ok   bool
	}{
		{"selector", selects(map[string]string{"disk": "ssd"}), true},
		{"wrong selector", selects(map[string]string{"disk": "tape"}), false},
		{"affinity", requires(corev1.NodeSelectorTerm{MatchExpressions: in("disk", "In", "tape", "ssd")}), true},
		{"wrong affinity", requires(corev1.NodeSelectorTerm{MatchExpressions: in("disk", "NotIn", "ssd")}), false},
		{"by name", requires(corev1.NodeSelectorTerm{MatchFields: in("metadata.name", "In", "here")}), true},
		{"by another name", requires(corev1.NodeSelectorTerm{MatchFields: in("metadata.name", "In", "there")}), false},
		{"one of two terms", requires(corev1.NodeSelectorTerm{MatchExpressions: in("disk", "Nonsense")}, corev1.NodeSelectorTerm{MatchExpressions: in("disk", "Exists")}), true},
		{"nonsense", requires(corev1.NodeSelectorTerm{MatchExpressions: in("disk", "Nonsense")}), false},
		{"no terms", requires(), false},
		{"an empty term", requires(corev1.NodeSelectorTerm{}), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			// A static pod has to be on the right node, too.
			for _, static := range []bool{false, true} {
				d := r.Admit(c.pod, static, nil, aNode())
				if c.ok {
					wantReject(t, d, "", "")
				} else {
					wantReject(t, d, "NodeAffinity", message)
				}
				if d.StaleNode == c.ok {
					t.Errorf("StaleNode is %v", d.StaleNode)
				}
			}
		})
	}
	preferred := with(aPod("p"), func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: 1, Preference: corev1.NodeSelectorTerm{MatchExpressions: in("disk", "In", "tape")}}},
		}}
	})
	wantReject(t, r.Admit(preferred, false, nil, aNode()), "", "")
}

func TestOnlyLabelsMayBeStale(t *testing.T) {
	r := rules(t)
	p := with(aPod("p"), func(p *corev1.Pod) {
		p.Spec.NodeSelector = map[string]string{"disk": "tape"}
		p.Spec.NodeName = "there"
	})
	d := r.Admit(p, false, nil, aNode())
	wantReject(t, d, "NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector")
	if d.StaleNode {
		t.Error("the name does not match either, new labels do not help")
	}
	p = with(aPod("p", "cpu", "5"), func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "tape"} })
	d = r.Admit(p, false, nil, aNode())
	wantReject(t, d, "OutOfcpu", "Node didn't have enough resource: cpu, requested: 5000, used: 0, capacity: 4000")
	if d.StaleNode {
		t.Error("it does not fit, new labels do not help")
	}
}

func TestNodeName(t *testing.T) {
	r := rules(t)
	elsewhere := with(aPod("p"), func(p *corev1.Pod) { p.Spec.NodeName = "there" })
	const message = "Predicate NodeName failed: node(s) didn't match the requested node name"
	wantReject(t, r.Admit(elsewhere, true, nil, aNode()), "NodeName", message)
	elsewhere.Spec.NodeName = ""
	wantReject(t, r.Admit(elsewhere, true, nil, aNode()), "", "")
}

func TestTaints(t *testing.T) {
	const message = "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"
	tainted := aNode(func(n *Node) {
		n.Object.Spec.Taints = []corev1.Taint{
			{Key: "no-new-pods", Effect: corev1.TaintEffectNoSchedule},
			{Key: "load", Value: "7", Effect: corev1.TaintEffectNoExecute},
		}
	})
	tolerates := func(tolerations ...corev1.Toleration) *corev1.Pod {
		return with(aPod("p"), func(p *corev1.Pod) { p.Spec.Tolerations = tolerations })
	}
	r := rules(t)
	for _, c := range []struct {
		name string
		pod  *corev1.Pod
		ok   bool
	}{
		{"nothing", tolerates(), false},
		{"everything", tolerates(corev1.Toleration{Operator: corev1.TolerationOpExists}), true},
		{"the value", tolerates(corev1.Toleration{Key: "load", Value: "7", Effect: corev1.TaintEffectNoExecute}), true},
		{"another value", tolerates(corev1.Toleration{Key: "load", Value: "8"}), false},
		{"another effect", tolerates(corev1.Toleration{Key: "load", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}), false},
		{"a comparison", tolerates(corev1.Toleration{Key: "load", Operator: corev1.TolerationOpLt, Value: "9"}), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := r.Admit(c.pod, false, nil, tainted)
			if c.ok {
				wantReject(t, d, "", "")
			} else {
				wantReject(t, d, "TaintToleration", message)
			}
			wantReject(t, r.Admit(c.pod, true, nil, tainted), "", "")
		})
	}
	// A critical pod that is not static has to tolerate them.
	wantReject(t, r.Admit(important(aPod("p", "cpu", "100"), criticalPriority), false, nil, tainted), "TaintToleration", message)
}

func TestAnUnknownNode(t *testing.T) {
	r := rules(t)
	p := with(aPod("p"), func(p *corev1.Pod) {
		p.Spec.NodeSelector = map[string]string{"disk": "tape"}
		p.Labels = map[string]string{corev1.LabelOSStable: "windows"}
	})
	wantReject(t, r.Admit(p, false, nil, Node{Name: "here"}), "InvalidNodeInfo", "Kubelet cannot get node info.")
	standalone := Node{Name: "here", Allocatable: res("pods", "1")}
	wantReject(t, r.Admit(p, false, nil, standalone), "", "")
	p.Spec.NodeName = "there"
	wantReject(t, r.Admit(p, false, nil, standalone), "NodeName", "Predicate NodeName failed: node(s) didn't match the requested node name")
	// A node that has not said yet what it has, has nothing.
	blank := aNode(func(n *Node) { n.Object.Status.Allocatable = nil })
	wantReject(t, r.Admit(aPod("p"), false, nil, blank), "OutOfpods", "Node didn't have enough resource: pods, requested: 1, used: 0, capacity: 0")
	// What the agent counts itself comes before what the object says.
	blank.Allocatable = res("pods", "1")
	wantReject(t, r.Admit(aPod("p"), false, nil, blank), "", "")
}

func TestNodePorts(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	port := func(ip string, protocol corev1.Protocol, number int32) corev1.ContainerPort {
		return corev1.ContainerPort{HostIP: ip, Protocol: protocol, HostPort: number}
	}
	regular := func(name string, ports ...corev1.ContainerPort) *corev1.Pod {
		return with(aPod(name), func(p *corev1.Pod) { p.Spec.Containers[0].Ports = ports })
	}
	initial := func(policy *corev1.ContainerRestartPolicy, ports ...corev1.ContainerPort) *corev1.Pod {
		return with(aPod("init"), func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "i", Ports: ports, RestartPolicy: policy}}
		})
	}
	r := rules(t)
	for _, c := range []struct {
		name    string
		p, have *corev1.Pod
		taken   bool
	}{
		{"the same", regular("p", port("", "TCP", 80)), regular("o", port("", "TCP", 80)), true},
		{"the protocol is TCP if there is none", regular("p", port("", "", 80)), regular("o", port("0.0.0.0", "TCP", 80)), true},
		{"another port", regular("p", port("", "TCP", 80)), regular("o", port("", "TCP", 81)), false},
		{"another protocol", regular("p", port("", "TCP", 80)), regular("o", port("", "UDP", 80)), false},
		{"another address", regular("p", port("10.0.0.1", "TCP", 80)), regular("o", port("10.0.0.2", "TCP", 80)), false},
		{"the same address", regular("p", port("10.0.0.1", "TCP", 80)), regular("o", port("10.0.0.1", "TCP", 80)), true},
		{"all addresses are wanted", regular("p", port("0.0.0.0", "SCTP", 80)), regular("o", port("10.0.0.2", "SCTP", 80)), true},
		{"all addresses are taken", regular("p", port("10.0.0.1", "TCP", 80)), regular("o", port("", "TCP", 80)), true},
		{"this spelling is one address", regular("p", port("::", "TCP", 80)), regular("o", port("10.0.0.1", "TCP", 80)), false},
		{"no port of the node", regular("p", port("", "TCP", 0)), regular("o", port("", "TCP", 0)), false},
		{"twice in one pod", regular("p", port("", "TCP", 80), port("", "TCP", 80)), regular("o", port("", "TCP", 81)), false},
		{"a sidecar's", regular("p", port("", "TCP", 80)), initial(&always, port("", "TCP", 80)), true},
		{"an init container's", regular("p", port("", "TCP", 80)), initial(nil, port("", "TCP", 80)), false},
		{"the pod itself", regular("p", port("", "TCP", 80)), regular("p", port("", "TCP", 80)), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := r.Admit(c.p, false, tenants(r, []*corev1.Pod{aPod("bystander"), c.have}), aNode())
			if c.taken {
				wantReject(t, d, "NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports")
				d = r.Admit(c.p, true, tenants(r, []*corev1.Pod{c.have}), aNode())
				wantReject(t, d, "NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports")
			} else {
				wantReject(t, d, "", "")
			}
		})
	}
}
