package pullrecord

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"nodeagent.dev/nodeagent/internal/image"
	"nodeagent.dev/nodeagent/internal/pod"
)

// TestCrash: an image whose pull outlived its agent is for nobody unseen.
func TestCrash(t *testing.T) {
	for _, c := range []struct{ asked, listed string }{
		{theImage, theImage},
		{"busybox", "docker.io/library/busybox:latest"},
	} {
		n := newNode(t)
		n.no(n.Begin(c.asked))
		n.start() // the one before was killed
		n.must(c.asked, theRef, true)
		n.no(n.Reconcile([]pod.StoredImage{{ID: "sha256:9", Names: []string{"other:1"}}, {ID: theRef, Names: []string{"x:1", c.listed}}}))
		n.wantFiles("pulled/" + fileName(theRef))
		n.must(c.asked, theRef, true)
		by := secret("s", "u", "h").Source
		n.pulled(c.asked, theRef, &by)
		n.must(c.asked, theRef, false, secret("s", "u", "h"))
		n.must(c.asked, theRef, true)
	}
}

// TestCrashBeforeTheImage: the runtime may go on without the agent.
func TestCrashBeforeTheImage(t *testing.T) {
	n := newNode(t)
	n.no(n.Begin(theImage))
	n.start()
	n.no(n.Reconcile(nil))
	n.wantFiles("pulling/" + fileName(theImage))
	// Another pod may not have it, which says nothing about the first pull.
	n.no(n.Begin(theImage))
	n.End(theImage, image.Outcome{})
	n.must(theImage, theRef, true)
	n.no(n.Prune(nil, time.Now().Add(-time.Hour)))
	n.wantFiles("pulling/" + fileName(theImage))
	n.no(n.Prune(nil, time.Now().Add(time.Hour)))
	n.wantFiles()
	n.must(theImage, theRef, false)
}

func TestEndOfPulls(t *testing.T) {
	by := secret("s", "u", "h").Source
	for name, c := range map[string]struct {
		ends      []image.Outcome
		intent    bool
		preloaded bool // is how an image of unknown origin is treated
	}{
		"nothing came":           {[]image.Outcome{{}}, false, true},
		"nothing came, twice":    {[]image.Outcome{{}, {}}, false, true},
		"by nobody":              {[]image.Outcome{{Ref: theRef}}, false, false},
		"unsure":                 {[]image.Outcome{{Unsure: true}}, true, false},
		"unsure, then nothing":   {[]image.Outcome{{Unsure: true}, {}}, true, false},
		"unsure, then pulled":    {[]image.Outcome{{Unsure: true}, {Ref: theRef, By: &by}}, false, false},
		"pulled, then nothing":   {[]image.Outcome{{Ref: theRef, By: &by}, {}}, false, false},
		"nothing, then unsure":   {[]image.Outcome{{}, {Unsure: true}}, true, false},
		"unsure, unsure, pulled": {[]image.Outcome{{Unsure: true}, {Unsure: true}, {Ref: theRef, By: &by}}, false, false},
	} {
		for _, at := range []string{"at once", "in turn"} {
			t.Run(name+", "+at, func(t *testing.T) {
				n := newNode(t)
				for range c.ends {
					if at == "at once" {
						n.no(n.Begin(theImage))
					}
				}
				for _, o := range c.ends {
					if at != "at once" {
						n.no(n.Begin(theImage))
					}
					n.must(theImage, theRef, true)
					n.End(theImage, o)
				}
				if _, err := os.Stat(n.path(pullingDir, theImage)); (err == nil) != c.intent {
					t.Errorf("intent: %v, want %v", err == nil, c.intent)
				}
				n.must(theImage, theRef, !c.preloaded)
				n.End(theImage, image.Outcome{}) // once too often
				n.must(theImage, theRef, !c.preloaded)
			})
		}
	}
}

func TestGarbage(t *testing.T) {
	for name, content := range map[string]string{
		"empty": "", "half": `{"kind":"ImagePulledRec`, "zeros": "\x00\x00\x00",
		"unknown field": `{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1beta1","imageRef":"sha256:1","credentialMapping":{"r.io/team/app":{"nodePodsAccessible":true,"onlyOnMondays":true}}}`,
		"other version": `{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v2","imageRef":"sha256:1","credentialMapping":{"r.io/team/app":{"nodePodsAccessible":true}}}`,
		"other image":   `{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1beta1","imageRef":"sha256:2","credentialMapping":{"r.io/team/app":{"nodePodsAccessible":true}}}`,
		"two":           `{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1beta1","imageRef":"sha256:1","credentialMapping":{"r.io/team/app":{"nodePodsAccessible":true}}}{}`,
		"an intent":     `{"kind":"ImagePullIntent","apiVersion":"kubelet.config.k8s.io/v1beta1"}`,
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.put(pulledDir, theRef, content)
			n.put(pullingDir, "b:1", content)
			n.no(n.Reconcile([]pod.StoredImage{{ID: theRef, Names: []string{theImage, "b:1"}}}))
			n.must(theImage, theRef, true, secret("s", "u", "h"))
			n.must("b:1", "sha256:9", true)
			by := secret("s", "u", "h").Source
			n.pulled(theImage, theRef, &by)
			n.must(theImage, theRef, false, secret("s", "u", "h"))
			n.no(n.Prune(nil, time.Now().Add(time.Hour)))
			n.wantFiles()
		})
	}
}

