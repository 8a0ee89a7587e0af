package config

import (
	"fmt"
	"maps"
	"math"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"k8s.io/component-base/cli/flag"
	"k8s.io/component-helpers/node/util/sysctl"
	"k8s.io/kubelet/config/v1beta1"
)

// gated reports fields that are set although their gate is off.
func (v *validator) gated() {
	kc := v.kc
	shutdown := kc.ShutdownGracePeriod.Duration > 0 || kc.ShutdownGracePeriodCriticalPods.Duration > 0
	for _, r := range []struct {
		set         bool
		field, gate string
	}{
		{kc.ServerTLSBootstrap, "serverTLSBootstrap", "RotateKubeletServerCertificate"},
		{kc.ImageMaximumGCAge.Duration != 0, "imageMaximumGCAge", "ImageMaximumGCAge"},
		{kc.CPUCFSQuotaPeriod.Duration != 100*time.Millisecond, "cpuCFSQuotaPeriod", "CustomCPUCFSQuotaPeriod"},
		{len(kc.DefaultPodSysctls) > 0, "defaultPodSysctls", "DefaultPodSysctls"},
		{shutdown, "shutdownGracePeriod", "GracefulNodeShutdown"},
		{len(kc.ShutdownGracePeriodByPodPriority) > 0, "shutdownGracePeriodByPodPriority", "GracefulNodeShutdownBasedOnPodPriority"},
		{kc.MemorySwap.SwapBehavior != "", "memorySwap.swapBehavior", "NodeSwap"},
		{*kc.EnableSystemLogQuery, "enableSystemLogQuery", "NodeLogQuery"},
		{kc.ImagePullCredentialsVerificationPolicy != "", "imagePullCredentialsVerificationPolicy", "KubeletEnsureSecretPulledImages"},
		{len(kc.PreloadedImagesVerificationAllowlist) > 0, "preloadedImagesVerificationAllowlist", "KubeletEnsureSecretPulledImages"},
		{kc.CrashLoopBackOff.MaxContainerRestartPeriod != nil, "crashLoopBackOff.maxContainerRestartPeriod", "KubeletCrashLoopBackOffMax"},
		{kc.MemoryReservationPolicy == v1beta1.TieredReservationMemoryReservationPolicy, "memoryReservationPolicy", "MemoryQoS"},
		{len(kc.QOSReserved) > 0, "qosReserved", "QOSReserved"},
		{kc.Logging.Options.Text.SplitStream, "logging.options.text.splitStream", "LoggingAlphaOptions"},
		{kc.Logging.Options.JSON.SplitStream, "logging.options.json.splitStream", "LoggingAlphaOptions"},
		{!kc.Logging.Options.Text.InfoBufferSize.IsZero(), "logging.options.text.infoBufferSize", "LoggingAlphaOptions"},
		{!kc.Logging.Options.JSON.InfoBufferSize.IsZero(), "logging.options.json.infoBufferSize", "LoggingAlphaOptions"},
	} {
		if r.set && !v.features.Enabled(r.gate) {
			v.problems = append(v.problems, Problem{Field: r.field, Flag: v.flags[r.field],
				Reason: "it needs the feature gate " + r.gate + ", which is off", Fix: "remove the field or turn the gate on in featureGates (--feature-gates)"})
		}
	}
	if *kc.EnableSystemLogQuery && !*kc.EnableSystemLogHandler {
		v.bad("enableSystemLogQuery", true, "it needs enableSystemLogHandler", "set enableSystemLogHandler to true or remove it")
	}
}

