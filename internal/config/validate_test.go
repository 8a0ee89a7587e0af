package config

import (
	"slices"
	"strings"
	"testing"
)

// badConfigs maps the fields of a file to a part of the text that refuses it.
var badConfigs = map[string]string{
	"nodeLeaseDurationSeconds: -1":                        "nodeLeaseDurationSeconds = -1: must be 1 or more",
	"eventBurst: -1":                                      "eventBurst (--event-burst) = -1: must be 0 or more",
	"eventRecordQPS: -1":                                  "eventRecordQPS (--event-qps) = -1",
	"kubeAPIQPS: -1":                                      "kubeAPIQPS (--kube-api-qps) = -1",
	"healthzPort: 70000":                                  "healthzPort (--healthz-port) = 70000: must be between 0 and 65535",
	"port: 65536":                                         "port (--port) = 65536: must be between 1 and 65535",
	"readOnlyPort: -1":                                    "readOnlyPort (--read-only-port) = -1",
	"address: localhost":                                  `address (--address) = "localhost": must be an IP address`,
	"imageGCLowThresholdPercent: 90":                      "imageGCLowThresholdPercent (--image-gc-low-threshold) = 90: must be less than imageGCHighThresholdPercent (--image-gc-high-threshold), which is 85",
	"imageGCHighThresholdPercent: 101":                    "= 101: must be between 0 and 100",
	"imageMaximumGCAge: 1m":                               "imageMaximumGCAge = 1m0s: must be longer than imageMinimumGCAge",
	"oomScoreAdj: -1001":                                  "must be between -1000 and 1000",
	"containerLogMaxFiles: 1":                             "containerLogMaxFiles (--container-log-max-files) = 1: must be 2 or more",
	"containerLogMonitorInterval: 2s":                     "must be 3s or longer",
	"containerLogMaxSize: lots":                           "containerLogMaxSize (--container-log-max-size) = lots",
	"cpuCFSQuotaPeriod: 2s":                               "must be between 1ms and 1s",
	"syncFrequency: -1s":                                  "syncFrequency (--sync-frequency) = -1s: must be longer than 0s",
	"maxParallelImagePulls: 0":                            "maxParallelImagePulls = 0: must be 1 or more",
	"maxParallelImagePulls: 3\nserializeImagePulls: true": "needs serializeImagePulls (--serialize-image-pulls) to be false",
	"runOnce: true":                                       "runOnce (--runonce) = true",
	"registerWithTaints: [{key: a, effect: Never}]":       `effect "Never" is not one of NoSchedule`,
	`registerWithTaints: [{key: a, effect: NoExecute, timeAdded: "2024-01-01T00:00:00Z"}]`: "timeAdded is set by the API server only",
	"topologyManagerPolicy: best_effort":                                                   "did you mean best-effort?",
	"cpuManagerPolicy: dynamic":                                                            `must be one of "none", "static"`,
	"authorization: {mode: webhook}":                                                       "did you mean Webhook?",
	"enforceNodeAllocatable: [pods, everything]":                                           "enforceNodeAllocatable (--enforce-node-allocatable)",
	"enforceNodeAllocatable: [none, pods]":                                                 "none can not be combined",
	"enforceNodeAllocatable: [system-reserved]":                                            "set systemReservedCgroup (--system-reserved-cgroup)",
	"enforceNodeAllocatable: [kube-reserved-compressible]":                                 "set kubeReservedCgroup (--kube-reserved-cgroup)",
	"cgroupsPerQOS: false":                                                                 "it needs cgroupsPerQOS (--cgroups-per-qos) to be true",
	"systemCgroups: /system":                                                               "it needs cgroupRoot (--cgroup-root)",
	"reservedSystemCPUs: 0-1\nkubeReservedCgroup: /kube":                                   "can not be combined with systemReservedCgroup",
	"reservedSystemCPUs: a-b":                                                              "must be a CPU list",
	"systemReserved: {gpu: 1k}":                                                            "systemReserved (--system-reserved) = gpu: this resource can not be reserved",
	`kubeReserved: {cpu: "-1"}`:                                                            "kubeReserved (--kube-reserved) = cpu=-1: must be a quantity of zero or more",
	"evictionHard: {memory.avail: 1Gi}":                                                    "unknown eviction signal; use one of memory.available",
	"evictionHard: {memory.availible: 1Gi}":                                                "did you mean memory.available?",
	"evictionHard: {nodefs.available: 110%}":                                               "evictionHard (--eviction-hard) = nodefs.available<110%: must be a percentage from 0% to 100%",
	"evictionSoft: {nodefs.available: 10%}":                                                "add nodefs.available to evictionSoftGracePeriod",
	"evictionSoftGracePeriod: {nodefs.available: soon}":                                    "must be a duration of 0s or longer",
	"enableSystemLogQuery: true\nenableSystemLogHandler: false":                            "it needs enableSystemLogHandler",
	"shutdownGracePeriod: 10s\nshutdownGracePeriodCriticalPods: 20s":                       "must not be longer than shutdownGracePeriod, which is 10s",
	"shutdownGracePeriod: 10ms":                                                            "must be 0s, or 1s and longer",
	"shutdownGracePeriod: 10s\nshutdownGracePeriodByPodPriority: [{priority: 1, shutdownGracePeriodSeconds: 2}]": "it can not be combined with shutdownGracePeriod",
	"crashLoopBackOff: {maxContainerRestartPeriod: 301s}":                                                        "must be between 1s and 300s",
	"userNamespaces: {idsPerPod: 70000}":                                                                         "multiple of 65536",
	"memorySwap: {swapBehavior: UnlimitedSwap}":                                                                  "did you mean LimitedSwap?",
	"memoryThrottlingFactor: 1.5":                                                                                "more than 0 and at most 1",
	"memoryThrottlingFactor: 0.8\nfeatureGates: {MemoryQoS: false}":                                              "it needs the feature gate MemoryQoS, which is off",
	"defaultPodSysctls: {net.ipv4.tcp_syncookies: \"1\"}":                                                        "it needs the feature gate DefaultPodSysctls",
	"featureGates: {DefaultPodSysctls: true}\ndefaultPodSysctls: {vm.swappiness: \"1\"}":                         "belongs to the whole node",
	"logging: {format: xml}":                                                                                     `logging.format (--logging-format) = "xml"`,
	"logging: {options: {text: {splitStream: true}}}":                                                            "it needs the feature gate LoggingAlphaOptions",
	"logging: {format: json, vmodule: [{filePattern: a, verbosity: 1}]}":                                         "works with the text format only",
	"tlsMinVersion: TLS1.2":                                                                                      "tlsMinVersion (--tls-min-version) = TLS1.2",
	"tlsCipherSuites: [NULL]":                                                                                    "tlsCipherSuites (--tls-cipher-suites)",
	"tlsCertFile: /a":                                                                                            "belong together",
	"podLogsDir: /var/log/../x":                                                                                  "must be an absolute path without '..'",
	"podLogsDir: /var/log/пods":                                                                                  "in ASCII",
	"tracing: {samplingRatePerMillion: 2000000}":                                                                 "must be between 0 and 1000000",
	"tracing: {endpoint: \"http://a\"}":                                                                          "must be host:port",
	"containerRuntimeEndpoint: tcp://1.2.3.4:5":                                                                  "only unix sockets are supported",
	"containerRuntimeEndpoint: unix://run/x.sock":                                                                "the socket path must be absolute",
	"preloadedImagesVerificationAllowlist: [a]":                                                                  "needs imagePullCredentialsVerificationPolicy",
	"featureGates: {EventedPLG: true}":                                                                           "featureGates.EventedPLG (--feature-gates): unknown feature gate",
	"featureGates: {NodeSwap: false}":                                                                            "locked to true in Kubernetes 1.37",
	"featureGates: {RotateKubeletServerCertificate: false}\nserverTLSBootstrap: true":                            "it needs the feature gate RotateKubeletServerCertificate",
	"reservedMemory: [{numaNode: 0, limits: {cpu: 1}}]":                                                          "only memory and hugepages-<size> can be reserved",
	"showHiddenMetricsForVersion: \"1.30\"":                                                                      "only the previous minor version",
	"podCIDR: 10.0.0.1":                                                                                          "must be an address range",
}

