package config

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"k8s.io/kubelet/config/v1beta1"
)

// validator collects what is wrong with one configuration.
type validator struct {
	kc       *v1beta1.KubeletConfiguration
	fl       *flagValues
	features Features
	env      Environment
	flags    map[string]string
	problems Problems
}

// validate holds the merged configuration against the rules of the kubelet and reports all
// problems. It expects applied defaults: no pointer with a default is nil.
func validate(kc *v1beta1.KubeletConfiguration, fl *flagValues, features Features, env Environment) Problems {
	v := &validator{kc: kc, fl: fl, features: features, env: env, flags: fieldFlags()}
	v.numbers()
	v.durations()
	v.choices()
	v.addresses()
	v.paths()
	v.images()
	v.eviction()
	v.reserved()
	v.allocatable()
	v.shutdown()
	v.crashLoop()
	v.memoryQoS()
	v.sysctls()
	v.logging()
	v.tls()
	v.tracing()
	v.gated()
	v.commandLine()
	v.host()
	return v.problems
}

// bad reports one field; value is shown as given.
func (v *validator) bad(field string, value any, reason, fix string) {
	v.problems = append(v.problems, Problem{Field: field, Flag: v.flags[field], Value: fmt.Sprint(value), Reason: reason, Fix: fix})
}

// numberRule is the allowed range of one number, both ends included.
type numberRule struct {
	field    string
	value    int64
	min, max int64
}

const noLimit = math.MaxInt64

func (v *validator) numbers() {
	kc := v.kc
	rules := []numberRule{
		{"nodeLeaseDurationSeconds", int64(kc.NodeLeaseDurationSeconds), 1, noLimit},
		{"eventBurst", int64(kc.EventBurst), 0, noLimit},
		{"eventRecordQPS", int64(*kc.EventRecordQPS), 0, noLimit},
		{"kubeAPIBurst", int64(kc.KubeAPIBurst), 0, noLimit},
		{"kubeAPIQPS", int64(*kc.KubeAPIQPS), 0, noLimit},
		{"registryBurst", int64(kc.RegistryBurst), 0, noLimit},
		{"registryPullQPS", int64(*kc.RegistryPullQPS), 0, noLimit},
		{"healthzPort", int64(*kc.HealthzPort), 0, 65535},
		{"port", int64(kc.Port), 1, 65535},
		{"readOnlyPort", int64(kc.ReadOnlyPort), 0, 65535},
		{"imageGCHighThresholdPercent", int64(*kc.ImageGCHighThresholdPercent), 0, 100},
		{"imageGCLowThresholdPercent", int64(*kc.ImageGCLowThresholdPercent), 0, 100},
		{"iptablesDropBit", int64(*kc.IPTablesDropBit), 0, 31},
		{"iptablesMasqueradeBit", int64(*kc.IPTablesMasqueradeBit), 0, 31},
		{"nodeStatusMaxImages", int64(*kc.NodeStatusMaxImages), -1, noLimit},
		{"maxOpenFiles", kc.MaxOpenFiles, 0, noLimit},
		{"maxPods", int64(kc.MaxPods), 0, noLimit},
		{"podsPerCore", int64(kc.PodsPerCore), 0, noLimit},
		{"oomScoreAdj", int64(*kc.OOMScoreAdj), -1000, 1000},
		{"containerLogMaxWorkers", int64(*kc.ContainerLogMaxWorkers), 1, noLimit},
		{"containerLogMaxFiles", int64(*kc.ContainerLogMaxFiles), 2, noLimit},
	}
	if kc.MaxParallelImagePulls != nil {
		rules = append(rules, numberRule{"maxParallelImagePulls", int64(*kc.MaxParallelImagePulls), 1, noLimit})
	}
	for _, r := range rules {
		switch {
		case r.value >= r.min && r.value <= r.max:
		case r.max == noLimit:
			v.bad(r.field, r.value, fmt.Sprintf("must be %d or more", r.min), "correct the number or remove it for the default")
		default:
			v.bad(r.field, r.value, fmt.Sprintf("must be between %d and %d", r.min, r.max), "correct the number or remove it for the default")
		}
	}
}

