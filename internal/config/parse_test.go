package config

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/kubelet/config/v1beta1"
	"sigs.k8s.io/yaml"
)

func testdata(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestLegacyDefaults(t *testing.T) {
	for name, tc := range map[string]struct {
		args      []string
		files     map[string]string
		anonymous bool
		mode      v1beta1.KubeletAuthorizationMode
		readOnly  int
		eviction  int
	}{
		"flags only":       {anonymous: true, mode: "AlwaysAllow", readOnly: 10255},
		"flags win":        {args: []string{"--anonymous-auth=false", "--read_only_port=0", "--eviction-hard=memory.available<1Gi"}, mode: "AlwaysAllow", eviction: 1},
		"config":           {args: []string{"--config=/c"}, files: map[string]string{"/c": header}, mode: "Webhook", eviction: 5},
		"config and flags": {args: []string{"--config=/c", "--anonymous-auth"}, files: map[string]string{"/c": header}, anonymous: true, mode: "Webhook", eviction: 5},
		"drop-ins only":    {args: []string{"--config-dir=/d"}, files: map[string]string{"/d/a.conf": header}, anonymous: true, mode: "AlwaysAllow", readOnly: 10255},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := mustParse(t, tc.files, tc.args...)
			kc := cfg.Effective()
			if *kc.Authentication.Anonymous.Enabled != tc.anonymous || *kc.Authentication.Webhook.Enabled != (tc.mode == "Webhook") ||
				kc.Authorization.Mode != tc.mode || cfg.Server.ReadOnlyPort != tc.readOnly || len(cfg.Node.EvictionHard) != tc.eviction {
				t.Errorf("anonymous %t, token webhook %t, mode %s, read-only port %d, eviction %v", *kc.Authentication.Anonymous.Enabled,
					*kc.Authentication.Webhook.Enabled, kc.Authorization.Mode, cfg.Server.ReadOnlyPort, cfg.Node.EvictionHard)
			}
		})
	}
}

func TestPrecedence(t *testing.T) {
	files := map[string]string{
		"/etc/c.yaml":      header + "maxPods: 20\npodsPerCore: 2\nkubeAPIQPS: 20\nclusterDNS: [10.0.0.1, 10.0.0.2]\nsystemReserved: {cpu: 1m, memory: 1Mi}\nfeatureGates: {MemoryQoS: false, EventedPLEG: true}\n",
		"/etc/d/10.conf":   header + "podsPerCore: 3\nkubeAPIQPS: 30\nclusterDNS: [10.0.0.3]\nfeatureGates: {CRIListStreaming: true}\n",
		"/etc/d/20.conf":   header + "kubeAPIQPS: 31\nsystemReserved: {memory: 2Mi}\nmaxPods: null\n",
		"/etc/d/20/a.conf": header + "kubeAPIBurst: 99\n",
		"/etc/d/ignored":   "not: yaml: at all",
	}
	cfg := mustParse(t, files, "--config=/etc/c.yaml", "--config-dir=/etc/d", "--pods-per-core=4", "--feature-gates=EventedPLEG=false")
	if cfg.Node.MaxPods != 110 || cfg.Node.PodsPerCore != 4 || cfg.API.QPS != 31 || cfg.API.Burst != 99 {
		t.Errorf("maxPods %d, podsPerCore %d, qps %d, burst %d", cfg.Node.MaxPods, cfg.Node.PodsPerCore, cfg.API.QPS, cfg.API.Burst)
	}
	if !slices.Equal(cfg.DNS.ClusterDNS, []string{"10.0.0.3"}) {
		t.Errorf("a drop-in list must replace: %v", cfg.DNS.ClusterDNS)
	}
	if got := cfg.Node.SystemReserved; got["cpu"] != "1m" || got["memory"] != "2Mi" {
		t.Errorf("a drop-in map must merge: %v", got)
	}
	for gate, want := range map[string]bool{"MemoryQoS": false, "EventedPLEG": false, "CRIListStreaming": true, "EnvFiles": true} {
		if cfg.Features.Enabled(gate) != want {
			t.Errorf("gate %s is %t", gate, !want)
		}
	}
	cfg = mustParse(t, files, "--config=/etc/c.yaml", "--system-reserved=pid=5")
	if got := cfg.Node.SystemReserved; len(got) != 1 || got["pid"] != "5" {
		t.Errorf("a map flag must replace: %v", got)
	}
}

