package stats

import (
	"context"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/safedir"
)

const (
	// runtimeTimeout is how long an answer waits for the runtime to tell of disks.
	runtimeTimeout = 2 * time.Second
	// layersAge is how old what the runtime has told may be: it measures no more often.
	layersAge = 10 * time.Second
	// statfsTimeout is how long a file system may take to answer.
	statfsTimeout = time.Second
)

// fileSystem is how full one is.
type fileSystem struct{ capacity, free, available, inodes, inodesFree uint64 }

// disks asks file systems, each by one goroutine at most: one may hang.
type disks struct {
	statfs func(dir string) *fileSystem

	mu   sync.Mutex
	busy map[string]*asking
}

// asking is a question that has not been answered. Those who have the same one
// share it.
type asking struct {
	since    time.Time
	answered chan struct{}
	answer   *fileSystem
}

// ask returns nil if a file system does not answer. One that did not before is not
// waited for.
func (d *disks) ask(ctx context.Context, dir string) *fileSystem {
	if dir == "" {
		return nil
	}
	a := d.question(dir)
	left := statfsTimeout - time.Since(a.since)
	if left <= 0 {
		return nil
	}
	limit := time.NewTimer(left)
	defer limit.Stop()
	select {
	case <-a.answered:
		return a.answer
	case <-limit.C:
	case <-ctx.Done():
	}
	return nil
}

// question asks, unless somebody else does.
func (d *disks) question(dir string) *asking {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a := d.busy[dir]; a != nil {
		return a
	}
	if d.busy == nil {
		d.busy = map[string]*asking{}
	}
	a := &asking{since: time.Now(), answered: make(chan struct{})}
	d.busy[dir] = a
	go func() {
		defer close(a.answered)
		a.answer = d.statfs(dir)
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.busy, dir)
	}()
	return a
}

func statfs(dir string) *fileSystem {
	var st unix.Statfs_t
	err := unix.Statfs(dir, &st)
	for err == unix.EINTR {
		err = unix.Statfs(dir, &st)
	}
	if err != nil || st.Frsize < 0 {
		return nil
	}
	unit := uint64(st.Frsize)
	return &fileSystem{
		capacity: st.Blocks * unit, free: st.Bfree * unit, available: st.Bavail * unit,
		inodes: st.Files, inodesFree: st.Ffree,
	}
}

// facts is what is known of disks while a summary is made.
type facts struct {
	root               *fileSystem
	images, containers *statsapi.FsStats
	layers             map[string]pod.Disk
	layersOn           map[string]*fileSystem // by the directory of the layers
}

// facts asks the runtime and the file systems, all at once.
func (s *Summarizer) facts(ctx context.Context) facts {
	var f facts
	var all sync.WaitGroup
	all.Go(func() { f.root = s.disks.ask(ctx, s.node.RootDir) })
	all.Go(func() { f.images, f.containers = s.imageDisks(ctx) })
	all.Go(func() {
		f.layers, f.layersOn = s.layers.get(ctx, s.runtime, s.log), map[string]*fileSystem{}
		for _, layer := range f.layers {
			if _, ok := f.layersOn[layer.Dir]; !ok && len(f.layersOn) < maxDevices {
				f.layersOn[layer.Dir] = s.disks.ask(ctx, layer.Dir)
			}
		}
	})
	all.Wait()
	return f
}

func (s *Summarizer) imageDisks(ctx context.Context) (images, containers *statsapi.FsStats) {
	bounded, cancel := context.WithTimeout(ctx, runtimeTimeout)
	defer cancel()
	told, err := s.runtime.ImageDisks(bounded)
	if err != nil {
		s.log.Debug("the runtime does not tell of its disks; the summary is made without them", zap.Error(err))
		return nil, nil
	}
	images = s.disks.ask(ctx, told.Images.Dir).stats(told.Images)
	if told.Containers.Dir == told.Images.Dir {
		return images, images
	}
	return images, s.disks.ask(ctx, told.Containers.Dir).stats(told.Containers)
}

// stats shows what the runtime uses of a file system; nil: that is not known.
func (f *fileSystem) stats(d pod.Disk) *statsapi.FsStats {
	s := &statsapi.FsStats{Time: metav1.NewTime(d.At), UsedBytes: d.Bytes, InodesUsed: d.Inodes}
	f.fill(s)
	return s
}

// fill sets what a file system tells of itself.
func (f *fileSystem) fill(s *statsapi.FsStats) {
	if f != nil {
		s.AvailableBytes, s.CapacityBytes, s.Inodes, s.InodesFree = &f.available, &f.capacity, &f.inodes, &f.inodesFree
	}
}

