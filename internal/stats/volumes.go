package stats

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// volumesTimeout is how long an answer waits for volumes that were never measured
// before. The next one has them.
const volumesTimeout = 500 * time.Millisecond

// volumeUsage is a volume and how full it is.
type volumeUsage struct {
	Volume
	Usage
}

func (v *volumeUsage) stats(namespace string) statsapi.VolumeStats {
	s := statsapi.VolumeStats{
		Name: v.Name,
		FsStats: statsapi.FsStats{
			Time: metav1.NewTime(v.At), AvailableBytes: new(positive(v.Available)), CapacityBytes: new(positive(v.Capacity)),
			UsedBytes: new(positive(v.Used)), InodesFree: new(positive(v.InodesFree)), Inodes: new(positive(v.Inodes)),
			InodesUsed: new(positive(v.InodesUsed)),
		},
	}
	if v.Claim != "" {
		s.PVCRef = &statsapi.PVCReference{Name: v.Claim, Namespace: namespace}
	}
	return s
}

// measured is what is known of a volume.
type measured struct {
	usage  Usage
	asked  time.Time
	waited bool // somebody has waited for it
}

// volumeCache remembers how full volumes are for as long as the configuration says.
type volumeCache struct {
	from Volumes
	age  time.Duration
	took *prometheus.HistogramVec // by what was asked

	mu    sync.Mutex
	known map[string]measured
}

// measure returns the volumes of the pods that have a row, those that could be
// measured. All others are forgotten.
func (c *volumeCache) measure(ctx context.Context, rows []Row) map[types.UID][]volumeUsage {
	if c.from == nil || c.age <= 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	volumes := map[types.UID][]Volume{}
	next := map[string]measured{}
	for i := range rows {
		if rows[i].Kind != KindPod {
			continue
		}
		volumes[rows[i].Pod.UID] = c.from.Mounted(rows[i].Pod.UID)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	ctx, cancel = context.WithTimeout(ctx, volumesTimeout)
	defer cancel()
	// First everybody is asked for what he knows, so that all are measured at the same
	// time; then those that did not know are waited for.
	for _, wait := range []context.Context{ended, ctx} {
		for _, list := range volumes {
			for _, v := range list {
				c.one(wait, v, next)
			}
		}
	}
	for dir := range c.known {
		if _, ok := next[dir]; !ok {
			c.from.Forget(dir)
		}
	}
	c.known = next
	all := map[types.UID][]volumeUsage{}
	for uid, list := range volumes {
		for _, v := range list {
			if m := next[v.Dir]; !m.usage.At.IsZero() {
				all[uid] = append(all[uid], volumeUsage{v, m.usage})
			}
		}
	}
	return all
}

// one takes what is known of a volume over into next, or asks. Nobody is waited for
// twice: what did not answer once may never do.
func (c *volumeCache) one(ctx context.Context, v Volume, next map[string]measured) {
	now, again := next[v.Dir]
	if !now.usage.At.IsZero() || again && now.waited {
		return
	}
	old := c.known[v.Dir]
	if !old.usage.At.IsZero() && time.Since(old.asked) < c.age {
		next[v.Dir] = old
		return
	}
	begin := time.Now()
	usage, err := c.from.Usage(ctx, v)
	if err != nil { // the last that was known stays, if anything
		next[v.Dir] = measured{old.usage, old.asked, old.waited || again}
		return
	}
	source := "du"
	if v.FileSystem {
		source = "statfs"
	}
	c.took.WithLabelValues(source).Observe(time.Since(begin).Seconds())
	next[v.Dir] = measured{usage, time.Now(), true}
}
