package config

import (
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/kubelet/config/v1beta1"
)

const (
	defaultRootDir  = "/var/lib/kubelet"
	defaultCertDir  = "/var/lib/kubelet/pki"
	legacyReadOnly  = 10255 // read-only port of a start without --config
	maxRestartDelay = 300 * time.Second
	configKind      = "KubeletConfiguration"
)

// defaultEvictionHard returns the thresholds that a config file without evictionHard gets.
// The API reference leaves imagefs.inodesFree out, the kubelet applies it.
func defaultEvictionHard() map[string]string {
	return map[string]string{
		"memory.available":   "100Mi",
		"nodefs.available":   "10%",
		"nodefs.inodesFree":  "5%",
		"imagefs.available":  "15%",
		"imagefs.inodesFree": "5%",
	}
}

// legacyDefaults returns the configuration of a start without --config: API defaults, except
// for the insecure ones that the kubelet's flags always had. evictionHard stays unset, because
// the kubelet fills it in only when it reads a config file.
func legacyDefaults(gates map[string]bool) *v1beta1.KubeletConfiguration {
	kc := &v1beta1.KubeletConfiguration{}
	applyDefaults(kc, gates)
	*kc.Authentication.Anonymous.Enabled = true
	*kc.Authentication.Webhook.Enabled = false
	kc.Authorization.Mode = v1beta1.KubeletAuthorizationModeAlwaysAllow
	kc.ReadOnlyPort = legacyReadOnly
	return kc
}

// fileDefaults returns what a config file with no fields means.
func fileDefaults(gates map[string]bool) *v1beta1.KubeletConfiguration {
	kc := &v1beta1.KubeletConfiguration{}
	applyDefaults(kc, gates)
	kc.EvictionHard = defaultEvictionHard()
	return kc
}

// orValue sets *p to def when it has the zero value.
func orValue[T comparable](p *T, def T) {
	var zero T
	if *p == zero {
		*p = def
	}
}

// orPointer sets *p to a pointer to def when it is nil.
func orPointer[T any](p **T, def T) {
	if *p == nil {
		*p = &def
	}
}

func orDuration(p *metav1.Duration, def time.Duration) { orValue(&p.Duration, def) }

// applyDefaults fills every unset field. gates are the ones set on the command line; those of
// kc come on top, because two defaults depend on a gate.
func applyDefaults(kc *v1beta1.KubeletConfiguration, gates map[string]bool) {
	kc.TypeMeta = metav1.TypeMeta{APIVersion: v1beta1.SchemeGroupVersion.String(), Kind: configKind}
	defaultServer(kc)
	defaultNode(kc)
	defaultImages(kc)
	defaultManagers(kc)
	defaultFlags(kc)
	defaultLogging(&kc.Logging)
	features, _ := resolveGates(mergeGates(gates, kc.FeatureGates))
	if features.Enabled("KubeletCrashLoopBackOffMax") {
		orPointer(&kc.CrashLoopBackOff.MaxContainerRestartPeriod, metav1.Duration{Duration: maxRestartDelay})
	}
	if features.Enabled("KubeletEnsureSecretPulledImages") {
		orValue(&kc.ImagePullCredentialsVerificationPolicy, v1beta1.NeverVerifyPreloadedImages)
	}
}

func defaultServer(kc *v1beta1.KubeletConfiguration) {
	orPointer(&kc.EnableServer, true)
	orValue(&kc.Address, "0.0.0.0")
	orValue(&kc.Port, 10250)
	orPointer(&kc.HealthzPort, 10248)
	orValue(&kc.HealthzBindAddress, "127.0.0.1")
	orPointer(&kc.Authentication.Anonymous.Enabled, false)
	orPointer(&kc.Authentication.Webhook.Enabled, true)
	orDuration(&kc.Authentication.Webhook.CacheTTL, 2*time.Minute)
	orValue(&kc.Authorization.Mode, v1beta1.KubeletAuthorizationModeWebhook)
	orDuration(&kc.Authorization.Webhook.CacheAuthorizedTTL, 5*time.Minute)
	orDuration(&kc.Authorization.Webhook.CacheUnauthorizedTTL, 30*time.Second)
	orPointer(&kc.EnableDebuggingHandlers, true)
	orPointer(&kc.EnableSystemLogHandler, true)
	orPointer(&kc.EnableSystemLogQuery, false)
	orPointer(&kc.EnableProfilingHandler, true)
	orPointer(&kc.EnableDebugFlagsHandler, true)
	orDuration(&kc.StreamingConnectionIdleTimeout, 4*time.Hour)
}

