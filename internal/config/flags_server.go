package config

import (
	"k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"
)

// authFlags are about the agent's own server, who may talk to it, and its certificates.
var authFlags = []flagDef{
	{name: "enable-server", group: groupAuth, field: "enableServer", usage: "serve the HTTPS API of the node",
		bind: func(t *target) any { return t.kc.EnableServer }},
	{name: "address", group: groupAuth, field: "address", usage: "address to serve on, 0.0.0.0 or :: for all interfaces",
		bind: func(t *target) any { return &ipValue{s: &t.kc.Address} }},
	{name: "port", group: groupAuth, field: "port", usage: "port to serve on",
		bind: func(t *target) any { return &t.kc.Port }},
	{name: "read-only-port", group: groupAuth, field: "readOnlyPort", usage: "port without authentication, 0 disables it",
		bind: func(t *target) any { return &t.kc.ReadOnlyPort }},
	{name: "healthz-bind-address", group: groupAuth, field: "healthzBindAddress", usage: "address of the health endpoint",
		bind: func(t *target) any { return &ipValue{s: &t.kc.HealthzBindAddress} }},
	{name: "healthz-port", group: groupAuth, field: "healthzPort", usage: "port of the health endpoint, 0 disables it",
		bind: func(t *target) any { return t.kc.HealthzPort }},
	{name: "anonymous-auth", group: groupAuth, field: "authentication.anonymous.enabled", usage: "treat requests without credentials as system:anonymous instead of refusing them",
		bind: func(t *target) any { return t.kc.Authentication.Anonymous.Enabled }},
	{name: "authentication-token-webhook", group: groupAuth, field: "authentication.webhook.enabled", usage: "check bearer tokens with the TokenReview API",
		bind: func(t *target) any { return t.kc.Authentication.Webhook.Enabled }},
	{name: "authentication-token-webhook-cache-ttl", group: groupAuth, field: "authentication.webhook.cacheTTL", usage: "how long a TokenReview answer is kept",
		bind: func(t *target) any { return &t.kc.Authentication.Webhook.CacheTTL.Duration }},
	{name: "client-ca-file", group: groupAuth, field: "authentication.x509.clientCAFile", usage: "CA bundle for client certificates",
		bind: func(t *target) any { return &t.kc.Authentication.X509.ClientCAFile }},
	{name: "authorization-mode", group: groupAuth, field: "authorization.mode", usage: "AlwaysAllow, or Webhook (SubjectAccessReview API)",
		bind: func(t *target) any { return (*stringerValue)(&t.kc.Authorization.Mode) }},
	{name: "authorization-webhook-cache-authorized-ttl", group: groupAuth, field: "authorization.webhook.cacheAuthorizedTTL", usage: "how long a positive access answer is kept",
		bind: func(t *target) any { return &t.kc.Authorization.Webhook.CacheAuthorizedTTL.Duration }},
	{name: "authorization-webhook-cache-unauthorized-ttl", group: groupAuth, field: "authorization.webhook.cacheUnauthorizedTTL", usage: "how long a negative access answer is kept",
		bind: func(t *target) any { return &t.kc.Authorization.Webhook.CacheUnauthorizedTTL.Duration }},
	{name: "tls-cert-file", group: groupAuth, field: "tlsCertFile", usage: "serving certificate with its chain",
		bind: func(t *target) any { return &t.kc.TLSCertFile }},
	{name: "tls-private-key-file", group: groupAuth, field: "tlsPrivateKeyFile", usage: "key of --tls-cert-file",
		bind: func(t *target) any { return &t.kc.TLSPrivateKeyFile }},
	{name: "tls-cipher-suites", group: groupAuth, field: "tlsCipherSuites", usage: "cipher suites to serve with, Go names separated by commas; empty for Go's choice",
		bind: func(t *target) any { return &t.kc.TLSCipherSuites }},
	{name: "tls-min-version", group: groupAuth, field: "tlsMinVersion", usage: "lowest TLS version: VersionTLS10, VersionTLS11, VersionTLS12 or VersionTLS13",
		bind: func(t *target) any { return &t.kc.TLSMinVersion }},
	{name: "rotate-certificates", group: groupAuth, field: "rotateCertificates", usage: "renew the client certificate through the API server",
		bind: func(t *target) any { return &t.kc.RotateCertificates }},
	{name: "rotate-server-certificates", group: groupAuth, field: "serverTLSBootstrap", usage: "request and renew the serving certificate through the API server",
		bind: func(t *target) any { return &t.kc.ServerTLSBootstrap }},
	{name: "streaming-connection-idle-timeout", group: groupAuth, field: "streamingConnectionIdleTimeout", usage: "idle time after which a stream is closed, 0 for never",
		bind: func(t *target) any { return &t.kc.StreamingConnectionIdleTimeout.Duration }},
	{name: "enable-debugging-handlers", group: groupAuth, field: "enableDebuggingHandlers", usage: "serve logs, exec, attach and port-forward",
		bind: func(t *target) any { return t.kc.EnableDebuggingHandlers }},
	{name: "contention-profiling", group: groupAuth, field: "enableContentionProfiling", usage: "record lock contention for profiling",
		bind: func(t *target) any { return &t.kc.EnableContentionProfiling }},
}

