package config

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	nodeutil "k8s.io/component-helpers/node/util"
	"k8s.io/kubelet/config/v1beta1"
)

// build fills Config from values that validate accepted; what it can not use it reports.
func build(kc *v1beta1.KubeletConfiguration, fl *flagValues, features Features, env Environment) (*Config, Problems) {
	identity, warnings, problems := buildIdentity(kc, fl, env)
	runtime, more, bad := buildRuntime(kc)
	warnings, problems = append(warnings, more...), append(problems, bad...)
	dns, more := buildDNS(kc)
	warnings = append(warnings, more...)
	cfg := &Config{
		Identity: identity,
		Paths: Paths{
			Kubeconfig:          fl.paths.kubeconfig,
			BootstrapKubeconfig: fl.paths.bootstrapKubeconfig,
			RootDir:             filepath.Clean(fl.paths.rootDir),
			CertDir:             filepath.Clean(fl.paths.certDir),
			PodLogsDir:          kc.PodLogsDir,
			StaticPodPath:       env.abs(kc.StaticPodPath),
			FileCheckFrequency:  kc.FileCheckFrequency.Duration,
		},
		Runtime:     runtime,
		Node:        buildNode(kc),
		Cgroup:      buildCgroup(kc, &fl.node),
		Memory:      buildMemory(kc),
		Pods:        buildPods(kc, &fl.node),
		Logs:        buildContainerLogs(kc),
		Images:      buildImages(kc, fl, features),
		DNS:         dns,
		CrashLoop:   CrashLoop{MaxPeriod: maxRestartDelay},
		API:         API{Rotate: kc.RotateCertificates, QPS: int(*kc.KubeAPIQPS), Burst: int(kc.KubeAPIBurst), ContentType: kc.ContentType},
		Events:      Events{QPS: int(*kc.EventRecordQPS), Burst: int(kc.EventBurst)},
		Server:      buildServer(kc, features, env),
		Logging:     Logging{Format: kc.Logging.Format, Verbosity: int(kc.Logging.Verbosity), FlushFrequency: kc.Logging.FlushFrequency.Duration.Duration, Tracing: kc.Tracing.DeepCopy()},
		OOMScoreAdj: int(*kc.OOMScoreAdj),
		Features:    features,
		Warnings:    warnings,
		effective:   kc.DeepCopy(),
	}
	if period := kc.CrashLoopBackOff.MaxContainerRestartPeriod; period != nil {
		cfg.CrashLoop.MaxPeriod = period.Duration
	}
	return cfg, problems
}

func buildIdentity(kc *v1beta1.KubeletConfiguration, fl *flagValues, env Environment) (Identity, []string, Problems) {
	id := Identity{
		NodeLabels:    maps.Clone(fl.node.labels),
		ProviderID:    kc.ProviderID,
		CloudProvider: fl.node.cloudProvider,
		Standalone:    fl.paths.kubeconfig == "",
	}
	for _, taint := range kc.RegisterWithTaints {
		id.Taints = append(id.Taints, *taint.DeepCopy())
	}
	name, problems := nodeName(fl, env, id.Standalone)
	id.NodeName = name
	ips, warnings, bad := nodeIPs(fl)
	id.NodeIPs = ips
	return id, warnings, append(problems, bad...)
}

func nodeName(fl *flagValues, env Environment, standalone bool) (string, Problems) {
	raw := fl.node.hostnameOverride
	if raw == "" {
		host, err := env.Hostname()
		if err != nil {
			return "", Problems{{Flag: "hostname-override", Reason: "the host name can not be read (" + err.Error() + ")", Fix: "set --hostname-override"}}
		}
		raw = host
	}
	if strings.TrimSpace(raw) == "" {
		return "", Problems{{Flag: "hostname-override", Reason: "the host name is empty", Fix: "give the machine a host name or set --hostname-override"}}
	}
	name, err := nodeutil.GetHostname(raw)
	if err != nil {
		return "", Problems{{Flag: "hostname-override", Value: raw, Reason: err.Error(), Fix: "set --hostname-override"}}
	}
	if errs := validation.IsDNS1123Subdomain(name); len(errs) > 0 && !standalone {
		return "", Problems{{Flag: "hostname-override", Value: name, Reason: "this is not a name the API server accepts for a Node (" + strings.Join(errs, "; ") + ")", Fix: "set --hostname-override to lower-case letters, digits, '-' and '.'"}}
	}
	return name, nil
}

func nodeIPs(fl *flagValues) ([]netip.Addr, []string, Problems) {
	parsed, invalid, err := nodeutil.ParseNodeIPArgument(fl.node.nodeIP, fl.node.cloudProvider)
	if err != nil {
		return nil, nil, Problems{{Flag: "node-ip", Value: fl.node.nodeIP, Reason: err.Error(), Fix: "give one address, or one IPv4 and one IPv6 address separated by a comma"}}
	}
	var warnings []string
	if len(invalid) > 0 {
		warnings = append(warnings, fmt.Sprintf("--node-ip: not IP addresses and ignored, correct or remove them: %s", strings.Join(invalid, ", ")))
	}
	var ips []netip.Addr
	for _, ip := range parsed {
		if addr, ok := netip.AddrFromSlice(ip); ok {
			ips = append(ips, addr.Unmap())
		}
	}
	return ips, warnings, nil
}