// TestValidation wants the field, flag and advice for every bad configuration.
func TestValidation(t *testing.T) {
	for text, want := range badConfigs {
		t.Run(text, func(t *testing.T) {
			got := refused(t, machine(map[string]string{"/c": header + text + "\n"}), "--config=/c")
			wantText(t, got, want)
			for line := range strings.Lines(got) {
				if !strings.Contains(line, "; ") && !strings.Contains(line, "problems:") {
					t.Errorf("no advice in %q", line)
				}
			}
		})
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	got := refused(t, machine(nil), "--max-pods=-1", "--port=0", "--node-labels=kubernetes.io/x=y", "--node-ip=1.1.1.1,2.2.2.2")
	wantText(t, got, "4 problems", "maxPods (--max-pods)", "port (--port)", "--node-labels", "--node-ip = 1.1.1.1,2.2.2.2")
}

func TestNodeLabels(t *testing.T) {
	ok := "a=b,node.kubernetes.io/x=y,kubelet.kubernetes.io/x=,sub.node.kubernetes.io/z=1,topology.kubernetes.io/zone=z,beta.kubernetes.io/os=linux,example.com/a=b"
	if cfg := mustParse(t, nil, "--node-labels="+ok); len(cfg.NodeLabels) != 7 {
		t.Errorf("labels %v", cfg.NodeLabels)
	}
	for label, want := range map[string]string{
		"node-role.kubernetes.io/control-plane=": "a node may not set this label on itself",
		"foo.k8s.io/a=b":                         "kubectl label node",
		"-x=b":                                   "not a valid label key",
		"x=b c":                                  "not a valid label value",
	} {
		wantText(t, refused(t, machine(nil), "--node-labels="+label), want)
	}
}

func TestGates(t *testing.T) {
	if !slices.IsSortedFunc(gateTable[:], func(a, b gate) int { return strings.Compare(a.name, b.name) }) || len(gateTable) < 250 {
		t.Fatalf("gateTable with %d rows is not sorted or not complete", len(gateTable))
	}
	if _, problems := resolveGates(nil); len(problems) > 0 {
		t.Errorf("defaults have problems: %v", problems)
	}
	for _, g := range gateTable { // every gate may be set to its default
		if _, problems := resolveGates(map[string]bool{g.name: g.enabled}); len(problems) > 0 {
			t.Errorf("%v", problems)
		}
		for _, need := range g.needs {
			if _, ok := findGate(need); !ok {
				t.Errorf("%s needs %s, which does not exist", g.name, need)
			}
		}
	}
	cfg := mustParse(t, nil, "--feature-gates=AllAlpha=true,AllBeta=true,CRIListStreaming=false", "--feature-gates=NodeSwap=true")
	for name, want := range map[string]bool{"CRIListStreaming": false, "EventedPLEG": true, "NodeSwap": true, "PodAndContainerStatsFromCRI": true, "GitRepoVolumeDriver": false} {
		if cfg.Features.Enabled(name) != want {
			t.Errorf("%s is %t", name, !want)
		}
	}
	wantText(t, strings.Join(cfg.Warnings, "\n"), "NodeSwap")
	wantText(t, refused(t, machine(nil), "--feature-gates=EventedPLG=true"), "did you mean EventedPLEG?")
	wantText(t, refused(t, machine(nil), "--feature-gates=ClusterTrustBundle=false"), "needs gates that are off: ClusterTrustBundle")
	if !(Features{}).Enabled("EnvFiles") || (Features{}).Enabled("EventedPLEG") {
		t.Error("the zero Features must have the defaults")
	}
	if len(cfg.Features.All()) != len(gateTable) {
		t.Error("All must list every gate")
	}
	defer func() {
		if recover() == nil {
			t.Error("a gate name that does not exist must panic")
		}
	}()
	Features{}.Enabled("NoSuchGate")
}

func TestGateNamesInUse(t *testing.T) {
	v := &validator{kc: fileDefaults(nil), features: Features{set: map[string]bool{}}}
	v.gated() // panics on a name that is not in the table, once the field is set
	for _, name := range []string{"CustomCPUCFSQuotaPeriod", "ImageMaximumGCAge", "GracefulNodeShutdown", "GracefulNodeShutdownBasedOnPodPriority",
		"NodeLogQuery", "NodeSwap", "KubeletEnsureSecretPulledImages", "KubeletCrashLoopBackOffMax", "MemoryQoS", "QOSReserved", "LoggingAlphaOptions"} {
		if _, ok := findGate(name); !ok {
			t.Errorf("gate %s does not exist", name)
		}
	}
	if len(v.problems) > 0 {
		t.Errorf("defaults: %v", v.problems)
	}
}

func TestGateOffRemovesDefault(t *testing.T) {
	cfg := mustParse(t, map[string]string{"/c": header}, "--config=/c", "--feature-gates=KubeletCrashLoopBackOffMax=false,KubeletEnsureSecretPulledImages=false")
	if kc := cfg.Effective(); kc.CrashLoopBackOff.MaxContainerRestartPeriod != nil || kc.ImagePullCredentialsVerificationPolicy != "" {
		t.Errorf("defaults of disabled gates are set: %v %q", kc.CrashLoopBackOff, kc.ImagePullCredentialsVerificationPolicy)
	}
	if cfg.CrashLoop.MaxPeriod != maxRestartDelay {
		t.Errorf("MaxPeriod %v", cfg.CrashLoop.MaxPeriod)
	}
}

func TestAcceptedWithWarning(t *testing.T) {
	cfg := mustParse(t, nil, "--container-runtime-endpoint=/run/x.sock", "--cluster-dns=10.0.0.1,bad", "--node-ip=::,nonsense", "--bootstrap-kubeconfig=/b")
	if cfg.Runtime.Endpoint != "unix:///run/x.sock" || !slices.Equal(cfg.DNS.ClusterDNS, []string{"10.0.0.1"}) || len(cfg.NodeIPs) != 1 || !cfg.Standalone || cfg.NodeName != "node-1" {
		t.Errorf("unexpected result: %+v", cfg)
	}
	wantText(t, strings.Join(cfg.Warnings, "\n"), "write unix:///run/x.sock", "remove them: bad", "remove them: nonsense", "--bootstrap-kubeconfig has no effect", "started without --config")
}
