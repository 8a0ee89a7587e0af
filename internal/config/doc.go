// Package config turns the kubelet's command line and configuration files into one checked,
// immutable Config.
//
//	args ──> flags ───────────────────────────────┐
//	--config ──> strict decode ──> defaults ──┐   │
//	--config-dir/*.conf ──> merge patches ────┴───┴──> validate ──> Config
//
// Owns: the tables of flags (flags_*.go), feature gates (gatetable.go) and fields that work in
// this version (inert.go); the defaults, precedence and validation of KubeletConfiguration.
//
// Consumes: arguments and an Environment (files, host name, cgroup version). Nothing else of
// the machine is read and nothing is written.
//
// Publishes: Config with small groups per part of the agent. No other package sees
// KubeletConfiguration, except through Config.Effective, which serves /configz.
//
// # Precedence
//
// Defaults, then the --config file, then the --config-dir files in lexical order, then flags.
// Feature gates are merged by name. Without --config the kubelet's flag-only defaults apply:
// anonymous requests, AlwaysAllow, the read-only port 10255 and no evictionHard.
//
// # Differences to the kubelet, all on purpose
//
//   - Files are decoded strictly. The kubelet logs an unknown or duplicate field in --config
//     and goes on without it, and says nothing about one in a drop-in; here both stop the
//     start with the file, the path of the field and the closest known name.
//   - All problems are reported at once.
//   - --pod-infra-container-image and --container-runtime, which 1.37 no longer has, are
//     accepted with a warning, because kubeadm-flags.env files of older clusters hold them.
//   - Values that the kubelet only trips over later (policies, addresses, eviction signals,
//     reserved quantities, the node name) are checked here.
package config
