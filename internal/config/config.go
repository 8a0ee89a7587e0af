package config

import (
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	tracing "k8s.io/component-base/tracing/api/v1"
	"k8s.io/kubelet/config/v1beta1"
)

// Config is the checked configuration of one run. Parse makes it; nobody changes it. The
// field of v1beta1.KubeletConfiguration that a value comes from is named where it is not the
// same word.
type Config struct {
	Identity
	Paths

	Runtime   Runtime
	Node      Node
	Cgroup    Cgroup
	Memory    Memory
	Pods      Pods
	Logs      ContainerLogs
	Images    Images
	DNS       DNS
	CrashLoop CrashLoop
	API       API
	Events    Events
	Server    Server
	Logging   Logging

	// OOMScoreAdj is the oom_score_adj of the agent's own process, -1000 to 1000.
	OOMScoreAdj int
	// Features answers which feature gates are on.
	Features Features
	// Warnings are sentences to log once at start.
	Warnings []string
	// Flags are all flags with the values of the command line, or else their defaults; what the
	// config file says is not in them. It is what /flagz shows.
	Flags map[string]string

	effective *v1beta1.KubeletConfiguration
	inert     []string
}

// Identity is who the node is.
type Identity struct {
	// NodeName is --hostname-override or the host name, trimmed and in lower case.
	NodeName string
	// NodeIPs is --node-ip: none, one, or one per family. The unspecified address of a
	// family only states a preference for that family.
	NodeIPs []netip.Addr
	// NodeLabels is --node-labels.
	NodeLabels map[string]string
	// Taints is registerWithTaints.
	Taints []corev1.Taint
	// ProviderID identifies the machine for the cloud provider.
	ProviderID string
	// CloudProvider is --cloud-provider: "" or "external".
	CloudProvider string
	// Standalone is true without --kubeconfig: static pods only, no API server.
	Standalone bool
}

// Paths are absolute, except that empty means not given.
type Paths struct {
	Kubeconfig          string // --kubeconfig
	BootstrapKubeconfig string // --bootstrap-kubeconfig
	RootDir             string // --root-dir
	CertDir             string // --cert-dir
	PodLogsDir          string // podLogsDir
	StaticPodPath       string // staticPodPath: a directory or a file
	// FileCheckFrequency is the time between two readings of StaticPodPath.
	FileCheckFrequency time.Duration
}

// Runtime says how to reach the container runtime.
type Runtime struct {
	// Endpoint is containerRuntimeEndpoint, always as unix:///path.
	Endpoint string
	// ImageEndpoint is imageServiceEndpoint, or Endpoint when that is empty.
	ImageEndpoint string
	// RequestTimeout limits one call, except pull, logs, exec and attach.
	RequestTimeout time.Duration
}

// ContainerLogs is when the logs of containers are rotated.
type ContainerLogs struct {
	MaxSize         int64         // containerLogMaxSize in bytes, negative: never
	MaxFiles        int           // containerLogMaxFiles, the one that is written included
	MaxWorkers      int           // containerLogMaxWorkers
	MonitorInterval time.Duration // containerLogMonitorInterval
}

// Node is about the Node object and its capacity.
type Node struct {
	Register              bool              // registerNode
	MaxPods               int               // pods
	PodsPerCore           int               // pods per CPU, 0: no such limit
	StatusUpdateFrequency time.Duration     // between two computations of the status
	StatusReportFrequency time.Duration     // between two reports of an unchanged status
	LeaseDuration         time.Duration     // nodeLeaseDurationSeconds
	StatusMaxImages       int               // images in the status, -1: all
	SystemReserved        map[string]string // resource name to quantity
	KubeReserved          map[string]string // resource name to quantity
	EvictionHard          map[string]string // signal to quantity or percentage; 0% and 100% disable it
}

// Cgroup is about the cgroups of pods.
type Cgroup struct {
	// Driver is cgroupDriver, cgroupfs or systemd. The runtime's own answer wins over it.
	Driver string
	// Root is cgroupRoot; "/" when that is empty and PerQOS is on.
	Root string
	// PerQOS is cgroupsPerQOS.
	PerQOS bool
	// FailV1 is failCgroupV1. Parse has already refused a cgroup v1 host when it is set.
	FailV1 bool
	// CPUQuota is cpuCFSQuota, CPUPeriod cpuCFSQuotaPeriod.
	CPUQuota  bool
	CPUPeriod time.Duration
	// PodPidsLimit is the most processes of a pod, -1: what the node allows.
	PodPidsLimit int64
	// Enforce is enforceNodeAllocatable: pods, system-reserved and the like.
	Enforce []string
	// SystemReserved is systemReservedCgroup, KubeReserved kubeReservedCgroup.
	SystemReserved, KubeReserved string
	// Runtime is --runtime-cgroups: the cgroup of the container runtime, for statistics;
	// empty: not known.
	Runtime string
}

// Memory is how the memory of pods is protected and limited.
type Memory struct {
	// LimitedSwap is memorySwap.swapBehavior: LimitedSwap.
	LimitedSwap bool
	// TieredReservation is memoryReservationPolicy: TieredReservation.
	TieredReservation bool
	// ThrottlingFactor is memoryThrottlingFactor, nil for none.
	ThrottlingFactor *float64
	// SingleProcessOOMKill leaves the other processes of a container alive when the
	// kernel kills one for memory. nil: true with cgroup v1 only.
	SingleProcessOOMKill *bool
}

