//go:build e2e

package volumes

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// escaped is the name of what must never be made.
const escaped = "escaped"

// leading are names that lead out of a volume, or to what is the agent's there.
func leading() []string {
	return []string{
		"../" + escaped, strings.Repeat("../", 20) + "tmp/" + escaped, "a/../../" + escaped, "/" + escaped, "..", ".",
		"..data", "..data/" + escaped, "..data_tmp", "..data/../../" + escaped, "x\x00" + escaped, strings.Repeat("x", 300),
	}
}

// TestNamesThatLeadOut: keys of objects and paths of items that the API server
// refuses are put behind its back, into etcd. The agent does not trust them.
func TestNamesThatLeadOut(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared.Bed(t), "names")
	s.objects(s.name, "1")
	etcd := s.etcd()
	want := map[string]string{}
	for i, name := range leading() {
		object := fmt.Sprintf("names-%d", i)
		meta := metav1.ObjectMeta{Name: object, Namespace: namespace, UID: uuid.NewUUID(), CreationTimestamp: metav1.Now()}
		etcd.put("configmaps/"+namespace+"/"+object, &corev1.ConfigMap{
			TypeMeta: metav1.TypeMeta{Kind: "ConfigMap", APIVersion: "v1"}, ObjectMeta: meta, Data: map[string]string{name: forbidden, "a": "1"}})
		etcd.put("secrets/"+namespace+"/"+object, &corev1.Secret{
			TypeMeta: metav1.TypeMeta{Kind: "Secret", APIVersion: "v1"}, ObjectMeta: meta, Data: map[string][]byte{name: []byte(forbidden), "a": []byte("1")}})
		item := corev1.KeyToPath{Key: "a", Path: name}
		both := projected("projected", s.name, s.name)
		both.Projected.Sources[0].ConfigMap.Items[0] = item
		both.Projected.Sources[3].ServiceAccountToken.Path = name
		p := s.pod(fmt.Sprint(i), "ls -laR /v; "+bedtest.Obeys)
		p.Labels["state"], p.Spec.HostNetwork = "1", true
		for _, v := range []corev1.Volume{
			configMap("key", object), secret("secret-key", object), configMap("item", s.name, item),
			secret("secret-item", s.name, item), downwardAPI("downward", name), both,
		} {
			mount(p, v, "/v/"+v.Name)
			want[p.Name+" "+v.Name] = name
		}
		etcd.pod(p)
	}
	s.refused(want)
	s.nothingEscaped()
	for i := range leading() {
		s.delete(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint(s.name, "-", i)}}, 0)
	}
	s.nothingEscaped()
}

// refused waits until events say of each volume, "pod volume", that it cannot be set
// up.
func (s *site) refused(want map[string]string) {
	s.t.Helper()
	events, err := s.b.Client().CoreV1().Events(namespace).Watch(s.t.Context(), metav1.ListOptions{FieldSelector: "reason=FailedMount"})
	must(s.t, "watching events", err)
	defer events.Stop()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for len(want) > 0 {
		select {
		case ev, open := <-events.ResultChan():
			e, ok := ev.Object.(*corev1.Event)
			if !open || !ok {
				s.t.Fatalf("watching events: %v", ev.Object)
			}
			for key, name := range want {
				pod, volume, _ := strings.Cut(key, " ")
				if e.InvolvedObject.Name == pod && strings.Contains(e.Message, fmt.Sprintf("SetUp failed for volume %q", volume)) {
					s.t.Logf("%s %.40q: %.150s", volume, name, e.Message)
					delete(want, key)
				}
			}
		case <-limit.C:
			for key, name := range want {
				s.weak("%s: nobody says that %.40q is refused", key, name)
			}
			return
		}
	}
}

// nothingEscaped looks for what must not be there.
func (s *site) nothingEscaped() {
	s.t.Helper()
	for _, path := range []string{"/" + escaped, "/tmp/" + escaped, filepath.Join(s.b.Dir, escaped)} {
		if _, err := os.Lstat(path); err == nil {
			s.weak("%s was made", path)
		}
	}
	_ = filepath.WalkDir(s.b.RootDir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Name() == escaped {
			s.weak("%s was made", path)
		}
		return nil // what goes meanwhile is gone
	})
}

// etcd is the API server's store, behind its back.
type etcd struct {
	*site
	url string
}

func (s *site) etcd() *etcd {
	s.t.Helper()
	pid, err := s.b.Component("etcd").PID(s.t.Context())
	must(s.t, "finding etcd", err)
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	must(s.t, "finding etcd", err)
	for arg := range strings.SplitSeq(string(args), "\x00") {
		if url, ok := strings.CutPrefix(arg, "--listen-client-urls="); ok {
			return &etcd{s, url}
		}
	}
	s.t.Fatalf("finding etcd: its command is %q", args)
	return nil
}

// put stores an object as the API server would, without its checks.
func (e *etcd) put(key string, object any) {
	e.t.Helper()
	value, err := json.Marshal(object)
	must(e.t, "encoding an object", err)
	encode := base64.StdEncoding.EncodeToString
	body, err := json.Marshal(map[string]string{"key": encode([]byte("/registry/" + key)), "value": encode(value)})
	must(e.t, "encoding a request", err)
	req, err := http.NewRequestWithContext(e.t.Context(), http.MethodPost, e.url+"/v3/kv/put", bytes.NewReader(body))
	must(e.t, "making a request", err)
	resp, err := http.DefaultClient.Do(req)
	must(e.t, "storing an object", err)
	defer func() { _ = resp.Body.Close() }()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		e.t.Fatalf("storing %s: %s: %s", key, resp.Status, text)
	}
}

// pod stores a pod that is bound to the node already. The API server has made of it
// what it makes of every pod, but for the volumes.
func (e *etcd) pod(p *corev1.Pod) {
	e.t.Helper()
	evil := p.Spec.Volumes
	p.Spec.NodeName = e.b.NodeName
	p.Spec.Volumes = nil
	for _, v := range evil {
		p.Spec.Volumes = append(p.Spec.Volumes, emptyDir(v.Name, ""))
	}
	made, err := e.b.Client().CoreV1().Pods(namespace).Create(e.t.Context(), p, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	must(e.t, "making a pod", err)
	made.TypeMeta = metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"}
	made.Spec.Volumes, made.ResourceVersion = evil, ""
	if made.UID == "" {
		made.UID = types.UID(uuid.NewUUID())
	}
	e.put("pods/"+namespace+"/"+p.Name, made)
}
