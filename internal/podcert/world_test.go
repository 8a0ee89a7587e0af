package podcert

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a Manager at work in a bubble, its API server, its signer and its users.
type world struct {
	*Manager
	t    *testing.T
	logs *observer.ObservedLogs

	mu       sync.Mutex
	fail     error // of every request
	sign     func(r *certificatesv1.PodCertificateRequest)
	atOnce   bool // the signer is faster than the answer to the creation
	made     []*certificatesv1.PodCertificateRequest
	watchers map[*watch.RaceFreeFakeWatcher]struct{}
	lists    int
	events   []string
	changed  []types.UID
}

func inBubble(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.DebugLevel)
		w := &world{t: t, logs: logs, watchers: map[*watch.RaceFreeFakeWatcher]struct{}{}}
		w.Manager = New("node", Deps{Client: w, Events: w, Changed: func(uids []types.UID) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.changed = append(w.changed, uids...)
		}}, zap.New(core))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		test(t, w)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if n := w.watching(); n != 0 {
			t.Errorf("%d watches at the end", n)
		}
	})
}

func (w *world) failWith(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail = err
	if err != nil {
		for watcher := range w.watchers {
			watcher.Stop()
			delete(w.watchers, watcher)
		}
	}
}

// signWith has requests from now on answered by a signer; nil: not.
func (w *world) signWith(sign func(*certificatesv1.PodCertificateRequest)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sign = sign
}

// requested says how many requests there are, once all is quiet.
func (w *world) requested() int {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.made)
}

func (w *world) List(_ context.Context, opts metav1.ListOptions) (*certificatesv1.PodCertificateRequestList, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lists++
	if w.fail != nil || opts.FieldSelector != "spec.nodeName=node" || opts.ResourceVersion != "" {
		return nil, errors.Join(w.fail, fmt.Errorf("list of %s at %q", opts.FieldSelector, opts.ResourceVersion))
	}
	list := &certificatesv1.PodCertificateRequestList{ListMeta: metav1.ListMeta{ResourceVersion: "7"}}
	for _, r := range w.made {
		list.Items = append(list.Items, *r.DeepCopy())
	}
	return list, nil
}

type watcher struct {
	*watch.RaceFreeFakeWatcher
	w *world
}

func (x watcher) Stop() {
	x.RaceFreeFakeWatcher.Stop()
	x.w.mu.Lock()
	defer x.w.mu.Unlock()
	delete(x.w.watchers, x.RaceFreeFakeWatcher)
}

func (w *world) Watch(_ context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail != nil || opts.FieldSelector != "spec.nodeName=node" || opts.ResourceVersion != "7" {
		return nil, errors.Join(w.fail, fmt.Errorf("watch of %s from %q", opts.FieldSelector, opts.ResourceVersion))
	}
	f := watch.NewRaceFreeFake()
	w.watchers[f] = struct{}{}
	return watcher{f, w}, nil
}

func (w *world) watching() int {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.watchers)
}

func (w *world) Create(_ context.Context, r *certificatesv1.PodCertificateRequest) (*certificatesv1.PodCertificateRequest, error) {
	w.mu.Lock()
	if w.fail != nil {
		w.mu.Unlock()
		return nil, w.fail
	}
	r = r.DeepCopy()
	r.Name = fmt.Sprintf("%s%d", r.GenerateName, len(w.made)+1)
	w.made = append(w.made, r)
	w.send(watch.Added, r)
	name, made := r.Name, r.DeepCopy()
	sign, atOnce := w.sign, w.atOnce
	w.mu.Unlock()
	switch {
	case sign != nil && atOnce:
		w.answer(name, sign)
		time.Sleep(time.Second)
	case sign != nil:
		time.AfterFunc(time.Second, func() { w.answer(name, sign) })
	}
	return made, nil
}

func (w *world) send(kind watch.EventType, r *certificatesv1.PodCertificateRequest) {
	for f := range w.watchers {
		f.Action(kind, r.DeepCopy())
	}
}

func (w *world) ServiceAccount(_ context.Context, namespace, name string) (types.UID, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return types.UID("account-" + namespace + "-" + name), w.fail
}

