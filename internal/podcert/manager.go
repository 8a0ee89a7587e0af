package podcert

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	// firstAnswer is how long a question waits for a certificate that is being made.
	firstAnswer = 5 * time.Second
	// maxMaking bounds the keys that are made at the same time: it costs seconds of a
	// CPU for the large ones.
	maxMaking = 2
)

// errNotIssued is the kubelet's word for a certificate that is not there yet.
var errNotIssued = errors.New("credential bundle is not issued yet")

// Client asks the API server.
type Client interface {
	// List lists PodCertificateRequests of all namespaces.
	List(ctx context.Context, opts metav1.ListOptions) (*certificatesv1.PodCertificateRequestList, error)
	// Watch watches PodCertificateRequests of all namespaces.
	Watch(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error)
	// Create creates one in its namespace.
	Create(ctx context.Context, req *certificatesv1.PodCertificateRequest) (*certificatesv1.PodCertificateRequest, error)
	// ServiceAccount returns the UID of a service account.
	ServiceAccount(ctx context.Context, namespace, name string) (types.UID, error)
	// Node returns the UID of this node's object.
	Node(ctx context.Context) (types.UID, error)
}

// Events tells users about pods.
type Events interface {
	Event(p *corev1.Pod, container string, warning bool, reason, message string)
}

// Deps is what a Manager needs.
type Deps struct {
	// Client is the API server; nil: there is none.
	Client Client
	// Events tells users what is wrong; nil: nobody is told.
	Events Events
	// Changed is told the pod whose certificate is another one now, or was refused.
	// It may call the Manager. Nil: nobody is told.
	Changed func(uids []types.UID)
}

// Manager has certificates made. It is safe for concurrent use.
type Manager struct {
	node string
	deps Deps
	log  *zap.Logger
	open requests
	// making has a place for each key that may be made now.
	making chan struct{}
	// wake holds one hint that there is something in unstarted.
	wake chan struct{}

	mu        sync.Mutex
	records   map[id]*record
	unstarted map[*record]struct{}
}

// id is one podCertificate source of one volume of one pod.
type id struct {
	uid    types.UID
	volume string
	source int
}

// record is what is known about a certificate. The Manager's lock guards what is not
// set when it is made.
type record struct {
	id     id
	wanted *corev1.PodCertificateProjection
	// dropped is closed when nobody wants it any more.
	dropped chan struct{}

	pod         *corev1.Pod // the newest
	certificate *certificate
	err         error // why there is no certificate
	// final: certificate and err will not change.
	final bool
	// news is closed when certificate or err is another one.
	news chan struct{}
}

// certificate is one that was issued, with its key; never changed.
type certificate struct {
	key, chain []byte
	refreshAt  time.Time
	expires    time.Time
}

// New returns a Manager for the pods of a node, by its name.
func New(node string, deps Deps, log *zap.Logger) *Manager {
	return &Manager{
		node: node, deps: deps, log: log,
		open:    requests{wake: make(chan struct{}, 1), waiting: map[types.NamespacedName]chan *certificatesv1.PodCertificateRequest{}},
		making:  make(chan struct{}, maxMaking),
		wake:    make(chan struct{}, 1),
		records: map[id]*record{}, unstarted: map[*record]struct{}{},
	}
}

// Run has the certificates made until ctx ends, and returns nil once everything that
// it started has ended. It is to be called once; Certificate may be called before.
func (m *Manager) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	if m.deps.Client != nil {
		running.Go(func() { m.watch(ctx) })
	}
	for {
		m.mu.Lock()
		taken := m.unstarted
		m.unstarted = map[*record]struct{}{}
		m.mu.Unlock()
		for r := range taken {
			running.Go(func() { m.keep(ctx, r) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-m.wake:
		}
	}
}

// Certificate returns the key and the certificates, as PEM, for a podCertificate
// source of a pod's volume, and has them made and renewed from the first call until
// [Manager.Drop]. It waits for the first certificate until ctx ends, but no more than
// a few seconds. The errors have the kubelet's words. The answer is shared and not to
// be changed.
func (m *Manager) Certificate(ctx context.Context, p *corev1.Pod, volume string, source int) (key, chain []byte, err error) {
	if m.deps.Client == nil {
		return nil, nil, errors.New("unimplemented: this node runs without an API server, which certificates of pods are requested from")
	}
	r, err := m.record(p, id{uid: p.UID, volume: volume, source: source})
	if err != nil {
		return nil, nil, err
	}
	patience := time.NewTimer(firstAnswer)
	defer patience.Stop()
	for waiting := true; ; {
		m.mu.Lock()
		got, failed, final, news := r.certificate, r.err, r.final, r.news
		m.mu.Unlock()
		switch {
		case failed == nil:
			return got.key, got.chain, nil
		case final || !waiting:
			return nil, nil, failed
		}
		select {
		case <-news:
		case <-patience.C:
			waiting = false
		case <-ctx.Done():
			waiting = false
		}
	}
}

// record returns what is known, and begins it when it is not.
func (m *Manager) record(p *corev1.Pod, k id) (*record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.records[k]; r != nil {
		r.pod = p
		return r, nil
	}
	wanted := projection(p, k)
	if wanted == nil {
		return nil, fmt.Errorf("source %d of volume %q of pod %s/%s is no podCertificate", k.source, k.volume, p.Namespace, p.Name)
	}
	r := &record{id: k, wanted: wanted.DeepCopy(), pod: p, err: errNotIssued, dropped: make(chan struct{}), news: make(chan struct{})}
	m.records[k] = r
	m.unstarted[r] = struct{}{}
	hint(m.wake)
	return r, nil
}

func projection(p *corev1.Pod, k id) *corev1.PodCertificateProjection {
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if v.Name == k.volume && v.Projected != nil && k.source >= 0 && k.source < len(v.Projected.Sources) {
			return v.Projected.Sources[k.source].PodCertificate
		}
	}
	return nil
}

// Drop forgets the keys and certificates of a pod, and does not wait for requests
// that are under way.
func (m *Manager) Drop(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, r := range m.records {
		if k.uid == uid {
			delete(m.records, k)
			delete(m.unstarted, r)
			close(r.dropped)
		}
	}
}

// set notes what there is now, and wakes who waits for it.
func (m *Manager) set(r *record, c *certificate, err error, final bool) {
	m.mu.Lock()
	r.certificate, r.err, r.final = c, err, final
	close(r.news)
	r.news = make(chan struct{})
	m.mu.Unlock()
	if (err == nil || final) && m.deps.Changed != nil {
		m.deps.Changed([]types.UID{r.id.uid})
	}
}

// tell tells users of a pod.
func (m *Manager) tell(r *record, reason, message string) {
	if m.deps.Events != nil {
		m.deps.Events.Event(m.podOf(r), "", true, reason, message)
	}
}

func (m *Manager) podOf(r *record) *corev1.Pod {
	m.mu.Lock()
	defer m.mu.Unlock()
	return r.pod
}

func (m *Manager) nameOf(r *record) string {
	p := m.podOf(r)
	return p.Namespace + "/" + p.Name
}

func hint(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