func defaultNode(kc *v1beta1.KubeletConfiguration) {
	orDuration(&kc.SyncFrequency, time.Minute)
	orDuration(&kc.FileCheckFrequency, 20*time.Second)
	orDuration(&kc.HTTPCheckFrequency, 20*time.Second)
	// An explicit update frequency is also the report frequency; else reports come every 5m.
	report := kc.NodeStatusUpdateFrequency.Duration
	orValue(&report, 5*time.Minute)
	orDuration(&kc.NodeStatusReportFrequency, report)
	orDuration(&kc.NodeStatusUpdateFrequency, 10*time.Second)
	orValue(&kc.NodeLeaseDurationSeconds, 40)
	orPointer(&kc.NodeStatusMaxImages, 50)
	orPointer(&kc.RegisterNode, true)
	orValue(&kc.MaxPods, 110)
	orValue(&kc.ContentType, "application/vnd.kubernetes.protobuf")
	orPointer(&kc.KubeAPIQPS, 50)
	orValue(&kc.KubeAPIBurst, 100)
	orPointer(&kc.EventRecordQPS, 50)
	orValue(&kc.EventBurst, 100)
	orPointer(&kc.ResolverConfig, "/etc/resolv.conf")
	orValue(&kc.HairpinMode, v1beta1.PromiscuousBridge)
	orPointer(&kc.MakeIPTablesUtilChains, true)
	orPointer(&kc.IPTablesMasqueradeBit, 14)
	orPointer(&kc.IPTablesDropBit, 15)
}

func defaultImages(kc *v1beta1.KubeletConfiguration) {
	orValue(&kc.ContainerRuntimeEndpoint, "unix:///run/containerd/containerd.sock")
	orDuration(&kc.RuntimeRequestTimeout, 2*time.Minute)
	orPointer(&kc.RegistryPullQPS, 5)
	orValue(&kc.RegistryBurst, 10)
	parallel := kc.MaxParallelImagePulls != nil && *kc.MaxParallelImagePulls >= 2
	orPointer(&kc.SerializeImagePulls, !parallel)
	orDuration(&kc.ImageMinimumGCAge, 2*time.Minute)
	orPointer(&kc.ImageGCHighThresholdPercent, 85)
	orPointer(&kc.ImageGCLowThresholdPercent, 80)
	orValue(&kc.ContainerLogMaxSize, "10Mi")
	orPointer(&kc.ContainerLogMaxFiles, 5)
	orPointer(&kc.ContainerLogMaxWorkers, 1)
	orPointer(&kc.ContainerLogMonitorInterval, metav1.Duration{Duration: 10 * time.Second})
	orValue(&kc.PodLogsDir, "/var/log/pods")
}

func defaultManagers(kc *v1beta1.KubeletConfiguration) {
	orPointer(&kc.CgroupsPerQOS, true)
	orValue(&kc.CgroupDriver, "cgroupfs")
	orPointer(&kc.FailCgroupV1, true)
	orValue(&kc.CPUManagerPolicy, "none")
	orDuration(&kc.CPUManagerReconcilePeriod, 10*time.Second)
	orValue(&kc.MemoryManagerPolicy, v1beta1.NoneMemoryManagerPolicy)
	orValue(&kc.TopologyManagerPolicy, v1beta1.NoneTopologyManagerPolicy)
	orValue(&kc.TopologyManagerScope, v1beta1.ContainerTopologyManagerScope)
	orPointer(&kc.CPUCFSQuota, true)
	orPointer(&kc.CPUCFSQuotaPeriod, metav1.Duration{Duration: 100 * time.Millisecond})
	orValue(&kc.MemoryReservationPolicy, v1beta1.NoneMemoryReservationPolicy)
	orDuration(&kc.EvictionPressureTransitionPeriod, 5*time.Minute)
	orPointer(&kc.MergeDefaultEvictionSettings, false)
	if kc.EnforceNodeAllocatable == nil {
		kc.EnforceNodeAllocatable = []string{"pods"}
	}
}

func defaultFlags(kc *v1beta1.KubeletConfiguration) {
	orPointer(&kc.OOMScoreAdj, -999)
	orValue(&kc.MaxOpenFiles, 1000000)
	if kc.PodPidsLimit == nil || *kc.PodPidsLimit < 0 {
		kc.PodPidsLimit = new(int64(-1))
	}
	orDuration(&kc.VolumeStatsAggPeriod, time.Minute)
	orPointer(&kc.EnableControllerAttachDetach, true)
	orValue(&kc.VolumePluginDir, "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/")
	orValue(&kc.ConfigMapAndSecretChangeDetectionStrategy, v1beta1.WatchChangeDetectionStrategy)
	orPointer(&kc.FailSwapOn, true)
	orPointer(&kc.SeccompDefault, false)
	orPointer(&kc.LocalStorageCapacityIsolation, true)
}

func defaultLogging(l *logsapi.LoggingConfiguration) {
	orValue(&l.Format, logsapi.DefaultLogFormat)
	if l.FlushFrequency.Duration.Duration == 0 {
		l.FlushFrequency.Duration.Duration = 5 * time.Second
		l.FlushFrequency.SerializeAsString = true
	}
	for _, buffer := range []*resource.QuantityValue{&l.Options.Text.InfoBufferSize, &l.Options.JSON.InfoBufferSize} {
		if buffer.IsZero() {
			*buffer = resource.QuantityValue{Quantity: *resource.NewQuantity(0, resource.DecimalSI)}
		}
	}
}
