package bed

import (
	"encoding/json"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/test/bed/keeper"
)

func TestOptions(t *testing.T) {
	t.Setenv(AgentEnv, "")
	o, err := Options{}.withDefaults()
	if err != nil || o.Agent != Nodeagent || !validName.MatchString(o.Name) || !o.temporary {
		t.Errorf("got %+v, %v", o, err)
	}
	for _, bad := range []Options{{Name: "A"}, {Name: "../x"}, {Name: strings.Repeat("a", 21)}, {Name: "-a"}, {Agent: "docker"}, {NoRuntime: true}} {
		if _, err := bad.withDefaults(); err == nil {
			t.Errorf("accepted %+v", bad)
		}
	}
	t.Setenv(AgentEnv, Kubelet)
	if o, err := (Options{Name: "a"}).withDefaults(); err != nil || o.Agent != Kubelet || o.NodeName != "node-a" || o.temporary {
		t.Errorf("got %+v, %v", o, err)
	}
}

func testBed(o Options) *Bed {
	return fromSpec(&keeper.Spec{
		Name: "a", Dir: "/tmp/nab/" + strings.Repeat("a", 20), CgroupRoot: "/nab-a", Bridge: "nab1", Network: "nab_a_net",
		Gateway: subnetAddress(1, 1), Subnet: subnetAddress(1, 0) + "/22",
		Ports: map[string]int{"kubelet": 1, "healthz": 2, "registry": 3, "apiserver": 4},
	}, o)
}

func TestSocketsFitTheirLimit(t *testing.T) {
	t.Parallel()
	b := testBed(Options{})
	for _, path := range []string{b.CRISocket + ".ttrpc", b.AgentSocket, b.RootDir + "/plugins_registry/" + strings.Repeat("x", 50), b.spec.Socket()} {
		if len(path) > 107 {
			t.Errorf("%s has %d bytes", path, len(path))
		}
	}
	if shims := b.Dir + "/s"; len(shims) > 42 { // containerd's limit
		t.Errorf("%s has %d bytes", shims, len(shims))
	}
}

func TestStandaloneNeedsNoControlPlane(t *testing.T) {
	t.Parallel()
	with, without := testBed(Options{}), testBed(Options{Standalone: true})
	if !strings.Contains(strings.Join(with.agentArgs(), " "), "--kubeconfig=") {
		t.Error("no kubeconfig")
	}
	if strings.Contains(strings.Join(without.agentArgs(), " "), "--kubeconfig=") || without.Kubeconfig != "" {
		t.Error("a kubeconfig when standalone")
	}
	config, err := json.Marshal(without.kubeletConfig())
	if err != nil || !strings.Contains(string(config), `"webhook":{"enabled":false}`) {
		t.Errorf("%s, %v", config, err)
	}
	if _, err := without.RESTConfig(); err == nil {
		t.Error("a client of no control plane")
	}
}

func TestNetworkLeavesTheMachineAlone(t *testing.T) {
	t.Parallel()
	text, err := networkConfig(testBed(Options{}).spec)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"isGateway": false`, `"ipMasq": false`, `"gateway": "10.213.4.1"`, `"subnet": "10.213.4.0/22"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
}

func TestFreeIndexAvoidsOthers(t *testing.T) {
	t.Parallel()
	var others []*keeper.Spec
	for i := range subnets {
		if i != 7 {
			others = append(others, &keeper.Spec{Index: i})
		}
	}
	if index, err := freeIndex(others); err == nil && index != 7 {
		t.Errorf("got %d", index)
	}
	if _, err := freeIndex(append(others, &keeper.Spec{Index: 7})); err == nil {
		t.Error("found a subnet although there is none")
	}
}

func TestWhyNotReady(t *testing.T) {
	t.Parallel()
	node := &corev1.Node{}
	if whyNotReady(node) == "" {
		t.Error("ready without a condition")
	}
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionFalse, Message: "why"}}
	if got := whyNotReady(node); !strings.Contains(got, "why") {
		t.Errorf("got %q", got)
	}
	node.Status.Conditions[0].Status = corev1.ConditionTrue
	node.Spec.Taints = []corev1.Taint{{Key: corev1.TaintNodeNotReady}}
	if got := whyNotReady(node); !strings.Contains(got, "taint") {
		t.Errorf("got %q", got)
	}
	node.Spec.Taints = nil
	if got := whyNotReady(node); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestPKI(t *testing.T) {
	t.Parallel()
	b := testBed(Options{})
	b.Dir = t.TempDir()
	if err := newPKI(b.pki(""), "node-a", "10.213.4.1"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.secureClient(); err != nil {
		t.Error(err)
	}
}

func TestTail(t *testing.T) {
	t.Parallel()
	if got := tail("a\nb\nc\n", 2); got != "b\nc" {
		t.Errorf("got %q", got)
	}
}

func TestProgramsBesideHaveNamesOfTheirOwn(t *testing.T) {
	t.Parallel()
	b := testBed(Options{})
	for _, name := range []string{"etcd", "kube-apiserver", "agent"} {
		if _, err := b.Beside(t.Context(), name, "/bin/true"); err == nil || !strings.Contains(err.Error(), "component of that name") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestFlagsOfTheControlPlane(t *testing.T) {
	t.Parallel()
	b := testBed(Options{APIServerArgs: []string{"--a"}, ControllerManagerArgs: []string{"--b"}})
	if args := b.apiserverArgs(); args[len(args)-1] != "--a" {
		t.Errorf("kube-apiserver: %q", args)
	}
	if args := b.controllerManagerArgs(); args[len(args)-1] != "--b" {
		t.Errorf("kube-controller-manager: %q", args)
	}
}
