package agent

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/opencontainers/cgroups"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"nodeagent.dev/nodeagent/internal/cgroup"
	"nodeagent.dev/nodeagent/internal/stats"
	"nodeagent.dev/nodeagent/internal/volume"
	"nodeagent.dev/nodeagent/internal/volume/usage"
)

// meters are what statistics are read from, beside the runtime and the disk.
type meters struct {
	// cgroups is set once the runtime has said who makes them.
	cgroups atomic.Pointer[cgroup.Manager]
	// meter measures volumes.
	meter *usage.Meter
}

// newStats builds what tells how much pods and the node use. It reads when somebody
// asks.
func (p *parts) newStats() (*stats.Summarizer, *stats.Reader, error) {
	daemons := p.daemons()
	reader, err := stats.NewReader(stats.Config{
		Pods: p.Views, SandboxImage: p.runtime.SandboxImage,
		Cgroups: func() stats.Cgroups {
			if m := p.meters.cgroups.Load(); m != nil {
				return m
			}
			return nil
		},
		System: func() []string {
			var all []string
			for _, path := range daemons {
				all = append(all, path)
			}
			return all
		},
	}, p.log.Named("stats"))
	if err != nil {
		return nil, nil, fmt.Errorf("looking for what cgroups use: %w", err)
	}
	age := p.cfg.Effective().VolumeStatsAggPeriod.Duration
	return stats.NewSummarizer(stats.Node{
		Name: p.cfg.NodeName, RootDir: p.cfg.RootDir, LogsDir: p.cfg.PodLogsDir, Started: time.Now(),
		HugePages: hugePages(p.limits.Capacity), VolumesAge: age, Daemons: func() map[string]string { return daemons },
	}, reader, p.runtime, measuredVolumes{p, p.meters.meter}, p.log.Named("stats")), reader, nil
}

// daemons are the cgroups of daemons, as far as they are known: as configured, and the
// agent's own otherwise, if it has the same one everywhere.
func (p *parts) daemons() map[string]string {
	effective := p.cfg.Effective()
	all := map[string]string{}
	for name, path := range map[string]string{
		statsapi.SystemContainerKubelet: effective.KubeletCgroups, statsapi.SystemContainerRuntime: p.cfg.Cgroup.Runtime,
		statsapi.SystemContainerMisc: effective.SystemCgroups,
	} {
		if path != "" {
			all[name] = path
		}
	}
	if all[statsapi.SystemContainerKubelet] == "" {
		if path := ownCgroup(); path != "" && path != "/" {
			all[statsapi.SystemContainerKubelet] = path
		}
	}
	return all
}

// ownCgroup is the agent's cgroup; empty if the hierarchies do not agree on it.
func ownCgroup() string {
	paths, err := cgroups.ParseCgroupFile("/proc/self/cgroup")
	switch {
	case err != nil:
		return ""
	case cgroups.IsCgroup2UnifiedMode():
		return paths[""]
	case paths["cpu"] == paths["memory"]:
		return paths["memory"]
	}
	return ""
}

// hugePages is how much memory is kept for huge pages of any size, in bytes.
func hugePages(capacity corev1.ResourceList) uint64 {
	var sum resource.Quantity
	for name, amount := range capacity {
		if len(name) > len(corev1.ResourceHugePagesPrefix) && name[:len(corev1.ResourceHugePagesPrefix)] == corev1.ResourceHugePagesPrefix {
			sum.Add(amount)
		}
	}
	return uint64(max(sum.Value(), 0)) // #nosec G115 -- not negative
}

// measuredVolumes are the volumes of pods and who measures them. Before the runtime has
// answered there are none.
type measuredVolumes struct {
	parts *parts
	meter *usage.Meter
}

// Mounted implements stats.Volumes.
func (m measuredVolumes) Mounted(uid types.UID) []stats.Volume {
	manager := m.parts.volumes.Load()
	if manager == nil {
		return nil
	}
	var all []stats.Volume
	for _, v := range manager.Mounted(uid) {
		all = append(all, stats.Volume(v))
	}
	return all
}

// Usage implements stats.Volumes.
func (m measuredVolumes) Usage(ctx context.Context, v stats.Volume) (stats.Usage, error) {
	kind := usage.Tree
	if v.FileSystem {
		kind = usage.FileSystem
	}
	u, err := m.meter.Usage(ctx, usage.Volume{Dir: v.Dir, Kind: kind, Confined: v.Confined})
	if err != nil {
		return stats.Usage{}, err
	}
	return stats.Usage{
		Used: u.Used, InodesUsed: u.InodesUsed, Available: u.Available, Capacity: u.Capacity,
		Inodes: u.Inodes, InodesFree: u.InodesFree, At: u.At,
	}, nil
}

// Forget implements stats.Volumes.
func (m measuredVolumes) Forget(dir string) { m.meter.Forget(dir) }

var _ = volume.Mounted(stats.Volume{}) // the same fields, in the same order
