package stats

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

// collectTimeout is how long a scrape of /metrics waits for volumes.
const collectTimeout = 2 * time.Second

// Collector shows in /metrics how full claims and logs are. It costs nothing but when
// it is collected.
func (s *Summarizer) Collector() prometheus.Collector {
	claim := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("kubelet_volume_stats_"+name, help, []string{"namespace", "persistentvolumeclaim"}, nil)
	}
	return &collector{
		s: s,
		logs: prometheus.NewDesc("kubelet_container_log_filesystem_used_bytes",
			"[ALPHA] Bytes used by the container's logs on the filesystem.", []string{"uid", "namespace", "pod", "container"}, nil),
		capacity:   claim("capacity_bytes", "[ALPHA] Capacity in bytes of the volume"),
		available:  claim("available_bytes", "[ALPHA] Number of available bytes in the volume"),
		used:       claim("used_bytes", "[ALPHA] Number of used bytes in the volume"),
		inodes:     claim("inodes", "[ALPHA] Maximum number of inodes in the volume"),
		inodesFree: claim("inodes_free", "[ALPHA] Number of free inodes in the volume"),
		inodesUsed: claim("inodes_used", "[ALPHA] Number of used inodes in the volume"),
	}
}

type collector struct {
	s                                                               *Summarizer
	logs, capacity, available, used, inodes, inodesFree, inodesUsed *prometheus.Desc
}

// newTook counts how long volumes took to be measured.
func newTook() *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "kubelet_volume_metric_collection_duration_seconds", Buckets: prometheus.DefBuckets,
		Help: "[ALPHA] Duration in seconds to calculate volume stats",
	}, []string{"metric_source"})
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.logs, c.capacity, c.available, c.used, c.inodes, c.inodesFree, c.inodesUsed} {
		to <- d
	}
	c.s.volumes.took.Describe(to)
}

// Collect implements prometheus.Collector. It reads no cgroup: which containers run
// is known.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	var rows []Row
	for _, v := range c.s.reader.cfg.Pods() {
		if v != nil && v.Pod != nil {
			rows = append(rows, runningOf(v)...)
		}
	}
	c.collectLogs(rows, to)
	c.collectClaims(ctx, rows, to)
	c.s.volumes.took.Collect(to)
}

// runningOf are rows of a pod and of its containers that run, without figures; none
// if no container runs.
func runningOf(v *pod.View) []Row {
	rows := []Row{{Group: Group{Kind: KindPod, Pod: v.Ref}}}
	for _, list := range statuses(v) {
		for i := range list {
			if list[i].State.Running != nil {
				rows = append(rows, Row{Group: Group{Kind: KindContainer, Pod: v.Ref, Container: list[i].Name}})
			}
		}
	}
	if len(rows) == 1 {
		return nil
	}
	return rows
}

func (c *collector) collectLogs(rows []Row, to chan<- prometheus.Metric) {
	for i := 0; i < len(rows); {
		first := i
		for i++; i < len(rows) && rows[i].Kind != KindPod; i++ {
		}
		ref := rows[first].Pod
		logs := c.s.logs.of(ref, rows[first:i])
		for _, r := range rows[first+1 : i] {
			if size := logs.containers[r.Container]; size.known {
				to <- prometheus.MustNewConstMetric(c.logs, prometheus.GaugeValue, float64(size.bytes),
					valid(string(ref.UID)), valid(ref.Namespace), valid(ref.Name), valid(r.Container))
			}
		}
	}
}

// collectClaims shows each claim once, however many pods have it.
func (c *collector) collectClaims(ctx context.Context, rows []Row, to chan<- prometheus.Metric) {
	shown := map[[2]string]bool{}
	measured := c.s.volumes.measure(ctx, rows)
	for i := range rows {
		if rows[i].Kind != KindPod {
			continue
		}
		ref := rows[i].Pod
		for _, v := range measured[types.UID(ref.UID)] {
			claim := [2]string{valid(ref.Namespace), valid(v.Claim)}
			if v.Claim == "" || shown[claim] {
				continue
			}
			shown[claim] = true
			add := func(d *prometheus.Desc, n int64) {
				to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), claim[0], claim[1])
			}
			add(c.capacity, v.Capacity)
			add(c.available, v.Available)
			add(c.used, v.Usage.Used)
			add(c.inodes, v.Inodes)
			add(c.inodesFree, v.InodesFree)
			add(c.inodesUsed, v.InodesUsed)
		}
	}
}
