package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// v1Unlimited is from where on a memory limit of cgroup v1 is none: the kernel
// rounds the largest number down to a page, whatever its size.
const v1Unlimited = math.MaxInt64 - 1<<20

// BelowUsageError refuses a memory limit that is not above what is in use: the
// kernel would kill for it.
type BelowUsageError struct {
	Limit, Usage int64 // bytes
}

// Error is in the kubelet's words: users read it in the pod's conditions.
func (e *BelowUsageError) Error() string {
	return fmt.Sprintf("attempting to set pod memory limit (%d) below current usage (%d)", e.Limit, e.Usage)
}

// Exists reports whether the pod's cgroup is there as a whole: with cgroup v1 in
// every hierarchy that has limits, with v2 with every controller for them. When
// it is not and the pod's containers run, they run outside of it: they have to
// be killed, and are started again in the one that [Manager.Ensure] makes.
// Where pods have no cgroup, nothing can be missing.
func (m *Manager) Exists(p *corev1.Pod) bool {
	if !m.cfg.PerQOS {
		return true
	}
	return validUID(p.UID) == nil && m.complete(m.podName(pod.QOS(p), p.UID))
}

// Wanted are the limits of the pod's spec, which [Manager.Ensure] sets.
func (m *Manager) Wanted(p *corev1.Pod) Limits { return limitsOf(p, &m.cfg, m.host.v2) }

// Resize changes limits of the pod's cgroup and returns what was found afterwards.
// One resource at a time (see [Limits.Only]) lets the caller keep the order in
// which the pod and its containers have to be changed. p is the pod as it is
// allocated; its requests count in its class from now on. A memory limit that is
// not above what is in use is a [BelowUsageError]; a limit that cannot be set is an
// error. A pod without a cgroup of its own has nothing to be changed.
func (m *Manager) Resize(ctx context.Context, p *corev1.Pod, l Limits) (Limits, error) {
	if !m.cfg.PerQOS {
		return Limits{}, nil
	}
	if err := ctx.Err(); err != nil {
		return Limits{}, fmt.Errorf("resize the cgroup of pod %s: %w", pod.RefOf(p), err)
	}
	n, err := m.ofPod(p)
	if err != nil {
		return Limits{}, fmt.Errorf("resize the cgroup of pod %s: %w", pod.RefOf(p), err)
	}
	if l.Memory != nil {
		if err := m.fits(n, *l.Memory); err != nil {
			return Limits{}, fmt.Errorf("cannot decrease memory limits: %w", err)
		}
	}
	if err := m.set(n, l); err != nil {
		return Limits{}, fmt.Errorf("resize the cgroup of pod %s: %w", pod.RefOf(p), err)
	}
	m.adopt()
	m.remember(p)
	m.settle()
	return m.Actual(p)
}

// Compare says which way a part of the limits has to go to be what the pod's spec
// wants: positive is up, zero that it is so already or that the spec wants none,
// for a limit that is there is not taken away. Limits that come are less than none.
func (m *Manager) Compare(p *corev1.Pod, part pod.Limit) (int, error) {
	if !m.cfg.PerQOS {
		return 0, nil
	}
	actual, err := m.Actual(p)
	if err != nil {
		return 0, fmt.Errorf("compare the limits of pod %s: %w", pod.RefOf(p), err)
	}
	return compare(m.Wanted(p), actual, part), nil
}

// Set gives the pod's cgroup one part of the limits that the pod's spec wants.
func (m *Manager) Set(ctx context.Context, p *corev1.Pod, part pod.Limit) error {
	_, err := m.Resize(ctx, p, m.Wanted(p).Only(part))
	return err
}

// With is what the pod's cgroup has once one part of what its spec wants is set.
func (m *Manager) With(p *corev1.Pod, part pod.Limit) (pod.CgroupLimits, error) {
	limits, err := m.Actual(p)
	if err != nil {
		return pod.CgroupLimits{}, fmt.Errorf("read the limits of pod %s: %w", pod.RefOf(p), err)
	}
	want := m.Wanted(p)
	switch part {
	case pod.LimitMemory:
		limits.Memory = want.Memory
	case pod.LimitCPUQuota:
		limits.CPUQuota, limits.CPUPeriod = want.CPUQuota, want.CPUPeriod
	case pod.LimitCPUShares:
		limits.CPUShares = want.CPUShares
	}
	out := pod.CgroupLimits{CPUShares: int64(limits.CPUShares), CPUPeriod: int64(limits.CPUPeriod), Unified: want.Unified} // #nosec G115 -- small
	if limits.CPUQuota != nil {
		out.CPUQuota = *limits.CPUQuota
	}
	if limits.Memory != nil {
		out.Memory = *limits.Memory
	}
	return out, nil
}

// MemoryShort is a [BelowUsageError] when the pod uses as much memory as its spec
// wants to limit it to, or more.
func (m *Manager) MemoryShort(p *corev1.Pod) error {
	wanted := m.Wanted(p).Memory
	if !m.cfg.PerQOS || wanted == nil {
		return nil
	}
	n, err := m.ofPod(p)
	if err != nil {
		return fmt.Errorf("missing pod memory usage: %w", err)
	}
	return m.fits(n, *wanted)
}

