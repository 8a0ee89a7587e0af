package admission

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// fuzzCase is what a fuzzed document may hold.
type fuzzCase struct {
	Pod      corev1.Pod
	Others   []corev1.Pod
	Static   bool
	AppArmor bool
	Unsafe   []string
	Node     struct {
		Object      *corev1.Node
		Allocatable corev1.ResourceList
		Declared    []string
	}
}

func FuzzAdmit(f *testing.F) {
	for _, seed := range []string{
		`{"Pod":{"spec":{"containers":[{"resources":{"requests":{"cpu":"9223372036854775807","memory":"-1"}}}]}},"Others":[{"spec":{"containers":[{"resources":{"requests":{"cpu":"1e18","memory":"9E"}}}]}},{}],"Static":true,"Node":{"Allocatable":{"pods":"1","cpu":"-4","memory":"8E"}}}`,
		`{"Pod":{"spec":{"containers":[{"ports":[{"hostPort":80},{"hostPort":-1,"hostIP":"::"}]}]}},"Others":[{"spec":{"initContainers":[{"restartPolicy":"Always","ports":[{"hostPort":80,"protocol":"TCP","hostIP":"1.2.3.4"}]}]}}],"Node":{"Object":{"status":{"allocatable":{"pods":"10"}}}}}`,
		`{"Pod":{"spec":{"securityContext":{"sysctls":[{"name":"net/core.x"}],"appArmorProfile":{"type":"Localhost"},"supplementalGroupsPolicy":"Strict"},"os":{"name":"linux"}}},"Unsafe":["net.*","kernel.msg*"],"AppArmor":true,"Node":{"Object":{"metadata":{"labels":{"a":"b"}},"spec":{"taints":[{"effect":"NoExecute"}]},"status":{"allocatable":{"pods":"10"}}}}}`,
		`{"Pod":{"spec":{"priority":2000000001,"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"","operator":"Gt","values":["x"]}],"matchFields":[{"key":"metadata.name","operator":"In","values":["n"]}]}]}}},"tolerations":[{"operator":"Lt","value":"9"}]}},"Node":{"Object":{"metadata":{"name":"n"},"spec":{"taints":[{"effect":"NoExecute","value":"1"}]}},"Allocatable":{"pods":"1"}}}`,
		`{"Pod":{"spec":{"containers":[{"resources":{"requests":{"cpu":"1e99999999","memory":"-1e99999999"}}}],"overhead":{"cpu":"1"}}},"Others":[{"spec":{"containers":[{"resources":{"requests":{"cpu":"1e9999999"}}},{"resources":{"limits":{"cpu":"1"}}}]}}],"Static":true,"Node":{"Allocatable":{"pods":"1e99999999","cpu":"1e99999999"}}}`,
		`{"Pod":{"metadata":{"uid":"a"},"spec":{"resources":{"requests":{"cpu":"3"}},"overhead":{"example.com/x":"1"},"containers":[{"resources":{"requests":{"example.com/x":"1","hugepages-2Mi":"2Mi"}}}]}},"Static":true,"Others":[{"metadata":{"uid":"b"},"spec":{"resources":{"requests":{"cpu":"2","hugepages-2Mi":"4Mi"},"limits":{"cpu":"2"}}},"status":{"qosClass":"Burstable","resources":{"requests":{"cpu":"3"}},"allocatedResources":{"cpu":"4"}}}],"Node":{"Allocatable":{"pods":"9","cpu":"4","hugepages-2Mi":"4Mi","example.com/x":"2"},"Declared":["z","a"]}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		var in fuzzCase
		if json.Unmarshal(doc, &in) != nil {
			return
		}
		r, err := New(Config{AllowedUnsafeSysctls: in.Unsafe, KernelVersion: "6.8", AppArmor: in.AppArmor, Version: "v1.37.1", Features: DefaultFeatures()})
		if err != nil {
			return
		}
		node := Node{Object: in.Node.Object, Allocatable: in.Node.Allocatable, DeclaredFeatures: in.Node.Declared}
		var others []*corev1.Pod
		for i := range in.Others {
			others = append(others, &in.Others[i])
		}
		before := encode(t, in)
		d := r.Admit(&in.Pod, in.Static, tenants(r, others), node)
		again := r.Admit(&in.Pod, in.Static, tenants(r, others), node)
		if diff := cmp.Diff(d, again); diff != "" {
			t.Fatalf("two answers: %s", diff)
		}
		checkDecision(t, r, d, &in.Pod, others, node)
		slices.Reverse(others)
		if diff := cmp.Diff(d.Reject, r.Admit(&in.Pod, in.Static, tenants(r, others), node).Reject); diff != "" {
			t.Fatalf("the order of the others matters: %s", diff)
		}
		if after := encode(t, in); after != before {
			t.Fatalf("what was passed has changed: %s", cmp.Diff(before, after))
		}
	})
}

// checkDecision checks what is true of every decision.
func checkDecision(t *testing.T, r *Rules, d Decision, p *corev1.Pod, others []*corev1.Pod, node Node) {
	t.Helper()
	if d.Reject != nil {
		if len(d.Preempt) > 0 || d.Reject.Reason == "" || strings.Count(d.Reject.Message, rejected) < 1 ||
			!strings.HasPrefix(d.Reject.Message, rejected) || d.Reject.Event() == "" {
			t.Fatalf("a decision that says two things, or nothing: %+v", d)
		}
		return
	}
	rest := slices.Clone(others)
	for _, victim := range d.Preempt {
		at := slices.Index(rest, victim)
		if at < 0 {
			t.Fatalf("%s is to go, but is not there or has gone", victim.Name)
		}
		rest = slices.Delete(rest, at, at+1)
	}
	if short := r.Insufficient(p, tenants(r, rest), node.allocatable()); len(short) > 0 {
		t.Fatalf("the pod was admitted, but does not fit: %v", short)
	}
}

func encode(t *testing.T, in fuzzCase) string {
	t.Helper()
	data, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