// Pods is what pods may have.
type Pods struct {
	// AllowedUnsafeSysctls are names, or prefixes that end in *.
	AllowedUnsafeSysctls []string
	// SeccompDefault is seccompDefault, or --seccomp-default.
	SeccompDefault bool
	// GitRepoVolumes is --enable-git-repo-volumes, which the kubelet does not have.
	GitRepoVolumes bool
	// IDsPerPod is userNamespaces.idsPerPod, a multiple of 65536; 0: 65536.
	IDsPerPod int64
}

// Images limits image pulls, and says with what credentials they are made.
type Images struct {
	// CredentialConfig is --image-credential-provider-config, CredentialBinDir
	// --image-credential-provider-bin-dir; both are empty or neither.
	CredentialConfig, CredentialBinDir string
	// Verification is imagePullCredentialsVerificationPolicy, Preloaded
	// preloadedImagesVerificationAllowlist. Empty: images that are there are free to
	// all.
	Verification string
	Preloaded    []string

	PullQPS     int  // registryPullQPS: pulls per second, 0: no limit
	PullBurst   int  // registryBurst
	Serialize   bool // serializeImagePulls: one pull at a time
	MaxParallel int  // maxParallelImagePulls, 0: no limit
}

// DNS is what pods with dnsPolicy ClusterFirst get.
type DNS struct {
	ClusterDNS []string // IP addresses
	Domain     string   // clusterDomain
	ResolvConf string   // path of the host's resolver file, "" for none
}

// CrashLoop is about restart delays.
type CrashLoop struct {
	// MaxPeriod is crashLoopBackOff.maxContainerRestartPeriod, 1s to 300s.
	MaxPeriod time.Duration
}

// API limits, encodes and authenticates requests to the API server.
type API struct {
	// Rotate renews the client certificate in time (rotateCertificates).
	Rotate      bool
	QPS         int // kubeAPIQPS: requests per second, 0: the client's default of 50
	Burst       int // kubeAPIBurst, 0: the client's default of 100
	ContentType string
}

// Events limits the events sent to the API server.
type Events struct {
	QPS   int // eventRecordQPS: events per second, 0: no limit
	Burst int // eventBurst
}

// Server is about the ports the agent serves on.
type Server struct {
	Enabled        bool // enableServer: false leaves Port closed
	Address        netip.Addr
	Port           int        // 1 to 65535
	ReadOnlyPort   int        // 0: off
	HealthzAddress netip.Addr // healthzBindAddress
	HealthzPort    int        // 0: off
	TLS            ServerTLS
	Access         ServerAccess
	Handlers       ServerHandlers
}

// ServerTLS is how Port is secured.
type ServerTLS struct {
	CertFile     string // tlsCertFile, "" for a self-signed certificate in CertDir
	KeyFile      string // tlsPrivateKeyFile
	MinVersion   string // tlsMinVersion: VersionTLS12 and so on, "" for the default
	CipherSuites []string
	Curves       []int32 // tlsCurvePreferences
	// Reload follows changes of CertFile and KeyFile (gate ReloadKubeletServerCertificateFile).
	Reload bool
	// Request asks the cluster for the certificate (serverTLSBootstrap).
	Request bool
	// DNSOnly does so too for a node without an IP (gate AllowDNSOnlyNodeCSR).
	DNSOnly bool
}

// ServerAccess is who may use Port.
type ServerAccess struct {
	Anonymous     bool          // authentication.anonymous.enabled
	TokenWebhook  bool          // authentication.webhook.enabled
	TokenCacheTTL time.Duration // authentication.webhook.cacheTTL
	ClientCAFile  string        // authentication.x509.clientCAFile, "" for none
	Mode          string        // authorization.mode: AlwaysAllow or Webhook
	AllowedTTL    time.Duration // authorization.webhook.cacheAuthorizedTTL
	DeniedTTL     time.Duration // authorization.webhook.cacheUnauthorizedTTL
}

// ServerHandlers switches parts of the API on Port.
type ServerHandlers struct {
	Debugging           bool // enableDebuggingHandlers: everything beyond health, pods and metrics
	SystemLogs          bool // enableSystemLogHandler: /logs/
	Profiling           bool // enableProfilingHandler: /debug/pprof/
	ContentionProfiling bool // enableContentionProfiling
	Flags               bool // enableDebugFlagsHandler: /debug/flags/v
	// WebSockets takes WebSocket streams to the runtime (gate ExtendWebSocketsToKubelet).
	WebSockets bool
	// SplitLogStreams serves stdout and stderr apart (gate PodLogsQuerySplitStreams).
	SplitLogStreams bool
	// LogQuery answers queries at /logs/ (enableSystemLogQuery).
	LogQuery bool
	// Checkpoint serves /checkpoint/, Flagz /flagz, Statusz /statusz and AllocatedPods /allocatedPods
	// (gates ContainerCheckpoint, ComponentFlagz, ComponentStatusz, KubeletAllocatedPodsEndpoint).
	Checkpoint, Flagz, Statusz, AllocatedPods bool
}

// Logging is the logging group without the alpha options.
type Logging struct {
	Format    string // text or json
	Verbosity int    // --v
	// Tracing is tracing: where spans are sent and how many; nil: nowhere.
	Tracing        *tracing.TracingConfiguration
	FlushFrequency time.Duration // longest time between two flushes
}

// Effective returns a copy of the whole configuration after defaults, files and flags, in the
// form that /configz serves.
func (c *Config) Effective() *v1beta1.KubeletConfiguration { return c.effective.DeepCopy() }

// Inert names every field and flag that is set to something else than its default and that
// this version of the agent ignores, wholly or in part. It is logged once at start.
func (c *Config) Inert() []string { return slices.Clone(c.inert) }
