package userns

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/safedir"
)

const (
	podsDir = "pods"
	dirMode = 0o750

	// unit is what a range's length and beginning are multiples of (KEP-127), and the
	// default length.
	unit = 65536
	// allIDs is the number of IDs that the kernel has.
	allIDs = 1 << 32

	// reason is what users see of a pod that gets no range: its sandbox is not made.
	reason = "CreatePodSandboxError"
)

// Range are the IDs First to First+Length-1 of the node, users and groups alike. In
// the pod they are 0 to Length-1.
type Range struct {
	First, Length uint32
}

// end is the first ID after the range.
func (r Range) end() uint64 { return uint64(r.First) + uint64(r.Length) }

func (r Range) overlaps(o Range) bool {
	return uint64(r.First) < o.end() && uint64(o.First) < r.end()
}

// String names the range for people.
func (r Range) String() string { return fmt.Sprintf("%d to %d", r.First, r.end()-1) }

// Config says where the files are, and what there is to share out.
type Config struct {
	// RootDir is the node's root directory, an absolute path.
	RootDir string
	// IDsPerPod is userNamespaces.idsPerPod, a multiple of 65536; zero: 65536.
	IDsPerPod int64
	// MaxPods is how many pods there have to be IDs for, at least.
	MaxPods int
	// Subordinate returns what the node has set aside for pods, and false if it has
	// not. Nil: getsubids is asked about the user "kubelet".
	Subordinate func(ctx context.Context) (Range, bool, error)
}

// Ranges shares out the IDs. It is safe for concurrent use; Ensure and Forget of one
// pod are called by its worker, one after the other.
type Ranges struct {
	root    string
	log     *zap.Logger
	all     Range  // what there is, a multiple of length
	length  uint32 // of a pod's range
	maxPods int

	mu     sync.Mutex
	claims map[types.UID]*claim
}

// claim is what a pod has, or what its file says that it has.
type claim struct {
	r Range // Length 0: nobody knows
	// err: the file is not to be relied on. Nobody else gets its IDs all the same,
	// since processes may have them.
	err error
	// busy: it is being written, so that its directory may not be there yet.
	busy bool
}

// New reads what pods on the disk have. ctx bounds the question what IDs the node has
// set aside. It fails if these are too few, or not as the configuration needs them,
// or cannot be found out; a file of a pod that is not valid is no such failure, it is
// logged and said by [Ranges.Ensure].
func New(ctx context.Context, cfg Config, log *zap.Logger) (*Ranges, error) {
	if !filepath.IsAbs(cfg.RootDir) {
		return nil, fmt.Errorf("user namespaces of pods: root directory %q is not an absolute path", cfg.RootDir)
	}
	length := cfg.IDsPerPod
	if length == 0 {
		length = unit
	}
	if length < unit || length%unit != 0 || length > allIDs-unit {
		return nil, fmt.Errorf("user namespaces of pods: userNamespaces.idsPerPod is %d, but has to be a multiple of %d and at most %d", length, unit, allIDs-unit)
	}
	ask := cfg.Subordinate
	if ask == nil {
		ask = getsubids
	}
	all, configured, err := ask(ctx)
	if err != nil {
		return nil, fmt.Errorf("finding out which IDs pods may have: %w", err)
	}
	if !configured {
		all = defaultRange(uint32(length))
	}
	if err := check(all, uint32(length), cfg.MaxPods); err != nil {
		return nil, fmt.Errorf("the IDs that pods may have (%s) do not do: %w; "+
			"correct /etc/subuid and /etc/subgid of user %q, userNamespaces.idsPerPod or maxPods", all, err, owner)
	}
	r := &Ranges{
		root: filepath.Clean(cfg.RootDir), log: log, all: all, length: uint32(length), maxPods: cfg.MaxPods,
		claims: map[types.UID]*claim{},
	}
	if err := r.load(); err != nil {
		return nil, fmt.Errorf("reading which IDs pods on the disk have: %w", err)
	}
	return r, nil
}