func TestStatusReportFrequency(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		args []string
		want time.Duration
	}{
		"default":       {want: 5 * time.Minute},
		"update set":    {text: "nodeStatusUpdateFrequency: 20s\n", want: 20 * time.Second},
		"both set":      {text: "nodeStatusUpdateFrequency: 20s\nnodeStatusReportFrequency: 1m\n", want: time.Minute},
		"update a flag": {args: []string{"--node-status-update-frequency=20s"}, want: 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := mustParse(t, map[string]string{"/c": header + tc.text}, append(tc.args, "--config=/c")...)
			if cfg.Node.StatusReportFrequency != tc.want {
				t.Errorf("report frequency %v, want %v", cfg.Node.StatusReportFrequency, tc.want)
			}
		})
	}
}

func TestEvictionHard(t *testing.T) {
	for name, tc := range map[string]struct {
		text, drop string
		args       []string
		want       string
	}{
		"unset":          {want: "imagefs.available=15% imagefs.inodesFree=5% memory.available=100Mi nodefs.available=10% nodefs.inodesFree=5%"},
		"set replaces":   {text: "evictionHard: {memory.available: 1Gi}", want: "memory.available=1Gi"},
		"empty disables": {text: "evictionHard: {}", want: ""},
		"merged":         {text: "mergeDefaultEvictionSettings: true\nevictionHard: {memory.available: 1Gi}", want: "imagefs.available=15% imagefs.inodesFree=5% memory.available=1Gi nodefs.available=10% nodefs.inodesFree=5%"},
		"drop-in merges": {text: "evictionHard: {memory.available: 1Gi}", drop: "evictionHard: {nodefs.available: 1Gi}", want: "memory.available=1Gi nodefs.available=1Gi"},
		"flag replaces":  {text: "evictionHard: {memory.available: 1Gi}", args: []string{"--eviction-hard=pid.available<10%"}, want: "pid.available=10%"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append(tc.args, "--config=/c", "--config-dir=/d")
			cfg := mustParse(t, map[string]string{"/c": header + tc.text, "/d/1.conf": header + tc.drop}, args...)
			var got []string
			for signal, value := range cfg.Node.EvictionHard {
				got = append(got, signal+"="+value)
			}
			slices.Sort(got)
			if strings.Join(got, " ") != tc.want {
				t.Errorf("evictionHard %v, want %s", got, tc.want)
			}
		})
	}
}

// TestFullConfig accepts a file with every field and finds each value in the result.
func TestFullConfig(t *testing.T) {
	text := testdata(t, "full.yaml")
	var doc map[string]any
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	for name := range fieldsOf(configType()) {
		if _, ok := doc[name]; !ok {
			t.Errorf("testdata/full.yaml lacks the field %s", name)
		}
	}
	cfg := mustParse(t, map[string]string{"/cwd/k/full.yaml": text}, "--config=k/full.yaml", "--root-dir=r")
	same := []string{"runOnce", "shutdownGracePeriodByPodPriority", "systemReservedCgroup", "kubeReservedCgroup", "enableSystemLogHandler", "logging.format"}
	have, defaults := flatten(cfg.Effective()), flatten(fileDefaults(nil))
	for path, value := range have {
		if value == defaults[path] && !slices.Contains(same, path) {
			t.Errorf("%s still has its default %s", path, value)
		}
	}
	if cfg.StaticPodPath != "/cwd/k/manifests" || cfg.RootDir != "/cwd/r" {
		t.Errorf("relative paths: staticPodPath %s, root %s", cfg.StaticPodPath, cfg.RootDir)
	}
	if cfg.Images.PullQPS != 6 || cfg.Images.PullBurst != 11 || cfg.Images.MaxParallel != 4 || cfg.Events != (Events{QPS: 51, Burst: 101}) ||
		cfg.API != (API{QPS: 52, Burst: 102, ContentType: "application/json", Rotate: true}) || cfg.CrashLoop.MaxPeriod != time.Minute || cfg.OOMScoreAdj != -998 ||
		cfg.Runtime != (Runtime{Endpoint: "unix:///run/crio/crio.sock", ImageEndpoint: "unix:///run/images.sock", RequestTimeout: 3 * time.Minute}) ||
		cfg.Cgroup.Driver != "systemd" || cfg.Cgroup.Root != "/pods" || cfg.Cgroup.PerQOS || cfg.Node.LeaseDuration != 41*time.Second || cfg.Node.EvictionHard["imagefs.available"] != "15%" ||
		cfg.Logging.Format != "text" || cfg.Logging.Verbosity != 2 || cfg.Logging.FlushFrequency != 6*time.Second || *cfg.Logging.Tracing.Endpoint != "localhost:4317" || cfg.DNS.ResolvConf != "/etc/other.conf" || cfg.Node.Register {
		t.Errorf("unexpected result: %+v", cfg)
	}
	cfg.Effective().FeatureGates["MemoryQoS"] = false
	if _, changed := cfg.Effective().FeatureGates["MemoryQoS"]; changed {
		t.Error("Effective does not return a copy")
	}
}

