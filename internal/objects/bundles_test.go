package objects

import (
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

const bundlesResource = "clustertrustbundles"

// errPathNotFound is how a server answers that does not know an API.
var errPathNotFound = apierrors.NewGenericServerResponse(http.StatusNotFound, "get", certificatesv1.Resource(bundlesResource), "", "the server could not find the requested resource", 0, true)

func (s *server) listBundles(version string) (runtime.Object, error) {
	if version != s.served {
		return nil, errPathNotFound
	}
	meta := metav1.ListMeta{ResourceVersion: strconv.Itoa(s.version)}
	v1, beta := &certificatesv1.ClusterTrustBundleList{ListMeta: meta}, &certificatesv1beta1.ClusterTrustBundleList{ListMeta: meta}
	for _, o := range s.state(bundlesResource) {
		switch o := s.asServed(o.DeepCopyObject()).(type) {
		case *certificatesv1.ClusterTrustBundle:
			v1.Items = append(v1.Items, *o)
		case *certificatesv1beta1.ClusterTrustBundle:
			beta.Items = append(beta.Items, *o)
		}
	}
	if version == "v1" {
		return v1, nil
	}
	return beta, nil
}

func (s *server) asServed(o runtime.Object) runtime.Object {
	if b, is := o.(*certificatesv1.ClusterTrustBundle); is && s.served == "v1beta1" {
		return &certificatesv1beta1.ClusterTrustBundle{ObjectMeta: b.ObjectMeta,
			Spec: certificatesv1beta1.ClusterTrustBundleSpec{SignerName: b.Spec.SignerName, TrustBundle: b.Spec.TrustBundle}}
	}
	return o
}

// bundle holds a block for each word; "a=b" is a label.
func bundle(name, signer string, words ...string) *certificatesv1.ClusterTrustBundle {
	b := &certificatesv1.ClusterTrustBundle{ObjectMeta: objectMeta(name), Spec: certificatesv1.ClusterTrustBundleSpec{SignerName: signer}}
	b.Namespace, b.Labels = "", map[string]string{}
	for _, w := range words {
		if k, v, is := strings.Cut(w, "="); is {
			b.Labels[k] = v
			continue
		}
		block := &pem.Block{Type: "CERTIFICATE", Bytes: []byte(w), Headers: map[string]string{"Note": "to be dropped"}}
		b.Spec.TrustBundle += "between\n" + string(pem.EncodeToMemory(block))
	}
	return b
}

func byName(name string) *corev1.ClusterTrustBundleProjection {
	return &corev1.ClusterTrustBundleProjection{Name: &name}
}

func bySigner(name string) *corev1.ClusterTrustBundleProjection {
	return &corev1.ClusterTrustBundleProjection{SignerName: &name}
}

// said is what the blocks of an answer say, or the error.
func said(t *testing.T, data []byte, err error) string {
	t.Helper()
	if err != nil {
		return err.Error()
	}
	var words []string
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		words = append(words, string(block.Bytes))
		if len(block.Headers) > 0 || block.Type != "CERTIFICATE" {
			t.Errorf("a block of type %s with headers %v", block.Type, block.Headers)
		}
	}
	if strings.Contains(string(data), "between") {
		t.Errorf("what stands between blocks is kept: %s", data)
	}
	slices.Sort(words)
	return fmt.Sprint(words)
}

func (w *world) named(name string, optional bool) string {
	data, err := w.TrustAnchorsByName(w.t.Context(), name, optional)
	return said(w.t, data, err)
}

func (w *world) signed(signer string, selector *metav1.LabelSelector, optional bool) string {
	data, err := w.TrustAnchorsBySigner(w.t.Context(), signer, selector, optional)
	return said(w.t, data, err)
}