// fits checks a memory limit against what is in use.
func (m *Manager) fits(n name, limit int64) error {
	if !m.host.has("memory") {
		return nil
	}
	old, err := m.memoryLimit(n)
	if err != nil {
		return err
	}
	if !lowers(old, limit) {
		return nil
	}
	usage, err := m.usage(n)
	if err != nil {
		return err
	}
	if usage >= limit {
		return &BelowUsageError{Limit: limit, Usage: usage}
	}
	return nil
}

// lowers reports whether a memory limit is less than it was.
func lowers(old, limit int64) bool {
	return limit > 0 && (old == Unlimited || limit < old)
}

// Actual are the CPU and memory limits the pod's cgroup has. It is an error that
// wraps [fs.ErrNotExist] when there is none.
func (m *Manager) Actual(p *corev1.Pod) (Limits, error) {
	if !m.cfg.PerQOS {
		return Limits{}, nil
	}
	n, err := m.ofPod(p)
	if err != nil {
		return Limits{}, err
	}
	l := Limits{}
	if m.host.has("cpu") {
		if err := m.readCPU(n, &l); err != nil {
			return Limits{}, err
		}
	}
	if m.host.has("memory") {
		memory, err := m.memoryLimit(n)
		if err != nil {
			return Limits{}, err
		}
		l.Memory = &memory
	}
	return l, nil
}

// Usage is how much memory the pod uses, in bytes, page cache included.
func (m *Manager) Usage(p *corev1.Pod) (int64, error) {
	if !m.cfg.PerQOS {
		return 0, nil
	}
	n, err := m.ofPod(p)
	if err != nil {
		return 0, err
	}
	return m.usage(n)
}

func (m *Manager) ofPod(p *corev1.Pod) (name, error) {
	if err := validUID(p.UID); err != nil {
		return nil, err
	}
	n := m.podName(pod.QOS(p), p.UID)
	if missing := m.missing(n); missing != "" {
		return nil, fmt.Errorf("cgroup of pod %s (%s): %w: %s", pod.RefOf(p), p.UID, fs.ErrNotExist, missing)
	}
	return n, nil
}

func (m *Manager) readCPU(n name, l *Limits) error {
	if m.host.v2 {
		weight, err := m.number(n, "cpu", "cpu.weight")
		if err != nil {
			return err
		}
		l.CPUShares = sharesOf(uint64(max(weight, 1))) // #nosec G115 -- at least 1
		text, err := m.file(n, "cpu", "cpu.max")
		if err != nil {
			return err
		}
		return parseCPUMax(text, l)
	}
	shares, err := m.number(n, "cpu", "cpu.shares")
	if err != nil {
		return err
	}
	quota, err := m.number(n, "cpu", "cpu.cfs_quota_us")
	if err != nil {
		return err
	}
	period, err := m.number(n, "cpu", "cpu.cfs_period_us")
	if err != nil {
		return err
	}
	l.CPUShares, l.CPUQuota, l.CPUPeriod = uint64(max(shares, 0)), &quota, uint64(max(period, 0)) // #nosec G115 -- not negative
	return nil
}

// parseCPUMax reads "max 100000" and "50000 100000".
func parseCPUMax(text string, l *Limits) error {
	words := strings.Fields(text)
	if len(words) != 2 {
		return fmt.Errorf("cpu.max is %q, not a quota and a period", text)
	}
	quota, err := parseNumber(words[0])
	if err != nil {
		return fmt.Errorf("quota in cpu.max: %w", err)
	}
	period, err := strconv.ParseUint(words[1], 10, 64)
	if err != nil {
		return fmt.Errorf("period in cpu.max: %w", err)
	}
	l.CPUQuota, l.CPUPeriod = &quota, period
	return nil
}

func (m *Manager) memoryLimit(n name) (int64, error) {
	if m.host.v2 {
		return m.number(n, "memory", "memory.max")
	}
	limit, err := m.number(n, "memory", "memory.limit_in_bytes")
	if limit >= v1Unlimited {
		limit = Unlimited
	}
	return limit, err
}

func (m *Manager) usage(n name) (int64, error) {
	if m.host.v2 {
		return m.number(n, "memory", "memory.current")
	}
	return m.number(n, "memory", "memory.usage_in_bytes")
}

func (m *Manager) number(n name, controller, file string) (int64, error) {
	text, err := m.file(n, controller, file)
	if err != nil {
		return 0, err
	}
	number, err := parseNumber(text)
	if err != nil {
		return 0, fmt.Errorf("read %s of cgroup %s: %w", file, n.path(m.cfg.Driver), err)
	}
	return number, nil
}

// parseNumber reads a number, or "max", which is [Unlimited]. What is too large is
// the largest.
func parseNumber(text string) (int64, error) {
	if text == "max" {
		return Unlimited, nil
	}
	number, err := strconv.ParseInt(text, 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		return number, nil
	}
	return number, err
}

func (m *Manager) file(n name, controller, file string) (string, error) {
	if m.host.v2 {
		controller = ""
	}
	mount, ok := m.host.mounts[controller]
	if !ok {
		return "", fmt.Errorf("read %s of cgroup %s: the cgroup controller %s is not there", file, n.path(m.cfg.Driver), controller)
	}
	data, err := os.ReadFile(filepath.Join(mount, n.path(m.cfg.Driver), file)) // #nosec G304 -- the name was checked
	if err != nil {
		return "", fmt.Errorf("read a limit of a cgroup: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}
