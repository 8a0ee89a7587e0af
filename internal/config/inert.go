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
	"address", "authentication", "authorization", "cgroupDriver", "cgroupRoot", "cgroupsPerQOS", "clusterDNS", "clusterDomain",
	"containerRuntimeEndpoint", "contentType", "crashLoopBackOff", "enableContentionProfiling",
	"enableDebugFlagsHandler", "enableDebuggingHandlers", "enableProfilingHandler", "enableServer",
	"enableSystemLogHandler", "eventBurst", "eventRecordQPS",
	"failCgroupV1", "failSwapOn", "featureGates", "fileCheckFrequency", "healthzBindAddress",
	"healthzPort", "imageServiceEndpoint", "kubeAPIBurst", "kubeAPIQPS", "kubeReserved",
	"logging.format", "logging.verbosity", "maxParallelImagePulls", "maxPods",
	"mergeDefaultEvictionSettings", "nodeLeaseDurationSeconds", "nodeStatusMaxImages",
	"nodeStatusReportFrequency", "nodeStatusUpdateFrequency", "oomScoreAdj", "podLogsDir",
	"podsPerCore", "port", "providerID", "readOnlyPort", "registerNode", "registerWithTaints", "registryBurst",
	"registryPullQPS", "resolvConf", "runtimeRequestTimeout", "serializeImagePulls",
	"staticPodPath", "systemReserved", "tlsCertFile", "tlsCipherSuites", "tlsCurvePreferences",
	"tlsMinVersion", "tlsPrivateKeyFile",
}

// partialFields act in part; the text says which part is missing.
var partialFields = map[string]string{
	"evictionHard":       "it only reduces allocatable, no pod is evicted yet",
	"serverTLSBootstrap": "a self-signed certificate is served as long as certificates cannot be requested",
}

// workingFlags are the flags without a field that this version acts on.
var workingFlags = []string{
	"cert-dir", "config", "config-dir", "help", "hostname-override", "kubeconfig", "node-ip",
	"node-labels", "root-dir", "version",
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