func expectSaid(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTrustAnchors(t *testing.T) {
	for _, version := range []string{"v1", "v1beta1"} {
		t.Run(version, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.srv.served = version
				everything := &metav1.LabelSelector{}
				w.srv.put(bundle("plain", "", "x", "y", "x"))
				w.srv.put(bundle("s:one", "s", "a", "b", "env=live"))
				w.srv.put(bundle("s:two", "s", "b", "c", "env=test"))
				w.WantTrustBundles("p", []*corev1.ClusterTrustBundleProjection{byName("plain"), bySigner("s")})
				expectSaid(t, w.named("plain", false), "[x y]")
				expectSaid(t, w.named("s:one", false), "[a b]")
				expectSaid(t, w.signed("s", everything, false), "[a b c]")
				expectSaid(t, w.signed("s", &metav1.LabelSelector{MatchLabels: map[string]string{"env": "test"}}, false), "[b c]")
				expectSaid(t, w.named("none", false), `while getting ClusterTrustBundle: clustertrustbundle.certificates.k8s.io "none" not found`)
				expectSaid(t, w.named("none", true), "[]")
				const zero = "combination of signerName and labelSelector matched zero ClusterTrustBundles"
				expectSaid(t, w.signed("other", everything, false), zero)
				expectSaid(t, w.signed("s", nil, false), zero)
				expectSaid(t, w.signed("other", everything, true), "[]")
				if _, err := w.TrustAnchorsByName(t.Context(), "none", false); !apierrors.IsNotFound(err) {
					t.Errorf("got %v", err)
				}
				got := w.signed("s", &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}}}, true)
				if !strings.HasPrefix(got, "while parsing label selector: ") {
					t.Error(got)
				}
				w.news()

				w.srv.put(bundle("s:two", "s", "d"))
				w.expectNews("[[p]]")
				expectSaid(t, w.signed("s", everything, false), "[a b d]")
				w.srv.remove(bundle("s:one", "s"))
				w.expectNews("[[p]]")
				expectSaid(t, w.signed("s", everything, false), "[d]")
			})
		})
	}
}

func TestTrustAnchorsHaveAStableOrder(t *testing.T) {
	one := bundle("one", "s", "a", "b", "c", "d", "e")
	other := bundle("other", "s", "e", "d", "c", "b", "a")
	if string(anchors([]*certificatesv1.ClusterTrustBundle{one})) != string(anchors([]*certificatesv1.ClusterTrustBundle{other, one})) {
		t.Error("the order of the same certificates differs")
	}
}

func TestOnlyPodsThatWantABundleAreTold(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.srv.put(bundle("plain", "", "x"))
		w.WantTrustBundles("n", []*corev1.ClusterTrustBundleProjection{byName("plain")})
		w.WantTrustBundles("s", []*corev1.ClusterTrustBundleProjection{bySigner("s")})
		w.WantTrustBundles("late", []*corev1.ClusterTrustBundleProjection{byName("late")})
		w.expectNews("[[n]]")
		w.srv.put(bundle("s:one", "s", "a"))
		w.expectNews("[[s]]")
		w.srv.put(bundle("late", "", "z"))
		w.expectNews("[[late]]")
		w.srv.put(bundle("unrelated", "", "z"))
		w.expectNews("[]")
		// After an outage the same objects are no news, and those that went away are.
		w.srv.fail(errors.New("connection refused"))
		w.srv.remove(bundle("s:one", "s"))
		time.Sleep(time.Second)
		w.srv.fail(nil)
		time.Sleep(5 * time.Minute)
		w.expectNews("[[s]]")
	})
}