func TestPrune(t *testing.T) {
	n := newNode(t)
	for name, ref := range map[string]string{"a:1": "sha256:a", "b:1": "sha256:b", "c:1": "r.io/c@sha256:c"} {
		n.pulled(name, ref, &image.Source{})
	}
	n.no(n.Begin("running:1"))
	n.put(pulledDir, "x", "garbage")
	n.no(os.WriteFile(n.path(pulledDir, "y")+tmpSuffix, nil, 0o600))
	n.no(os.WriteFile(n.path(pullingDir, "z")+tmpSuffix, nil, 0o600))
	n.no(os.WriteFile(filepath.Join(n.dir, pulledDir, "README"), nil, 0o600))
	all := n.files()
	images := []pod.StoredImage{{ID: "sha256:a"}, {ID: "sha256:C", Names: []string{"r.io/c@sha256:c"}}, {ID: "sha256:r", Names: []string{"running:1"}}}
	n.no(n.Prune(images, time.Now().Add(-time.Hour)))
	n.wantFiles(all...)
	n.no(n.Prune(images, time.Now().Add(time.Hour)))
	for _, of := range []string{"sha256:a", "r.io/c@sha256:c"} {
		if _, err := os.Stat(n.path(pulledDir, of)); err != nil {
			t.Error(err)
		}
	}
	if got := n.files(); len(got) != 4 || got[0] != "pulling/"+fileName("running:1") || got[1] != "pulled/README" {
		t.Errorf("left: %q", got)
	}
}

// TestFolderRemoved: who removes all records does not stop all pulls.
func TestFolderRemoved(t *testing.T) {
	n := newNode(t)
	n.no(os.RemoveAll(filepath.Join(n.dir, "image_manager")))
	n.must(theImage, theRef, false)
	by := secret("s", "u", "h").Source
	n.pulled(theImage, theRef, &by)
	n.must(theImage, theRef, true)
	n.no(os.RemoveAll(filepath.Join(n.dir, "image_manager")))
	n.no(n.Reconcile(nil))
	n.no(n.Prune(nil, time.Now()))
}

// TestNoGap: between the intent and the record nobody sees neither.
func TestNoGap(t *testing.T) {
	n := newNode(t)
	n.log = zap.NewNop()
	by := secret("s", "u", "h").Source
	for range 100 {
		n.no(n.Begin(theImage))
		var all sync.WaitGroup
		start := make(chan struct{})
		all.Go(func() {
			<-start
			n.End(theImage, image.Outcome{Ref: theRef, By: &by})
		})
		for range 2 {
			all.Go(func() {
				<-start
				for range 20 {
					n.must(theImage, theRef, true)
				}
			})
		}
		close(start)
		all.Wait()
		n.no(os.Remove(n.path(pulledDir, theRef)))
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1beta1","imageRef":"sha256:1",` +
		`"credentialMapping":{"r.io/team/app":{"kubernetesSecrets":[{"uid":"u","namespace":"ns","name":"s","credentialHash":"h"}]}}}`))
	f.Add([]byte(`{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1alpha1","imageRef":"sha256:1","credentialMapping":{"r.io/team/app":{"nodePodsAccessible":true}}}`))
	f.Add([]byte(`{"kind":"ImagePullIntent","apiVersion":"kubelet.config.k8s.io/v1beta1","image":"a"}`))
	f.Add([]byte("\x00"))
	f.Fuzz(func(t *testing.T, content []byte) {
		name, err := decodeIntent(content)
		if again, errAgain := decodeIntent(bytes.Trim(content, " \n\r\t")); again != name || (errAgain == nil) != (err == nil) {
			t.Errorf("%q is an intent of %q or, trimmed, of %q", content, name, again)
		}
		r, err := decodeRecord(content)
		if err != nil {
			return
		}
		by := secret("s", "u", "h")
		grant(r, "r.io/team/app", by.Source)
		have := r.CredentialMapping["r.io/team/app"]
		if grant(r, "r.io/team/app", by.Source) {
			t.Errorf("granted twice: %+v", have)
		}
		if _, _, ok := matching(have, []image.Credential{by}); !ok && forAll(have) != may {
			t.Errorf("granted and refused: %+v", have)
		}
	})
}
