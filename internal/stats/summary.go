package stats

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/singleflight"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Runtime is what the container runtime knows of disks.
type Runtime interface {
	// WritableLayers returns what containers have written to their own file systems, by
	// the runtime's ID. It ends by itself, however long the runtime takes.
	WritableLayers(ctx context.Context) (map[string]pod.Disk, error)
	// ImageDisks returns where images and the writable layers are.
	ImageDisks(ctx context.Context) (pod.ImageDisks, error)
}

// Volume is a volume of a pod that can be measured.
type Volume struct {
	// Name is the volume's in the pod, Claim that of its PersistentVolumeClaim.
	Name, Claim string
	// Dir is where it is on the node.
	Dir string
	// FileSystem: it has one of its own. Ephemeral: it counts as the pod's ephemeral
	// storage. Confined: the pod is in a user namespace.
	FileSystem, Ephemeral, Confined bool
}

// Usage is how full a volume is: bytes and inodes of it and of its file system.
type Usage struct {
	Used, InodesUsed    int64
	Available, Capacity int64
	Inodes, InodesFree  int64
	At                  time.Time
}

// Volumes knows the volumes of pods.
type Volumes interface {
	// Mounted are the volumes of a pod that can be measured.
	Mounted(uid types.UID) []Volume
	// Usage measures one, or waits for that as long as ctx says.
	Usage(ctx context.Context, v Volume) (Usage, error)
	// Forget drops what is known of a volume that is gone.
	Forget(dir string)
}

// Node is what a [Summarizer] needs to know of the node.
type Node struct {
	// Name is the Node object's, RootDir the agent's directory, LogsDir that of the logs
	// of pods.
	Name, RootDir, LogsDir string
	// Started is when the agent was.
	Started time.Time
	// HugePages is how much memory is kept for huge pages, in bytes: no pod gets it as
	// ordinary memory.
	HugePages uint64
	// Daemons returns the cgroups of daemons by the kubelet's names for them ("kubelet",
	// "runtime", "misc"), as far as they are known.
	Daemons func() map[string]string
	// VolumesAge is how old what is known of a volume may be: volumeStatsAggPeriod. 0 or
	// less: volumes are not measured.
	VolumesAge time.Duration
}

// Summarizer makes the kubelet's summary. It is safe for concurrent use.
type Summarizer struct {
	node    Node
	reader  *Reader
	runtime Runtime
	volumes volumeCache
	disks   disks
	logs    logs
	boot    time.Time
	log     *zap.Logger

	flights singleflight.Group
	layers  layerCache
}

// NewSummarizer returns one that reads with r. volumes may be nil: then no pod shows
// any.
func NewSummarizer(node Node, r *Reader, runtime Runtime, volumes Volumes, log *zap.Logger) *Summarizer {
	return &Summarizer{
		node: node, reader: r, runtime: runtime, log: log, boot: bootTime(),
		volumes: volumeCache{from: volumes, age: node.VolumesAge, known: map[string]measured{}, took: newTook()},
		logs:    logs{root: node.RootDir, dir: node.LogsDir}, disks: disks{statfs: statfs},
	}
}

// summaryTimeout bounds the making of one summary. Everything in it has a shorter
// limit of its own.
const summaryTimeout = 10 * time.Second

// Summary is what /stats/summary shows: everything, or CPU and memory alone. Those who
// ask at the same time get the same answer, which is not to be changed.
func (s *Summarizer) Summary(ctx context.Context, onlyCPUAndMemory bool) (*statsapi.Summary, error) {
	made := s.flights.DoChan(fmt.Sprint(onlyCPUAndMemory), func() (any, error) {
		// Whoever came first may go away; the others wait for this one.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), summaryTimeout)
		defer cancel()
		return s.make(ctx, onlyCPUAndMemory)
	})
	select {
	case r := <-made:
		if r.Err != nil {
			return nil, r.Err
		}
		summary, ok := r.Val.(*statsapi.Summary)
		if !ok {
			return nil, errors.New("make the summary: it is of another type")
		}
		return summary, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("make the summary: %w", context.Cause(ctx))
	}
}