// durationRule is the allowed range of one duration, both ends included.
type durationRule struct {
	field    string
	value    time.Duration
	min, max time.Duration
}

func (v *validator) durations() {
	kc := v.kc
	const positive, forever = time.Nanosecond, time.Duration(math.MaxInt64)
	rules := []durationRule{
		{"syncFrequency", kc.SyncFrequency.Duration, positive, forever},
		{"fileCheckFrequency", kc.FileCheckFrequency.Duration, positive, forever},
		{"httpCheckFrequency", kc.HTTPCheckFrequency.Duration, positive, forever},
		{"nodeStatusUpdateFrequency", kc.NodeStatusUpdateFrequency.Duration, positive, forever},
		{"nodeStatusReportFrequency", kc.NodeStatusReportFrequency.Duration, positive, forever},
		{"runtimeRequestTimeout", kc.RuntimeRequestTimeout.Duration, positive, forever},
		{"cpuManagerReconcilePeriod", kc.CPUManagerReconcilePeriod.Duration, positive, forever},
		{"streamingConnectionIdleTimeout", kc.StreamingConnectionIdleTimeout.Duration, 0, forever},
		{"evictionPressureTransitionPeriod", kc.EvictionPressureTransitionPeriod.Duration, 0, forever},
		{"authentication.webhook.cacheTTL", kc.Authentication.Webhook.CacheTTL.Duration, 0, forever},
		{"authorization.webhook.cacheAuthorizedTTL", kc.Authorization.Webhook.CacheAuthorizedTTL.Duration, 0, forever},
		{"authorization.webhook.cacheUnauthorizedTTL", kc.Authorization.Webhook.CacheUnauthorizedTTL.Duration, 0, forever},
		{"imageMinimumGCAge", kc.ImageMinimumGCAge.Duration, 0, forever},
		{"imageMaximumGCAge", kc.ImageMaximumGCAge.Duration, 0, forever},
		{"containerLogMonitorInterval", kc.ContainerLogMonitorInterval.Duration, 3 * time.Second, forever},
		{"cpuCFSQuotaPeriod", kc.CPUCFSQuotaPeriod.Duration, time.Millisecond, time.Second},
	}
	for _, r := range rules {
		switch {
		case r.value >= r.min && r.value <= r.max:
		case r.min == positive:
			v.bad(r.field, r.value, "must be longer than 0s", "write a duration such as 10s or remove it for the default")
		case r.max == forever:
			v.bad(r.field, r.value, fmt.Sprintf("must be %v or longer", r.min), "write a duration such as 10s or remove it for the default")
		default:
			v.bad(r.field, r.value, fmt.Sprintf("must be between %v and %v", r.min, r.max), "correct the duration or remove it for the default")
		}
	}
}

// oneOf reports a value that is not in the list.
func (v *validator) oneOf(field, value string, allowed ...string) {
	if slices.Contains(allowed, value) {
		return
	}
	quoted := make([]string, len(allowed))
	for i, a := range allowed {
		quoted[i] = fmt.Sprintf("%q", a)
	}
	fix := "choose one of these"
	if near := nearest(value, allowed); near != "" {
		fix = "did you mean " + near + "?"
	}
	v.bad(field, fmt.Sprintf("%q", value), "must be one of "+strings.Join(quoted, ", "), fix)
}