func TestTrustBundlesAreWatchedWhileWanted(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		watchers := func() int {
			synctest.Wait()
			w.srv.mu.Lock()
			defer w.srv.mu.Unlock()
			n := 0
			for stream := range w.srv.watchers {
				if stream.resource == bundlesResource {
					n++
				}
			}
			return n
		}
		expect := func(want int) {
			t.Helper()
			if got := watchers(); got != want {
				t.Errorf("%d watches, want %d", got, want)
			}
		}
		w.srv.put(bundle("plain", "", "x"))
		expect(0)
		expectSaid(t, w.named("plain", false), "getting cluster trust bundles: no pod of this node is known to want any; this is a bug of the agent")
		w.WantTrustBundles("none", nil)
		expect(0)
		w.WantTrustBundles("a", []*corev1.ClusterTrustBundleProjection{byName("plain")})
		w.WantTrustBundles("b", []*corev1.ClusterTrustBundleProjection{bySigner("s")})
		expect(1)
		w.Drop("a")
		w.WantTrustBundles("b", []*corev1.ClusterTrustBundleProjection{bySigner("s")})
		expect(1)
		w.Drop("b")
		expect(0)
		w.srv.put(bundle("plain", "", "new"))
		w.WantTrustBundles("c", []*corev1.ClusterTrustBundleProjection{byName("plain")})
		expectSaid(t, w.named("plain", false), "[new]")
		expect(1)
		w.Drop("c")
		w.WantTrustBundles("d", []*corev1.ClusterTrustBundleProjection{byName("plain")})
		w.Drop("d")
		expect(0)
	})
}

func TestAServerWithoutTrustBundlesIsLeftAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.srv.served = ""
		w.srv.put(bundle("plain", "", "x"))
		w.WantTrustBundles("p", []*corev1.ClusterTrustBundleProjection{byName("plain")})
		began := time.Now()
		expectSaid(t, w.named("plain", true), errBundlesNotServed.Error())
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v to say so", took)
		}
		time.Sleep(time.Hour - time.Second)
		synctest.Wait()
		if n := w.srv.count("list clustertrustbundles "); n > 2*12 {
			t.Errorf("%d requests in an hour", n)
		}
		if n := w.logs.FilterMessageSnippet("cannot keep up").Len(); n != 1 {
			t.Errorf("%d log lines", n)
		}
		w.srv.mu.Lock()
		w.srv.served = "v1" // somebody has switched it on
		w.srv.mu.Unlock()
		time.Sleep(notServedPause + 2*time.Minute) // the reflector's own pause comes on top, up to a minute
		for range 20 {
			expectSaid(t, w.named("plain", false), "[x]")
		}
		expectSaid(t, w.named("plain", false), "[x]")
		w.expectNews("[[p]]")
	})
}

func TestTrustBundlesDuringAnOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.srv.fail(errors.New("connection refused"))
		w.WantTrustBundles("p", []*corev1.ClusterTrustBundleProjection{byName("plain")})
		began := time.Now()
		got := w.named("plain", true)
		if !strings.HasPrefix(got, "ClusterTrustBundle informer has not yet synced: ") || !strings.Contains(got, "refused") {
			t.Error(got)
		}
		if took := time.Since(began); took > firstAnswer {
			t.Errorf("waited for %v", took)
		}
	})
}

func TestTrustBundlesStandalone(t *testing.T) {
	s := New(nil, Deps{}, zap.NewNop())
	s.WantTrustBundles("p", []*corev1.ClusterTrustBundleProjection{byName("plain")})
	_, nameErr := s.TrustAnchorsByName(t.Context(), "plain", true)
	_, signerErr := s.TrustAnchorsBySigner(t.Context(), "s", nil, true)
	for _, err := range []error{nameErr, signerErr} {
		if err == nil || err.Error() != "ClusterTrustBundle projection is not supported in static kubelet mode" {
			t.Errorf("got %v", err)
		}
	}
}

func TestTrustBundlesOf(t *testing.T) {
	want := byName("x")
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID("u")}, Spec: corev1.PodSpec{Volumes: []corev1.Volume{
		{Name: "none"},
		{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{}, {ClusterTrustBundle: want}}}}},
	}}}
	if got := TrustBundlesOf(p); len(got) != 1 || got[0] != want {
		t.Errorf("got %v", got)
	}
}