func (v *validator) images() {
	kc := v.kc
	low, high := *kc.ImageGCLowThresholdPercent, *kc.ImageGCHighThresholdPercent
	if low >= high {
		v.bad("imageGCLowThresholdPercent", low, fmt.Sprintf("must be less than imageGCHighThresholdPercent (--image-gc-high-threshold), which is %d", high), "lower it or raise the other")
	}
	if oldest := kc.ImageMaximumGCAge.Duration; oldest > 0 && oldest <= kc.ImageMinimumGCAge.Duration {
		v.bad("imageMaximumGCAge", oldest, fmt.Sprintf("must be longer than imageMinimumGCAge (--minimum-image-ttl-duration), which is %v", kc.ImageMinimumGCAge.Duration), "raise it or set 0s to disable it")
	}
	if n := kc.MaxParallelImagePulls; n != nil && *n > 1 && *kc.SerializeImagePulls {
		v.bad("maxParallelImagePulls", *n, "more than 1 needs serializeImagePulls (--serialize-image-pulls) to be false", "set serializeImagePulls to false or remove one of them")
	}
	policy := string(kc.ImagePullCredentialsVerificationPolicy)
	if policy != "" {
		v.oneOf("imagePullCredentialsVerificationPolicy", policy, "NeverVerify", "NeverVerifyPreloadedImages", "NeverVerifyAllowlistedImages", "AlwaysVerify")
	}
	list := kc.PreloadedImagesVerificationAllowlist
	if len(list) > 0 && policy != string(v1beta1.NeverVerifyAllowlistedImages) {
		v.bad("preloadedImagesVerificationAllowlist", strings.Join(list, ","), "it needs imagePullCredentialsVerificationPolicy NeverVerifyAllowlistedImages", "set that policy or remove the list")
	}
	for _, pattern := range list {
		name := strings.TrimSuffix(pattern, "/*")
		base := name[strings.LastIndex(name, "/")+1:]
		if name == "" || strings.ContainsAny(name, "*@ \t\n") || (name == pattern && strings.Contains(base, ":")) {
			v.bad("preloadedImagesVerificationAllowlist", pattern, "must be an image name without tag and digest, or a prefix ending in /*", "correct or remove the entry")
		}
	}
}

func (v *validator) shutdown() {
	kc := v.kc
	total, critical := kc.ShutdownGracePeriod.Duration, kc.ShutdownGracePeriodCriticalPods.Duration
	for _, r := range []durationRule{{field: "shutdownGracePeriod", value: total}, {field: "shutdownGracePeriodCriticalPods", value: critical}} {
		if r.value < 0 || (r.value > 0 && r.value < time.Second) {
			v.bad(r.field, r.value, "must be 0s, or 1s and longer", "correct the duration")
		}
	}
	if critical > total {
		v.bad("shutdownGracePeriodCriticalPods", critical, fmt.Sprintf("must not be longer than shutdownGracePeriod, which is %v", total), "shorten it or lengthen the other")
	}
	if len(kc.ShutdownGracePeriodByPodPriority) > 0 && (total > 0 || critical > 0) {
		v.bad("shutdownGracePeriodByPodPriority", len(kc.ShutdownGracePeriodByPodPriority), "it can not be combined with shutdownGracePeriod and shutdownGracePeriodCriticalPods", "remove one of them")
	}
}

func (v *validator) crashLoop() {
	if p := v.kc.CrashLoopBackOff.MaxContainerRestartPeriod; p != nil && (p.Duration < time.Second || p.Duration > maxRestartDelay) {
		v.bad("crashLoopBackOff.maxContainerRestartPeriod", p.Duration, "must be between 1s and 300s", "correct the duration or remove it for the default of 300s")
	}
	if u := v.kc.UserNamespaces; u != nil && u.IDsPerPod != nil {
		if n := *u.IDsPerPod; n < 65536 || n%65536 != 0 || n > math.MaxUint32 {
			v.bad("userNamespaces.idsPerPod", n, "must be a multiple of 65536, at least 65536 and at most 4294901760", "write 65536 or remove it")
		}
	}
}

func (v *validator) memoryQoS() {
	const formerDefault = 0.9 // still in files of older versions, harmless while the gate is off
	factor := v.kc.MemoryThrottlingFactor
	switch {
	case factor == nil:
	case *factor <= 0 || *factor > 1:
		v.bad("memoryThrottlingFactor", *factor, "must be more than 0 and at most 1", "correct the number or remove it")
	case !v.features.Enabled("MemoryQoS") && *factor != formerDefault:
		v.bad("memoryThrottlingFactor", *factor, "it needs the feature gate MemoryQoS, which is off", "remove the field or turn the gate on")
	}
}