func (v *validator) choices() {
	kc := v.kc
	v.oneOf("authorization.mode", string(kc.Authorization.Mode), "Webhook", "AlwaysAllow")
	v.oneOf("cgroupDriver", kc.CgroupDriver, "systemd", "cgroupfs")
	v.oneOf("cpuManagerPolicy", kc.CPUManagerPolicy, "none", "static")
	v.oneOf("memoryManagerPolicy", kc.MemoryManagerPolicy, v1beta1.NoneMemoryManagerPolicy, v1beta1.StaticMemoryManagerPolicy)
	v.oneOf("topologyManagerPolicy", kc.TopologyManagerPolicy, v1beta1.NoneTopologyManagerPolicy,
		v1beta1.BestEffortTopologyManagerPolicy, v1beta1.RestrictedTopologyManagerPolicy, v1beta1.SingleNumaNodeTopologyManagerPolicy)
	v.oneOf("topologyManagerScope", kc.TopologyManagerScope, v1beta1.ContainerTopologyManagerScope, v1beta1.PodTopologyManagerScope)
	v.oneOf("hairpinMode", kc.HairpinMode, v1beta1.PromiscuousBridge, v1beta1.HairpinVeth, v1beta1.HairpinNone)
	v.oneOf("configMapAndSecretChangeDetectionStrategy", string(kc.ConfigMapAndSecretChangeDetectionStrategy), "Watch", "Cache", "Get")
	v.oneOf("memorySwap.swapBehavior", kc.MemorySwap.SwapBehavior, "", "NoSwap", "LimitedSwap")
	v.oneOf("memoryReservationPolicy", string(kc.MemoryReservationPolicy), "None", "TieredReservation")
	if kc.RunOnce {
		v.bad("runOnce", true, "Kubernetes has no run-once mode any more", "remove it")
	}
	if kc.ShowHiddenMetricsForVersion != "" && kc.ShowHiddenMetricsForVersion != "1.36" {
		v.bad("showHiddenMetricsForVersion", kc.ShowHiddenMetricsForVersion, "only the previous minor version, 1.36, has hidden metrics", "write \"1.36\" or remove it")
	}
	for _, taint := range kc.RegisterWithTaints {
		if err := checkTaint(taint); err != nil {
			v.bad("registerWithTaints", taint.ToString(), err.Error(), "correct or remove the taint")
		}
	}
}

func (v *validator) addresses() {
	for field, value := range map[string]string{"address": v.kc.Address, "healthzBindAddress": v.kc.HealthzBindAddress} {
		if _, err := netip.ParseAddr(value); err != nil {
			v.bad(field, fmt.Sprintf("%q", value), "must be an IP address", "write 0.0.0.0 or :: for all interfaces")
		}
	}
	if cidr := v.kc.PodCIDR; cidr != "" {
		for part := range strings.SplitSeq(cidr, ",") {
			if _, err := netip.ParsePrefix(part); err != nil {
				v.bad("podCIDR", cidr, "must be an address range such as 10.244.0.0/24", "correct or remove it")
			}
		}
	}
}

func (v *validator) commandLine() {
	v.problems = append(v.problems, checkNodeLabels(v.fl.node.labels)...)
	if provider := v.fl.node.cloudProvider; provider != "" && provider != "external" {
		v.problems = append(v.problems, Problem{Flag: "cloud-provider", Value: provider, Reason: "must be empty or external, in-tree cloud providers are gone", Fix: "use external with a cloud controller manager, or remove it"})
	}
	if v.fl.lock.exitOnContention && v.fl.lock.file == "" {
		v.problems = append(v.problems, Problem{Flag: "exit-on-lock-contention", Value: "true", Reason: "it needs a file to lock", Fix: "set --lock-file as well"})
	}
}

// host checks the few things that depend on the machine.
func (v *validator) host() {
	v2, err := v.env.CgroupV2()
	switch {
	case err != nil:
		v.bad("failCgroupV1", *v.kc.FailCgroupV1, "the cgroup version of the host can not be read ("+err.Error()+")", "mount the cgroup file system at /sys/fs/cgroup")
	case !v2 && *v.kc.FailCgroupV1:
		v.bad("failCgroupV1", true, "this host uses cgroup v1", "boot with cgroup v2 (systemd.unified_cgroup_hierarchy=1), or set it to false to run on cgroup v1")
	case !v2 && v.kc.SingleProcessOOMKill != nil && !*v.kc.SingleProcessOOMKill:
		v.bad("singleProcessOOMKill", false, "false needs cgroup v2 and this host uses cgroup v1", "remove it")
	}
	if !*v.kc.FailSwapOn {
		return
	}
	// A kernel without swap has no such file; then swap is off.
	if data, err := v.env.ReadFile("/proc/swaps"); err == nil && strings.Count(strings.TrimSpace(string(data)), "\n") > 0 {
		v.bad("failSwapOn", true, "swap is on", "turn it off (swapoff -a and /etc/fstab), or set it to false")
	}
}