func buildRuntime(kc *v1beta1.KubeletConfiguration) (Runtime, []string, Problems) {
	var warnings []string
	var problems Problems
	read := func(value, field, flagName string) string {
		endpoint, warning, reason := normalEndpoint(value)
		if warning != "" {
			warnings = append(warnings, fmt.Sprintf("%s (--%s): %s", field, flagName, warning))
		}
		if reason != "" {
			problems = append(problems, Problem{Field: field, Flag: flagName, Value: value, Reason: reason, Fix: "write it as unix:///run/containerd/containerd.sock"})
		}
		return endpoint
	}
	r := Runtime{RequestTimeout: kc.RuntimeRequestTimeout.Duration}
	r.Endpoint = read(kc.ContainerRuntimeEndpoint, "containerRuntimeEndpoint", "container-runtime-endpoint")
	r.ImageEndpoint = r.Endpoint
	if kc.ImageServiceEndpoint != "" {
		r.ImageEndpoint = read(kc.ImageServiceEndpoint, "imageServiceEndpoint", "image-service-endpoint")
	}
	return r, warnings, problems
}

// normalEndpoint accepts unix:///path, and a bare path with a warning.
func normalEndpoint(value string) (endpoint, warning, reason string) {
	if value == "" {
		return "", "", "it is empty, the CRI socket of the runtime is required"
	}
	if filepath.IsAbs(value) {
		endpoint = "unix://" + value
		return endpoint, "an endpoint without a scheme is deprecated, write " + endpoint, ""
	}
	u, err := url.Parse(value)
	switch {
	case err != nil:
		return "", "", err.Error()
	case u.Scheme != "unix":
		return "", "", "only unix sockets are supported"
	case u.Host != "" || !filepath.IsAbs(u.Path):
		return "", "", "the socket path must be absolute (three slashes after unix:)"
	}
	return "unix://" + u.Path, "", ""
}

func buildDNS(kc *v1beta1.KubeletConfiguration) (DNS, []string) {
	dns := DNS{Domain: kc.ClusterDomain, ResolvConf: *kc.ResolverConfig}
	var invalid []string
	for _, server := range kc.ClusterDNS {
		if _, err := netip.ParseAddr(server); err != nil {
			invalid = append(invalid, server)
			continue
		}
		dns.ClusterDNS = append(dns.ClusterDNS, server)
	}
	if len(invalid) == 0 {
		return dns, nil
	}
	return dns, []string{"clusterDNS (--cluster-dns): not IP addresses and ignored, correct or remove them: " + strings.Join(invalid, ", ")}
}

func buildNode(kc *v1beta1.KubeletConfiguration) Node {
	return Node{
		Register:              *kc.RegisterNode,
		MaxPods:               int(kc.MaxPods),
		PodsPerCore:           int(kc.PodsPerCore),
		StatusUpdateFrequency: kc.NodeStatusUpdateFrequency.Duration,
		StatusReportFrequency: kc.NodeStatusReportFrequency.Duration,
		LeaseDuration:         time.Duration(kc.NodeLeaseDurationSeconds) * time.Second,
		StatusMaxImages:       int(*kc.NodeStatusMaxImages),
		SystemReserved:        maps.Clone(kc.SystemReserved),
		KubeReserved:          maps.Clone(kc.KubeReserved),
		EvictionHard:          maps.Clone(kc.EvictionHard),
	}
}

func buildCgroup(kc *v1beta1.KubeletConfiguration, fl *nodeFlags) Cgroup {
	c := Cgroup{
		Driver: kc.CgroupDriver, Root: kc.CgroupRoot, PerQOS: *kc.CgroupsPerQOS, FailV1: *kc.FailCgroupV1,
		CPUQuota: *kc.CPUCFSQuota, CPUPeriod: kc.CPUCFSQuotaPeriod.Duration, PodPidsLimit: *kc.PodPidsLimit,
		Enforce: slices.Clone(kc.EnforceNodeAllocatable), SystemReserved: kc.SystemReservedCgroup, KubeReserved: kc.KubeReservedCgroup, Runtime: fl.runtimeCgroups,
	}
	if c.Root == "" && c.PerQOS {
		c.Root = "/"
	}
	return c
}

func buildMemory(kc *v1beta1.KubeletConfiguration) Memory {
	return Memory{
		LimitedSwap: kc.MemorySwap.SwapBehavior == "LimitedSwap", ThrottlingFactor: kc.MemoryThrottlingFactor,
		TieredReservation:    kc.MemoryReservationPolicy == v1beta1.TieredReservationMemoryReservationPolicy,
		SingleProcessOOMKill: kc.SingleProcessOOMKill,
	}
}