func (v *validator) sysctls() {
	name := regexp.MustCompile(`^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$`)
	seen := map[string]bool{}
	for _, key := range slices.Sorted(maps.Keys(v.kc.DefaultPodSysctls)) {
		normal := sysctl.NormalizeName(key)
		namespace, _, _ := sysctl.GetNamespace(key)
		switch {
		case len(key) > 253 || !name.MatchString(key):
			v.bad("defaultPodSysctls", key, "not a valid sysctl name", "correct or remove it")
		case namespace == sysctl.UnknownNamespace:
			v.bad("defaultPodSysctls", key, "this sysctl belongs to the whole node, not to a pod", "remove it")
		case seen[normal]:
			v.bad("defaultPodSysctls", key, "this sysctl is listed twice", "keep one spelling")
		}
		seen[normal] = true
	}
}

func (v *validator) logging() {
	l := v.kc.Logging
	v.oneOf("logging.format", l.Format, "text", "json")
	if l.Verbosity > math.MaxInt32 {
		v.bad("logging.verbosity", l.Verbosity, fmt.Sprintf("must be at most %d", math.MaxInt32), "use 0 to 10")
	}
	if len(l.VModule) > 0 && l.Format != "text" {
		v.bad("logging.vmodule", len(l.VModule), "it works with the text format only", "remove it or set logging.format to text")
	}
	for _, item := range l.VModule {
		if item.FilePattern == "" || strings.ContainsAny(item.FilePattern, "=,") || item.Verbosity > math.MaxInt32 {
			v.bad("logging.vmodule", fmt.Sprintf("%s=%d", item.FilePattern, item.Verbosity), "needs a file pattern without '=' and ',' and a small verbosity", "write for example plan*=4")
		}
	}
}

func (v *validator) tls() {
	kc := v.kc
	if _, err := flag.TLSCipherSuites(kc.TLSCipherSuites); err != nil {
		v.bad("tlsCipherSuites", strings.Join(kc.TLSCipherSuites, ","), err.Error(), "use names out of "+strings.Join(flag.TLSCipherPossibleValues(), ", "))
	}
	if _, err := flag.TLSVersion(kc.TLSMinVersion); err != nil {
		v.bad("tlsMinVersion", kc.TLSMinVersion, err.Error(), "use one of "+strings.Join(flag.TLSPossibleVersions(), ", "))
	}
	if _, err := flag.TLSCurvePreferences(kc.TLSCurvePreferences); err != nil {
		v.bad("tlsCurvePreferences", fmt.Sprint(kc.TLSCurvePreferences), err.Error(), "use the numbers of crypto/tls.CurveID, or remove it")
	}
}

func (v *validator) tracing() {
	t := v.kc.Tracing
	if t == nil {
		return
	}
	if rate := t.SamplingRatePerMillion; rate != nil && (*rate < 0 || *rate > 1000000) {
		v.bad("tracing.samplingRatePerMillion", *rate, "must be between 0 and 1000000", "correct the number")
	}
	if t.Endpoint == nil {
		return
	}
	endpoint := *t.Endpoint
	if !strings.Contains(endpoint, "//") {
		endpoint = "dns://" + endpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil || !slices.Contains([]string{"dns", "unix", "unix-abstract"}, u.Scheme) {
		v.bad("tracing.endpoint", *t.Endpoint, "must be host:port, or a dns, unix or unix-abstract address", "write for example localhost:4317")
	}
}

func (v *validator) paths() {
	dir := v.kc.PodLogsDir
	ascii := !strings.ContainsFunc(dir, func(r rune) bool { return r > 127 })
	if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir || !ascii {
		v.bad("podLogsDir", fmt.Sprintf("%q", dir), "must be an absolute path without '..', '//' and a final '/', in ASCII", "write for example /var/log/pods")
	}
	if (v.kc.TLSCertFile == "") != (v.kc.TLSPrivateKeyFile == "") {
		v.bad("tlsCertFile", fmt.Sprintf("%q", v.kc.TLSCertFile), "tlsCertFile and tlsPrivateKeyFile (--tls-private-key-file) belong together", "set both or none")
	}
	for _, p := range v.kc.ShutdownGracePeriodByPodPriority {
		if p.ShutdownGracePeriodSeconds < 0 {
			v.bad("shutdownGracePeriodByPodPriority", p.ShutdownGracePeriodSeconds, "must not be negative", "correct the seconds")
		}
	}
}