// loggingFlags are those of component-base that the kubelet registers.
var loggingFlags = []flagDef{
	{name: "v", short: "v", keep: true, group: groupLogging, field: "logging.verbosity", usage: "log verbosity, 0 to 10",
		bind: func(t *target) any { return logsapi.VerbosityLevelPflag(&t.kc.Logging.Verbosity) }},
	{name: "vmodule", keep: true, group: groupLogging, field: "logging.vmodule", usage: "verbosity per source file, pattern=N separated by commas (text format only)",
		bind: func(t *target) any { return logsapi.VModuleConfigurationPflag(&t.kc.Logging.VModule) }},
	{name: "log-flush-frequency", keep: true, group: groupLogging, field: "logging.flushFrequency", usage: "longest time between two log flushes",
		bind: func(t *target) any { return &t.kc.Logging.FlushFrequency.Duration.Duration }},
	{name: "logging-format", group: groupLogging, field: "logging.format", usage: "text or json",
		bind: func(t *target) any { return &t.kc.Logging.Format }},
	{name: "log-text-split-stream", group: groupLogging, field: "logging.options.text.splitStream", usage: "text format: errors to stderr, the rest to stdout (gate LoggingAlphaOptions)",
		bind: func(t *target) any { return &t.kc.Logging.Options.Text.SplitStream }},
	{name: "log-text-info-buffer-size", group: groupLogging, field: "logging.options.text.infoBufferSize", usage: "text format: buffer of the info stream in bytes (gate LoggingAlphaOptions)",
		bind: func(t *target) any { return &t.kc.Logging.Options.Text.InfoBufferSize }},
	{name: "log-json-split-stream", group: groupLogging, field: "logging.options.json.splitStream", usage: "json format: errors to stderr, the rest to stdout (gate LoggingAlphaOptions)",
		bind: func(t *target) any { return &t.kc.Logging.Options.JSON.SplitStream }},
	{name: "log-json-info-buffer-size", group: groupLogging, field: "logging.options.json.infoBufferSize", usage: "json format: buffer of the info stream in bytes (gate LoggingAlphaOptions)",
		bind: func(t *target) any { return &t.kc.Logging.Options.JSON.InfoBufferSize }},
}

// networkFlags are about DNS and addresses of pods.
var networkFlags = []flagDef{
	{name: "cluster-dns", group: groupNetwork, field: "clusterDNS", usage: "DNS server addresses of the cluster, separated by commas",
		bind: func(t *target) any { return &t.kc.ClusterDNS }},
	{name: "cluster-domain", group: groupNetwork, field: "clusterDomain", usage: "DNS domain of the cluster",
		bind: func(t *target) any { return &t.kc.ClusterDomain }},
	{name: "resolv-conf", group: groupNetwork, field: "resolvConf", usage: "resolver file that the DNS settings of pods start from",
		bind: func(t *target) any { return t.kc.ResolverConfig }},
	{name: "pod-cidr", group: groupNetwork, field: "podCIDR", usage: "address range of pods, only without an API server",
		bind: func(t *target) any { return &t.kc.PodCIDR }},
	{name: "hairpin-mode", group: groupNetwork, field: "hairpinMode", usage: "promiscuous-bridge, hairpin-veth or none",
		bind: func(t *target) any { return &t.kc.HairpinMode }},
	{name: "make-iptables-util-chains", group: groupNetwork, field: "makeIPTablesUtilChains", usage: "keep the helper iptables chains in place",
		bind: func(t *target) any { return t.kc.MakeIPTablesUtilChains }},
	{name: "manifest-url", group: groupNetwork, field: "staticPodURL", usage: "URL of static pod manifests",
		bind: func(t *target) any { return &t.kc.StaticPodURL }},
	{name: "manifest-url-header", group: groupNetwork, field: "staticPodURLHeader", usage: "HTTP headers for --manifest-url, name:value separated by commas",
		bind: func(t *target) any { return flag.NewColonSeparatedMultimapStringString(&t.kc.StaticPodURLHeader) }},
}