func (w *world) Node(context.Context) (types.UID, error) { return "uid-of-node", nil }

func (w *world) Event(p *corev1.Pod, container string, warning bool, reason, message string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, fmt.Sprintf("%s %q %v %s: %s", p.Name, container, warning, reason, message))
}

// answer changes a request, as a signer does.
func (w *world) answer(name string, sign func(*certificatesv1.PodCertificateRequest)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.made {
		if r.Name == name {
			sign(r)
			w.send(watch.Modified, r)
		}
	}
}

func (w *world) remove(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.made = slices.DeleteFunc(w.made, func(r *certificatesv1.PodCertificateRequest) bool {
		if r.Name == name {
			w.send(watch.Deleted, r)
		}
		return r.Name == name
	})
}

// issue signs for an hour, to be renewed after half of it. The chain names the request.
func issue(r *certificatesv1.PodCertificateRequest) {
	block := func(text string) string {
		return "noise\n" + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Headers: map[string]string{"a": "b"}, Bytes: []byte(text)}))
	}
	now := time.Now()
	r.Status = certificatesv1.PodCertificateRequestStatus{
		Conditions:       []metav1.Condition{{Type: "Issued", Status: metav1.ConditionTrue}},
		CertificateChain: block(r.Name) + block("intermediate"),
		NotBefore:        &metav1.Time{Time: now}, BeginRefreshAt: &metav1.Time{Time: now.Add(30 * time.Minute)}, NotAfter: &metav1.Time{Time: now.Add(time.Hour)},
	}
}

func refuse(kind string) func(*certificatesv1.PodCertificateRequest) {
	return func(r *certificatesv1.PodCertificateRequest) {
		r.Status.Conditions = []metav1.Condition{{Type: kind, Status: metav1.ConditionTrue, Reason: "UnsupportedKeyType", Message: "try ED25519"}}
	}
}

func pod(uid types.UID) *corev1.Pod {
	seconds := int32(7200)
	source := corev1.VolumeProjection{PodCertificate: &corev1.PodCertificateProjection{
		SignerName: "example.com/signer", KeyType: "ED25519", MaxExpirationSeconds: &seconds, UserAnnotations: map[string]string{"example.com/a": "b"},
	}}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p-" + string(uid), UID: uid},
		Spec: corev1.PodSpec{ServiceAccountName: "sa", Volumes: []corev1.Volume{
			{Name: "other"}, {Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{}, source}}}},
		}},
	}
}

// has is what the chain says, or the error.
func (w *world) has(p *corev1.Pod) string {
	w.t.Helper()
	key, chain, err := w.Certificate(w.t.Context(), p, "v", 1)
	if err != nil {
		return err.Error()
	}
	block, rest := pem.Decode(key)
	if block == nil || block.Type != "PRIVATE KEY" || len(rest) > 0 {
		w.t.Errorf("the key is %.30s...", key)
		return ""
	}
	if _, err := x509.ParsePKCS8PrivateKey(block.Bytes); err != nil {
		w.t.Error(err)
	}
	var words []string
	for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
		words = append(words, string(block.Bytes))
		if len(block.Headers) > 0 {
			w.t.Error("headers are kept")
		}
	}
	if strings.Contains(string(chain), "noise") {
		w.t.Error("what stands between the certificates is kept")
	}
	return strings.Join(words, " ")
}

func (w *world) expect(p *corev1.Pod, want string) {
	w.t.Helper()
	if got := w.has(p); got != want {
		w.t.Errorf("got %s, want %s", got, want)
	}
}

// told returns what users and the pods were told since the last call.
func (w *world) told() string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	told := fmt.Sprint(w.changed, w.events)
	w.changed, w.events = nil, nil
	return told
}

func (w *world) expectTold(want string) {
	w.t.Helper()
	if got := w.told(); got != want {
		w.t.Errorf("told %s, want %s", got, want)
	}
}

func notFound() error {
	return apierrors.NewNotFound(certificatesv1.Resource("podcertificaterequests"), "")
}