// rootFs is the file system that the agent's directory is on.
func (f *facts) rootFs(at time.Time) *statsapi.FsStats {
	if f.root == nil {
		return nil
	}
	s := &statsapi.FsStats{
		Time: metav1.NewTime(at), UsedBytes: new(less(f.root.capacity, f.root.free)), InodesUsed: new(less(f.root.inodes, f.root.inodesFree)),
	}
	f.root.fill(s)
	return s
}

// layer is what a container has written to its own file system; nil: the runtime does
// not tell.
func (f *facts) layer(id string) *statsapi.FsStats {
	d, ok := f.layers[id]
	if !ok {
		return nil
	}
	return f.layersOn[d.Dir].stats(d)
}

// withRoot shows something that is on the same file system as the agent's directory.
func (f *facts) withRoot(at time.Time, used size) *statsapi.FsStats {
	s := &statsapi.FsStats{Time: metav1.NewTime(at)}
	f.root.fill(s)
	if used.known {
		s.UsedBytes, s.InodesUsed = &used.bytes, &used.files
	}
	return s
}

// layerCache remembers what the runtime has told of writable layers.
type layerCache struct {
	mu     sync.Mutex
	at     time.Time
	last   map[string]pod.Disk
	asking chan struct{} // closed when the runtime has answered; nil: nobody asks
}

// get asks the runtime if what is known is old, and waits for its answer for a while:
// one that comes later is there for the next summary. A runtime that does not answer
// leaves what is known as it is.
func (c *layerCache) get(ctx context.Context, from Runtime, log *zap.Logger) map[string]pod.Disk {
	c.mu.Lock()
	if time.Since(c.at) < layersAge {
		defer c.mu.Unlock()
		return c.last
	}
	if c.asking == nil {
		c.asking = make(chan struct{})
		go c.ask(context.WithoutCancel(ctx), from, log, c.asking)
	}
	answered := c.asking
	c.mu.Unlock()
	limit := time.NewTimer(runtimeTimeout)
	defer limit.Stop()
	select {
	case <-answered:
	case <-limit.C:
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

func (c *layerCache) ask(ctx context.Context, from Runtime, log *zap.Logger, answered chan struct{}) {
	layers, err := from.WritableLayers(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asking = nil; err == nil {
		c.at, c.last = time.Now(), layers
	} else {
		log.Debug("the runtime does not tell of writable layers; older figures are shown", zap.Error(err))
	}
	close(answered)
}

// size is how much something takes on a disk.
type size struct {
	bytes, files uint64
	known        bool
}

func (s *size) add(bytes, files *uint64) {
	if bytes != nil {
		s.bytes, s.known = s.bytes+*bytes, true
	}
	if files != nil {
		s.files, s.known = s.files+*files, true
	}
}

func (s *size) plus(o size) {
	s.bytes, s.files, s.known = s.bytes+o.bytes, s.files+o.files, s.known || o.known
}

// logs measures what pods have beside their volumes: the logs of containers, files in
// their log directories, and /etc/hosts.
type logs struct{ root, dir string }

// podLogs is what one pod has of these. A container without a log directory has a
// size that is not known.
type podLogs struct {
	containers map[string]size
	pod, hosts size
}

// maxLogs is how many files of one directory of logs are looked at.
const maxLogs = 1000

// of looks at the directories of a pod. Names come from API objects, and the
// directories can be reached by pods: no name leads elsewhere, and no symlink is
// followed.
func (l *logs) of(ref pod.Ref, rows []Row) podLogs {
	all := podLogs{containers: map[string]size{}, hosts: l.etcHosts(string(ref.UID))}
	dir, err := safedir.Open(l.dir, ref.Namespace+"_"+ref.Name+"_"+string(ref.UID))
	if err != nil {
		return all
	}
	defer dir.Close()
	for i := range rows {
		if rows[i].Kind != KindContainer {
			continue
		}
		if d, err := dir.Open(rows[i].Container); err == nil {
			all.containers[rows[i].Container] = taken(d)
			d.Close()
		}
	}
	all.pod = taken(dir)
	return all
}

func taken(d *safedir.Dir) size {
	bytes, files, err := d.Taken(maxLogs)
	return size{positive(bytes), positive(files), err == nil}
}

// etcHosts is the file that containers see as /etc/hosts.
func (l *logs) etcHosts(uid string) size {
	if !safedir.ValidName(uid) {
		return size{}
	}
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(l.root, "pods", uid, "etc-hosts"), &st); err != nil {
		return size{}
	}
	const blockSize = 512
	return size{positive(st.Blocks) * blockSize, 1, true}
}