func TestStartsUnchanged(t *testing.T) {
	args := []string{
		"--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf", "--kubeconfig=/etc/kubernetes/kubelet.conf", "--config=/var/lib/kubelet/config.yaml",
		"--node-ip=172.18.0.2", "--node-labels=", "--pod-infra-container-image=registry.k8s.io/pause:3.10", "--provider-id=kind://docker/kind/kind-control-plane",
		"--register-with-taints=node-role.kubernetes.io/control-plane:NoSchedule", "--runtime-cgroups=/system.slice/containerd.service", "--hostname-override=CP-1",
	}
	for _, name := range []string{"kubeadm.yaml", "kind.yaml"} {
		t.Run(name, func(t *testing.T) {
			cfg := mustParse(t, map[string]string{"/var/lib/kubelet/config.yaml": testdata(t, name)}, args...)
			if cfg.NodeName != "cp-1" || cfg.Standalone || cfg.Cgroup.Driver != "systemd" || cfg.Server.ReadOnlyPort != 0 ||
				cfg.Runtime.Endpoint != "unix:///var/run/containerd/containerd.sock" || cfg.Runtime.ImageEndpoint != cfg.Runtime.Endpoint ||
				cfg.StaticPodPath != "/etc/kubernetes/manifests" || cfg.FileCheckFrequency != 20*time.Second ||
				len(cfg.NodeIPs) != 1 || cfg.NodeIPs[0].String() != "172.18.0.2" || len(cfg.Taints) != 1 || cfg.Taints[0].Effect != "NoSchedule" {
				t.Errorf("unexpected result: %+v", cfg)
			}
			if name == "kind.yaml" && (cfg.Cgroup.Root != "/kubelet" || cfg.Node.EvictionHard["nodefs.available"] != "0%") {
				t.Errorf("cgroup root %q, eviction %v", cfg.Cgroup.Root, cfg.Node.EvictionHard)
			}
			// What these set and nothing acts on yet; the list gets shorter.
			want := map[string][]string{"kind.yaml": {
				"evictionHard (--eviction-hard): it only reduces allocatable, no pod is evicted yet", "imageGCHighThresholdPercent (--image-gc-high-threshold)"}}
			if got := cfg.Inert(); !slices.Equal(got, want[name]) {
				t.Errorf("Inert() = %q, want %q", got, want[name])
			}
		})
	}
}

func TestInert(t *testing.T) {
	if got := mustParse(t, map[string]string{"/c": header}, "--config=/c").Inert(); len(got) != 0 {
		t.Errorf("defaults are reported as ignored: %v", got)
	}
	if got := mustParse(t, nil).Inert(); len(got) != 0 {
		t.Errorf("legacy defaults are reported as ignored: %v", got)
	}
	got := mustParse(t, map[string]string{"/c": header + "maxPods: 5\nport: 10999\nserverTLSBootstrap: true\nrotateCertificates: true\ncpuManagerPolicy: static\nlogging: {flushFrequency: 7s}\n"}, "--config=/c", "--lock-file=/l").Inert()
	want := []string{"--lock-file", "cpuManagerPolicy (--cpu-manager-policy)", "logging.flushFrequency (--log-flush-frequency)"}
	if !slices.Equal(got, want) {
		t.Errorf("Inert() = %q, want %q", got, want)
	}
	known := flatten(fileDefaults(nil))
	for _, field := range workingFields {
		if !slices.ContainsFunc(slices.Collect(keys(known)), func(p string) bool { return pathStartsWith(p, []string{field}) }) {
			t.Errorf("workingFields names %s, which is no field", field)
		}
	}
	for _, name := range slices.Concat(workingFlags, reportedFlags) {
		if !slices.ContainsFunc(allFlags(), func(d flagDef) bool { return d.name == name && d.field == "" }) {
			t.Errorf("%s is not a flag without a field", name)
		}
	}
}