func (s *Summarizer) make(ctx context.Context, brief bool) (*statsapi.Summary, error) {
	var disks facts
	var asked sync.WaitGroup
	need := needBrief
	if !brief {
		need = needSummary
		asked.Go(func() { disks = s.facts(ctx) })
	}
	rows, err := s.reader.Rows(ctx, need)
	if err != nil {
		return nil, err
	}
	if err := s.reader.ensureRates(ctx, rows); err != nil {
		return nil, err
	}
	asked.Wait()
	m := maker{s: s, brief: brief, rows: running(rows), facts: disks}
	return &statsapi.Summary{Node: m.nodeStats(), Pods: m.podStats(ctx)}, nil
}

// maker makes one summary from what was read for it.
type maker struct {
	s     *Summarizer
	brief bool
	rows  []Row
	facts facts
}

func (m *maker) nodeStats() statsapi.NodeStats {
	root := &m.rows[0]
	info := m.s.reader.machine.meminfo(nil)
	n := statsapi.NodeStats{
		NodeName: m.s.node.Name, StartTime: metav1.NewTime(m.s.boot), SystemContainers: m.systemContainers(),
		CPU: m.cpu(root), Memory: memoryOf(root),
		Swap: &statsapi.SwapStats{Time: metav1.NewTime(root.At), SwapAvailableBytes: new(info.swapTotal)},
	}
	if root.Memory != nil {
		n.Swap.SwapUsageBytes = &root.Memory.Swap
		n.Swap.SwapAvailableBytes = new(less(info.swapTotal, root.Memory.Swap))
	}
	if n.Memory != nil && info.total > 0 {
		n.Memory.AvailableBytes = new(less(less(info.total, root.Memory.WorkingSet), m.s.node.HugePages))
	}
	if m.brief {
		n.StartTime = metav1.NewTime(root.Started)
		return n
	}
	n.IO, n.Network = ioOf(root), networkOf(root)
	n.Fs, n.Rlimit = m.facts.rootFs(root.At), m.s.rlimit()
	n.Runtime = &statsapi.RuntimeStats{ImageFs: m.facts.images, ContainerFs: m.facts.containers}
	return n
}

// rlimit is how many tasks there are and may be.
func (s *Summarizer) rlimit() *statsapi.RlimitStats {
	scratch := newScratch()
	defer scratch.close()
	current, most := s.reader.machine.tasks(scratch)
	r := &statsapi.RlimitStats{Time: metav1.Now()}
	if most >= 0 {
		r.MaxPID = &most
	}
	if current >= 0 {
		r.NumOfRunningProcesses = &current
	}
	return r
}

// systemContainers are the agent, the runtime, what else there is, and all pods, as
// far as it is known what cgroups they are in.
func (m *maker) systemContainers() []statsapi.ContainerStats {
	byPath := map[string]*Row{}
	var pods *Row
	for i := range m.rows {
		r := &m.rows[i]
		if r.Kind == KindQoS && pods == nil {
			pods = r
		}
		if r.Kind <= KindQoS {
			byPath[r.Path] = r
		}
	}
	var all []statsapi.ContainerStats
	add := func(name string, r *Row, started time.Time) {
		if r == nil {
			return
		}
		c := m.container(r)
		c.Name = name
		if !started.IsZero() {
			c.StartTime = metav1.NewTime(started)
		}
		all = append(all, c)
	}
	if m.s.node.Daemons != nil {
		at := m.s.node.Daemons()
		add(statsapi.SystemContainerKubelet, byPath[at[statsapi.SystemContainerKubelet]], m.s.node.Started)
		add(statsapi.SystemContainerRuntime, byPath[at[statsapi.SystemContainerRuntime]], time.Time{})
		add(statsapi.SystemContainerMisc, byPath[at[statsapi.SystemContainerMisc]], time.Time{})
	}
	add(statsapi.SystemContainerPods, pods, time.Time{})
	return all
}

// podStats are those of the pods of which a container runs, in the order of the rows.
func (m *maker) podStats(ctx context.Context) []statsapi.PodStats {
	all := []statsapi.PodStats{}
	var volumes map[types.UID][]volumeUsage
	if !m.brief {
		volumes = m.s.volumes.measure(ctx, m.rows)
	}
	for i := 0; i < len(m.rows); {
		if m.rows[i].Kind < KindPod {
			i++
			continue
		}
		first := i
		for i < len(m.rows) && m.rows[i].Pod.UID == m.rows[first].Pod.UID {
			i++
		}
		if p, ok := m.pod(m.rows[first:i], volumes[m.rows[first].Pod.UID]); ok {
			all = append(all, p)
		}
	}
	return all
}
