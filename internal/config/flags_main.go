package config

import "k8s.io/component-base/cli/flag"

// mainFlags are the flags that unit files, kubeadm and kind pass.
var mainFlags = []flagDef{
	{name: "config", group: groupMain, usage: "KubeletConfiguration file (kubelet.config.k8s.io/v1beta1, YAML or JSON). Without it the flag-only defaults of the kubelet apply, which are less safe",
		bind: func(t *target) any { return &t.fl.paths.config }},
	{name: "config-dir", group: groupMain, usage: "directory of drop-in files. Every *.conf below it, in lexical order, is merged over --config; other files are skipped",
		bind: func(t *target) any { return &t.fl.paths.configDir }},
	{name: "kubeconfig", group: groupMain, usage: "kubeconfig of the API server. Without it the agent runs static pods only",
		bind: func(t *target) any { return &t.fl.paths.kubeconfig }},
	{name: "bootstrap-kubeconfig", group: groupMain, usage: "kubeconfig used once to request a client certificate when the --kubeconfig file does not exist yet",
		bind: func(t *target) any { return &t.fl.paths.bootstrapKubeconfig }},
	{name: "hostname-override", group: groupMain, usage: "node name to use instead of the hostname",
		bind: func(t *target) any { return &t.fl.node.hostnameOverride }},
	{name: "node-ip", group: groupMain, usage: "address of the node, or a dual-stack pair separated by a comma. 0.0.0.0 or :: only choose the preferred family",
		bind: func(t *target) any { return &t.fl.node.nodeIP }},
	{name: "node-labels", group: groupMain, usage: "labels set at registration, key=value pairs separated by commas. Keys in kubernetes.io and k8s.io are limited to those a node may set on itself",
		bind: func(t *target) any { return (*flag.ConfigurationMap)(&t.fl.node.labels) }},
	{name: "register-with-taints", group: groupMain, field: "registerWithTaints", usage: "taints set at registration, key=value:effect separated by commas",
		bind: func(t *target) any { return &taintsValue{list: &t.kc.RegisterWithTaints} }},
	{name: "container-runtime-endpoint", group: groupMain, field: "containerRuntimeEndpoint", usage: "CRI socket of the container runtime, for example unix:///run/containerd/containerd.sock",
		bind: func(t *target) any { return &t.kc.ContainerRuntimeEndpoint }},
	{name: "root-dir", group: groupMain, usage: "directory for volumes, plugins and state",
		bind: func(t *target) any { return &t.fl.paths.rootDir }},
	{name: "cert-dir", group: groupMain, usage: "directory for the agent's own certificates",
		bind: func(t *target) any { return &t.fl.paths.certDir }},
	{name: "feature-gates", group: groupMain, field: "featureGates", usage: "feature gates, name=true|false separated by commas. Merged over the gates of the config file",
		bind: func(t *target) any { return flag.NewMapStringBool(&t.kc.FeatureGates) }},
	{name: "pod-manifest-path", group: groupMain, field: "staticPodPath", usage: "directory of static pod manifests, or one manifest file",
		bind: func(t *target) any { return &t.kc.StaticPodPath }},
	{name: "version", group: groupMain, usage: "print the version and exit; --version=raw prints all build details",
		bind: func(t *target) any { return &versionValue{s: &t.fl.version} }},
	{name: "help", short: "h", group: groupMain, usage: "print this text and exit",
		bind: func(t *target) any { return &t.fl.help }},
}

// legacyTableFlags are accepted for old command lines only.
var legacyTableFlags = []flagDef{
	{name: "minimum-container-ttl-duration", group: groupLegacy, usage: "how long a finished container is kept before it is removed",
		bind: func(t *target) any { return &t.fl.legacy.minimumContainerTTL }},
	{name: "maximum-dead-containers-per-container", group: groupLegacy, usage: "finished instances kept per container",
		bind: func(t *target) any { return &t.fl.legacy.deadPerContainer }},
	{name: "maximum-dead-containers", group: groupLegacy, usage: "finished containers kept on the node, negative for no limit",
		bind: func(t *target) any { return &t.fl.legacy.dead }},
	{name: "experimental-mounter-path", group: groupLegacy, usage: "path of a mounter binary, use CSI instead",
		bind: func(t *target) any { return &t.fl.legacy.mounterPath }},
	{name: "experimental-allocatable-ignore-eviction", group: groupLegacy, usage: "leave hard eviction thresholds out of node allocatable",
		bind: func(t *target) any { return &t.fl.legacy.ignoreEviction }},
	{name: "housekeeping-interval", group: groupLegacy, usage: "time between two readings of container usage",
		bind: func(t *target) any { return &t.fl.legacy.housekeeping }},
	{name: "pod-infra-container-image", group: groupLegacy, usage: "removed from Kubernetes, accepted and ignored: the runtime chooses the sandbox image",
		bind: func(t *target) any { return &t.fl.legacy.podInfraImage }},
	{name: "container-runtime", group: groupLegacy, usage: "removed from Kubernetes, accepted and ignored: the runtime is always a CRI runtime",
		bind: func(t *target) any { return &t.fl.legacy.runtimeTyp }},
}