func keys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func TestStrictFiles(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want []string
	}{
		"unknown field":   {header + "maxPodz: 3\n", []string{"/c: maxPodz: unknown field", "did you mean maxPods?"}},
		"wrong case":      {header + "maxpods: 3\n", []string{"maxpods: unknown field", "did you mean maxPods?"}},
		"flag name":       {header + "pod-manifest-path: /m\n", []string{"did you mean staticPodPath?"}},
		"nested":          {header + "authentication: {webhook: {cacheTll: 1m}}\n", []string{"authentication.webhook.cacheTll: unknown field", "did you mean cacheTTL?"}},
		"in a list":       {header + "registerWithTaints: [{key: a, efect: NoSchedule}]\n", []string{"registerWithTaints[0].efect", "did you mean effect?"}},
		"all at once":     {header + "foo: 1\nport: \"x\"\nsyncFrequency: 20\n", []string{"3 problems", "foo: unknown", "port (--port) = \"x\"", "without quotes", "syncFrequency (--sync-frequency) = 20", "such as 30s"}},
		"duplicate":       {header + "port: 1\nport: 2\n", []string{"/c: ", `"port" already set`, "only once"}},
		"wrong kind":      {"apiVersion: v1\nkind: Pod\n", []string{"apiVersion = \"v1\"", "kind = \"Pod\"", "write kind: KubeletConfiguration"}},
		"no kind":         {"port: 1\n", []string{"apiVersion = null"}},
		"empty":           {" \n", []string{"the file is empty"}},
		"two documents":   {header + "---\n" + header, []string{"more than one YAML document"}},
		"not an object":   {"- a\n", []string{"not a group of fields"}},
		"scalar as group": {header + "logging: text\n", []string{"logging = \"text\"", "must be a group of fields"}},
		"scalar as list":  {header + "clusterDNS: 10.0.0.10\n", []string{"clusterDNS (--cluster-dns)", "must be a list"}},
		"bool as string":  {header + "cpuManagerPolicyOptions: {full-pcpus-only: true}\n", []string{"cpuManagerPolicyOptions.full-pcpus-only = true", "quotes"}},
		"bad YAML":        {header + "a: b: c\n", []string{"/c: ", "correct the YAML"}},
	} {
		t.Run(name, func(t *testing.T) {
			wantText(t, refused(t, machine(map[string]string{"/c": tc.text}), "--config=/c"), tc.want...)
			env := machine(map[string]string{"/c": header, "/d/1.conf": tc.text})
			for i := range tc.want {
				tc.want[i] = strings.ReplaceAll(tc.want[i], "/c: ", "/d/1.conf: ")
			}
			wantText(t, refused(t, env, "--config=/c", "--config-dir=/d"), tc.want...)
		})
	}
	wantText(t, refused(t, machine(nil), "--config=missing.yaml"), "/cwd/missing.yaml: --config: can not be read", "create the file")
	wantText(t, refused(t, machine(nil), "--config-dir=/none"), "/none: --config-dir", "create the directory")
}

func TestNullMeansUnset(t *testing.T) {
	cfg := mustParse(t, map[string]string{"/c": header + "runtimeRequestTimeout: null\nport: ~\nlogging: {flushFrequency: null}\nevictionHard: {pid.available: null}\n"}, "--config=/c")
	if cfg.Runtime.RequestTimeout != 2*time.Minute || cfg.Server.Port != 10250 || cfg.Logging.FlushFrequency != 5*time.Second || len(cfg.Node.EvictionHard) != 0 {
		t.Errorf("unexpected result: %+v", cfg)
	}
}

func TestUnreadableHost(t *testing.T) {
	env := machine(nil)
	env.CgroupV2 = func() (bool, error) { return false, nil }
	wantText(t, refused(t, env), "failCgroupV1 (--fail-cgroupv1) = true: this host uses cgroup v1")
	if _, err := Parse([]string{"--fail-cgroupv1=false"}, env); err != nil {
		t.Error(err)
	}
	env = machine(map[string]string{"/proc/swaps": "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n"})
	wantText(t, refused(t, env), "failSwapOn (--fail-swap-on) = true: swap is on")
	env = machine(map[string]string{"/proc/swaps": "Filename Type Size Used Priority\n"})
	env.Hostname = func() (string, error) { return "", errors.New("no uts") }
	wantText(t, refused(t, env), "--hostname-override", "no uts")
	env.Hostname = func() (string, error) { return "a_b", nil }
	wantText(t, refused(t, env, "--kubeconfig=/k"), "not a name the API server accepts")
	env.ReadFile = func(string) ([]byte, error) { return nil, fs.ErrPermission }
	wantText(t, refused(t, env, "--config=/c"), "check the permissions")
}

func FuzzDecodeFile(f *testing.F) {
	for _, name := range []string{"kubeadm.yaml", "kind.yaml", "full.yaml"} {
		data, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(header + "evictionHard: {a: null}\nlogging: null\n"))
	f.Add([]byte(`{"apiVersion":"kubelet.config.k8s.io/v1beta1","kind":"KubeletConfiguration","port":1e3}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		env := machine(map[string]string{"/c": string(data)})
		cfg, err := Parse([]string{"--config=/c"}, env)
		if (cfg == nil) == (err == nil) {
			t.Fatalf("config %v with error %v", cfg, err)
		}
		doc, err := decodeFile("/c", data)
		if err != nil {
			return
		}
		if _, err := decodeConfig("/c", doc); err != nil {
			t.Fatalf("the schema check let something through that does not decode: %v", err)
		}
	})
}