func buildPods(kc *v1beta1.KubeletConfiguration, fl *nodeFlags) Pods {
	p := Pods{GitRepoVolumes: fl.gitRepoVolumes, AllowedUnsafeSysctls: slices.Clone(kc.AllowedUnsafeSysctls), SeccompDefault: fl.seccompDefault || kc.SeccompDefault != nil && *kc.SeccompDefault}
	if u := kc.UserNamespaces; u != nil && u.IDsPerPod != nil {
		p.IDsPerPod = *u.IDsPerPod
	}
	return p
}

func buildImages(kc *v1beta1.KubeletConfiguration, fl *flagValues, features Features) Images {
	i := Images{PullQPS: int(*kc.RegistryPullQPS), PullBurst: int(kc.RegistryBurst), Serialize: *kc.SerializeImagePulls}
	i.CredentialConfig, i.CredentialBinDir = fl.creds.config, fl.creds.binDir
	if features.Enabled("KubeletEnsureSecretPulledImages") {
		i.Verification, i.Preloaded = string(kc.ImagePullCredentialsVerificationPolicy), slices.Clone(kc.PreloadedImagesVerificationAllowlist)
	}
	if kc.MaxParallelImagePulls != nil {
		i.MaxParallel = int(*kc.MaxParallelImagePulls)
	}
	return i
}

func buildServer(kc *v1beta1.KubeletConfiguration, features Features, env Environment) Server {
	s := Server{
		Enabled: *kc.EnableServer, Port: int(kc.Port), ReadOnlyPort: int(kc.ReadOnlyPort), HealthzPort: int(*kc.HealthzPort),
		TLS: ServerTLS{
			CertFile: env.abs(kc.TLSCertFile), KeyFile: env.abs(kc.TLSPrivateKeyFile), MinVersion: kc.TLSMinVersion,
			CipherSuites: slices.Clone(kc.TLSCipherSuites), Curves: slices.Clone(kc.TLSCurvePreferences),
			Reload: features.Enabled("ReloadKubeletServerCertificateFile"),
			// Validation has refused it without the gate RotateKubeletServerCertificate.
			Request: kc.ServerTLSBootstrap, DNSOnly: features.Enabled("AllowDNSOnlyNodeCSR"),
		},
		Access: ServerAccess{
			Anonymous: *kc.Authentication.Anonymous.Enabled, TokenWebhook: *kc.Authentication.Webhook.Enabled,
			TokenCacheTTL: kc.Authentication.Webhook.CacheTTL.Duration, ClientCAFile: env.abs(kc.Authentication.X509.ClientCAFile),
			Mode:       string(kc.Authorization.Mode),
			AllowedTTL: kc.Authorization.Webhook.CacheAuthorizedTTL.Duration,
			DeniedTTL:  kc.Authorization.Webhook.CacheUnauthorizedTTL.Duration,
		},
		Handlers: ServerHandlers{
			Debugging: *kc.EnableDebuggingHandlers, SystemLogs: *kc.EnableSystemLogHandler,
			Profiling: *kc.EnableProfilingHandler, ContentionProfiling: kc.EnableContentionProfiling,
			Flags:           *kc.EnableDebugFlagsHandler,
			WebSockets:      features.Enabled("ExtendWebSocketsToKubelet"),
			SplitLogStreams: features.Enabled("PodLogsQuerySplitStreams"),
			LogQuery:        *kc.EnableSystemLogQuery,
			Checkpoint:      features.Enabled("ContainerCheckpoint"),
			Flagz:           features.Enabled("ComponentFlagz"),
			Statusz:         features.Enabled("ComponentStatusz"),
			AllocatedPods:   features.Enabled("KubeletAllocatedPodsEndpoint"),
		},
	}
	// validate reports addresses that do not parse; the zero Addr is never used then.
	s.Address, _ = netip.ParseAddr(kc.Address)
	s.HealthzAddress, _ = netip.ParseAddr(kc.HealthzBindAddress)
	return s
}

// pathStartsWith reports whether path is field or lies below it.
func pathStartsWith(path string, fields []string) bool {
	return slices.ContainsFunc(fields, func(f string) bool {
		return path == f || strings.HasPrefix(path, f+".")
	})
}

func buildContainerLogs(kc *v1beta1.KubeletConfiguration) ContainerLogs {
	size, err := resource.ParseQuantity(kc.ContainerLogMaxSize)
	logs := ContainerLogs{
		MaxSize: size.Value(), MaxFiles: int(*kc.ContainerLogMaxFiles), MaxWorkers: int(*kc.ContainerLogMaxWorkers),
		MonitorInterval: kc.ContainerLogMonitorInterval.Duration,
	}
	if err != nil { // validate has said so
		logs.MaxSize = -1
	}
	return logs
}
