package config

import (
	"maps"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/kubelet/config/v1beta1"
)

// workingFields are the KubeletConfiguration fields that this version acts on. When a new part
// of the agent starts to use a field, its name moves here; nothing else has to change.
var workingFields = []string{
	"address", "allowedUnsafeSysctls", "authentication", "authorization", "cgroupDriver", "cgroupRoot", "cgroupsPerQOS", "clusterDNS", "clusterDomain",
	"containerLogMaxFiles", "containerLogMaxSize", "containerLogMaxWorkers", "containerLogMonitorInterval",
	"containerRuntimeEndpoint", "contentType", "cpuCFSQuota", "cpuCFSQuotaPeriod", "crashLoopBackOff", "enableContentionProfiling",
	"enableDebugFlagsHandler", "enableDebuggingHandlers", "enableProfilingHandler", "enableServer",
	"enableSystemLogHandler", "enableSystemLogQuery", "enforceNodeAllocatable", "eventBurst", "eventRecordQPS",
	"failCgroupV1", "failSwapOn", "featureGates", "fileCheckFrequency", "healthzBindAddress",
	"healthzPort", "imagePullCredentialsVerificationPolicy", "imageServiceEndpoint", "kubeAPIBurst", "kubeAPIQPS", "kubeReserved",
	"kubeReservedCgroup",
	"logging.format", "logging.verbosity", "maxParallelImagePulls", "maxPods",
	"memoryReservationPolicy", "memorySwap.swapBehavior", "memoryThrottlingFactor", "mergeDefaultEvictionSettings", "nodeLeaseDurationSeconds", "nodeStatusMaxImages",
	"nodeStatusReportFrequency", "nodeStatusUpdateFrequency", "oomScoreAdj", "podLogsDir",
	"podPidsLimit", "podsPerCore", "port", "preloadedImagesVerificationAllowlist", "providerID", "readOnlyPort", "registerNode", "registerWithTaints", "registryBurst",
	"registryPullQPS", "resolvConf", "rotateCertificates", "runtimeRequestTimeout", "seccompDefault", "serializeImagePulls", "serverTLSBootstrap",
	"singleProcessOOMKill", "staticPodPath", "systemReserved", "systemReservedCgroup", "tlsCertFile", "tlsCipherSuites", "tlsCurvePreferences",
	"tlsMinVersion", "tlsPrivateKeyFile", "tracing", "userNamespaces", "volumeStatsAggPeriod",
}

// partialFields act in part; the text says which part is missing.
var partialFields = map[string]string{
	"evictionHard": "it only reduces allocatable, no pod is evicted yet",
}

// workingFlags are the flags without a field that this version acts on.
var workingFlags = []string{
	"bootstrap-kubeconfig", "cert-dir", "config", "config-dir", "enable-git-repo-volumes", "help", "hostname-override", "image-credential-provider-bin-dir",
	"image-credential-provider-config", "kubeconfig", "node-ip", "node-labels", "root-dir", "runtime-cgroups", "seccomp-default", "version",
}

// reportedFlags are ignored by intention and have a warning of their own.
var reportedFlags = []string{"container-runtime", "pod-infra-container-image"}

// inert compares kc with the defaults it started from and fs with the flag defaults.
func inert(kc, base *v1beta1.KubeletConfiguration, fs *pflag.FlagSet) []string {
	var names []string
	flags := fieldFlags()
	have, defaults := flatten(kc), flatten(base)
	for _, path := range slices.Sorted(maps.Keys(have)) {
		if have[path] == defaults[path] || pathStartsWith(path, workingFields) {
			continue
		}
		name := path
		if flagName := flags[path]; flagName != "" {
			name += " (--" + flagName + ")"
		}
		if missing, partial := partialFields[path]; partial {
			name += ": " + missing
		}
		names = append(names, name)
	}
	for _, def := range allFlags() {
		f := fs.Lookup(def.name)
		if def.field != "" || f.Value.String() == f.DefValue || slices.Contains(workingFlags, def.name) || slices.Contains(reportedFlags, def.name) {
			continue
		}
		names = append(names, "--"+def.name)
	}
	slices.SortStableFunc(names, strings.Compare)
	return names
}