// check holds what is set aside for pods against the kubelet's rules.
func check(all Range, length uint32, maxPods int) error {
	switch {
	case all.First%length != 0:
		return fmt.Errorf("they begin with %d, which is no multiple of the %d IDs of a pod", all.First, length)
	case all.First < length: // among them the IDs of the node itself
		return fmt.Errorf("they begin with %d, but the first %d are the node's", all.First, length)
	case all.Length%length != 0:
		return fmt.Errorf("they are %d, which is no multiple of the %d IDs of a pod", all.Length, length)
	case all.end() > allIDs:
		return fmt.Errorf("they end after the last one, %d", uint64(allIDs)-1)
	case int64(all.Length/length) < int64(max(maxPods, 1)):
		return fmt.Errorf("they are enough for %d pods, and the node takes %d", all.Length/length, maxPods)
	}
	return nil
}

// load makes claims of what is on the disk. Only what makes all of it unreadable is
// an error.
func (r *Ranges) load() error {
	dir, err := safedir.Open(r.root, podsDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	uids, err := dir.Dirs()
	if err != nil {
		return err
	}
	same := map[Range][]types.UID{} // ranges as we give them overlap if they are equal
	for _, uid := range uids {
		found, err := r.read(types.UID(uid))
		if err == nil && found.Length == 0 {
			continue
		}
		if err == nil {
			err = r.fits(found)
		}
		if err == nil {
			same[found] = append(same[found], types.UID(uid))
		}
		r.claims[types.UID(uid)] = &claim{r: found, err: err}
	}
	for found, owners := range same {
		for i, uid := range owners {
			if len(owners) > 1 { // which of them has it rightly is not known
				r.claims[uid].err = shared(found, owners[(i+1)%len(owners)])
			}
		}
	}
	for uid, c := range r.claims {
		if c.err != nil {
			r.log.Error("the file with a pod's range of IDs is refused; the pod goes on, but gets no new sandbox",
				zap.String("podUID", string(uid)), zap.Error(c.err))
		}
	}
	return nil
}

func shared(r Range, with types.UID) error {
	return fmt.Errorf("its file says IDs %s, which the file of pod %s says too; delete one of the pods, or its file if none of its containers runs", r, with)
}

// fits says why a range that is in a file is none that we would give.
func (r *Ranges) fits(found Range) error {
	switch {
	case found.Length != r.length:
		return fmt.Errorf("its file says %d IDs, but pods have %d (userNamespaces.idsPerPod); delete the pod, so that another one is made, or set it back", found.Length, r.length)
	case found.First%r.length != 0, found.First < r.all.First, found.end() > r.all.end():
		return fmt.Errorf("its file says IDs %s, which are none of those for pods (%s, %d for each); delete the pod, so that another one is made", found, r.all, r.length)
	}
	return nil
}

// Ensure returns the range of a pod, and chooses one that is free when it has none
// yet. Nil: the pod has the node's IDs, as spec.hostUsers says or leaves to the node.
//
// An error is a [pod.Failure] with reason CreatePodSandboxError.
func (r *Ranges) Ensure(p *corev1.Pod) (*Range, error) {
	if p == nil || p.Spec.HostUsers == nil || *p.Spec.HostUsers {
		return nil, nil
	}
	got, err := r.ensure(p.UID)
	if err != nil {
		return nil, &pod.Failure{Reason: reason, Message: fmt.Sprintf("giving pod %q IDs of its own (hostUsers: false): %v", p.Name, err), Err: err}
	}
	return &got, nil
}

func (r *Ranges) ensure(uid types.UID) (Range, error) {
	if !safedir.ValidName(string(uid)) {
		return Range{}, fmt.Errorf("its UID %q cannot be the name of a directory", uid)
	}
	found, err := r.read(uid)
	if err != nil && !errors.Is(err, errNotValid) {
		return Range{}, err // of the disk, not of the file
	}
	c, fresh, err := r.claim(uid, found, err)
	if err != nil {
		return Range{}, err
	}
	if found.Length == 0 {
		err = r.write(uid, c.r)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c.busy = false
	if err == nil {
		return c.r, nil
	}
	if fresh { // nobody has seen it
		delete(r.claims, uid)
	}
	return Range{}, fmt.Errorf("write down that it has IDs %s: %w", c.r, err)
}

// claim returns what a pod has, given what its file says, and whether it was chosen
// just now. It is busy when it is to be written.
func (r *Ranges) claim(uid types.UID, found Range, fileErr error) (c *claim, fresh bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c = r.claims[uid]
	if fileErr != nil {
		if c == nil { // else what is known stays
			r.claims[uid] = &claim{r: found, err: fileErr}
		}
		return nil, false, fileErr
	}
	if c != nil && c.err != nil { // somebody may have done what the error told them to
		delete(r.claims, uid)
		c = nil
	}
	if c == nil && found.Length != 0 {
		c = &claim{r: found, err: r.admit(found)}
		r.claims[uid] = c
		return c, false, c.err
	}
	if c == nil {
		first, err := r.free()
		if err != nil {
			return nil, false, err
		}
		c = &claim{r: Range{First: first, Length: r.length}, busy: true}
		r.claims[uid] = c
		return c, true, nil
	}
	if found.Length != 0 && found != c.r {
		return nil, false, fmt.Errorf("its file says IDs %s, but it was given %s; delete the pod, so that another one is made", found, c.r)
	}
	c.busy = found.Length == 0
	return c, false, nil
}

// admit says why a pod cannot have what its file says. The caller holds the lock.
func (r *Ranges) admit(found Range) error {
	if err := r.fits(found); err != nil {
		return err
	}
	for other, o := range r.claims {
		if o.r == found {
			return shared(found, other)
		}
	}
	return nil
}

// free returns where a free range begins. The caller holds the lock. The place is
// random: files that a pod has left behind somewhere are then hardly ever those of the
// next one.
func (r *Ranges) free() (uint32, error) {
	if len(r.claims) >= r.maxPods {
		r.sweep()
	}
	slots := r.all.Length / r.length
	taken := make(map[uint32]struct{}, len(r.claims))
	for _, c := range r.claims {
		for slot := range slotsOf(c.r, r.all, r.length) {
			taken[slot] = struct{}{}
		}
	}
	start := random(slots)
	for i := range slots {
		slot := uint32((uint64(start) + uint64(i)) % uint64(slots))
		if _, is := taken[slot]; !is {
			return r.all.First + slot*r.length, nil
		}
	}
	return 0, fmt.Errorf("all %d ranges of IDs that the node has for pods (%s) are taken; delete pods with hostUsers: false, or set aside more IDs for user %q", slots, r.all, owner)
}

// sweep forgets pods whose directory is gone. The caller holds the lock.
func (r *Ranges) sweep() {
	for uid, c := range r.claims {
		if c.busy {
			continue
		}
		dir, err := safedir.Open(r.root, podsDir, string(uid))
		if err == nil {
			dir.Close()
		}
		if errors.Is(err, fs.ErrNotExist) {
			delete(r.claims, uid)
		}
	}
}

// Forget gives the range of a pod back, of which no process is left. It is fine if it
// had none, and if its directory is gone.
func (r *Ranges) Forget(uid types.UID) {
	r.mu.Lock()
	c := r.claims[uid]
	r.mu.Unlock()
	if c == nil {
		return
	}
	if err := r.remove(uid); err != nil {
		// It would be read again after a restart, when another pod has the range.
		r.log.Warn("cannot remove the file with a pod's range of IDs, which stays taken until the pod's directory is gone",
			zap.String("podUID", string(uid)), zap.Error(err))
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.claims, uid)
}

// Supported says whether the runtime can give a pod a user namespace with one of its
// handlers; "" is the default one. It is an error, in the kubelet's words, if not.
func Supported(handlers []pod.RuntimeHandler, handler string) error {
	text := "can't set `spec.hostUsers: false`, runtime does not support user namespaces"
	if handler != "" {
		text = fmt.Sprintf("can't set `spec.hostUsers: false`, RuntimeClass handler %q does not support user namespaces", handler)
	}
	i := slices.IndexFunc(handlers, func(h pod.RuntimeHandler) bool { return h.Name == handler })
	switch {
	case i >= 0 && handlers[i].UserNamespaces:
		return nil
	case i < 0 && len(handlers) > 0: // an old runtime names none
		text += fmt.Sprintf(": the handler %q is not known", handler)
	}
	return &pod.Failure{Reason: reason, Message: text}
}
