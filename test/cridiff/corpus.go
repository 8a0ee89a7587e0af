package cridiff

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	resourcehelper "k8s.io/component-helpers/resource"

	"nodeagent.dev/nodeagent/test/fakecri"
)

//go:embed testdata/pods/*.yaml testdata/objects/*.yaml
var files embed.FS

// Annotations of the pods in testdata/pods; the agents do not get to see them.
const (
	// untilKey: "nothing" says that the kubelet does not get as far as making all
	// containers, so that nobody waits for them.
	untilKey = "cridiff/until"
	// resizeKey: the resources, by container, that the pod is resized to once it
	// runs.
	resizeKey = "cridiff/resize"
	// killKey: "true" ends the sandbox once all runs; the pod gets another.
	killKey = "cridiff/kill-sandbox"
	// staticKey: "true" gives the pod to the agent as a manifest.
	staticKey = "cridiff/static"
)

// Images of the registry pullHost are not on the node, all others are.
const (
	imageHost = "cridiff.test"
	pullHost  = "pull.test"
)

// Pod is a pod of the corpus.
type Pod struct {
	*corev1.Pod
	// Static: it comes from a manifest.
	Static bool
	// Nothing: not all of its containers are made, by the kubelet either.
	Nothing bool
	// Kill: its sandbox ends once all of its containers run.
	Kill bool
	// Ephemeral are added once the pod's other containers run.
	Ephemeral []corev1.EphemeralContainer
	// Resize are the resources of containers that are changed at last.
	Resize map[string]corev1.ResourceRequirements
}

// Corpus is what agents are given.
type Corpus struct {
	Pods []Pod
	// Objects are what pods refer to, namespaces first.
	Objects []runtime.Object
}

// Load reads testdata. In it @KEY@ stands for a value of names.
func Load(names map[string]string) (*Corpus, error) {
	c := &Corpus{}
	if err := documents("testdata/objects", names, func(text []byte) error {
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode(text, nil, nil)
		if err != nil {
			return fmt.Errorf("parse an object: %w", err)
		}
		c.Objects = append(c.Objects, object)
		return nil
	}); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	err := documents("testdata/pods", names, func(text []byte) error {
		p := &corev1.Pod{}
		if err := yaml.UnmarshalStrict(text, p); err != nil {
			return fmt.Errorf("parse a pod: %w", err)
		}
		if seen[p.Name] || p.Name == "" {
			return fmt.Errorf("there are two pods %q, or one without a name", p.Name)
		}
		seen[p.Name] = true
		one, err := newPod(p)
		c.Pods = append(c.Pods, one)
		return err
	})
	return c, err
}

// documents calls f with each document of the YAML files in a folder.
func documents(dir string, names map[string]string, f func([]byte) error) error {
	list, err := files.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list the corpus: %w", err)
	}
	for _, file := range list {
		content, err := files.ReadFile(path.Join(dir, file.Name()))
		if err != nil {
			return fmt.Errorf("read the corpus: %w", err)
		}
		for key, value := range names {
			content = bytes.ReplaceAll(content, []byte("@"+key+"@"), []byte(value))
		}
		reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
		for n := 1; ; n++ {
			text, err := reader.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err == nil && !empty(text) {
				err = f(text)
			}
			if err != nil {
				return fmt.Errorf("%s, document %d: %w", file.Name(), n, err)
			}
		}
	}
	return nil
}

func empty(document []byte) bool {
	for line := range bytes.Lines(document) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' && string(line) != "---" {
			return false
		}
	}
	return true
}

// newPod completes a pod with what all have in common: no token, one second to
// end, and images of their own, by which requests about images are told apart.
func newPod(p *corev1.Pod) (Pod, error) {
	out := Pod{
		Pod: p, Static: p.Annotations[staticKey] == "true", Nothing: p.Annotations[untilKey] == "nothing",
		Kill: p.Annotations[killKey] == "true", Ephemeral: p.Spec.EphemeralContainers,
	}
	if resize := p.Annotations[resizeKey]; resize != "" {
		if err := yaml.UnmarshalStrict([]byte(resize), &out.Resize); err != nil {
			return out, fmt.Errorf("parse what pod %s is resized to: %w", p.Name, err)
		}
	}
	for _, key := range []string{resizeKey, killKey, untilKey, staticKey} {
		delete(p.Annotations, key)
	}
	p.APIVersion, p.Kind = "v1", "Pod"
	if p.Spec.AutomountServiceAccountToken == nil {
		p.Spec.AutomountServiceAccountToken = new(bool)
	}
	if p.Spec.TerminationGracePeriodSeconds == nil {
		p.Spec.TerminationGracePeriodSeconds = new(int64(1))
	}
	if p.Namespace == "" {
		p.Namespace = corev1.NamespaceDefault
	}
	p.Spec.EphemeralContainers = nil
	image := func(name string, image *string) {
		if *image == "" {
			*image = imageHost + "/" + p.Name + "/" + name + ":1"
		}
		*image = strings.ReplaceAll(*image, "@POD@", p.Name)
	}
	for i := range p.Spec.InitContainers {
		image(p.Spec.InitContainers[i].Name, &p.Spec.InitContainers[i].Image)
	}
	for i := range p.Spec.Containers {
		image(p.Spec.Containers[i].Name, &p.Spec.Containers[i].Image)
	}
	for i := range out.Ephemeral {
		image(out.Ephemeral[i].Name, &out.Ephemeral[i].Image)
	}
	return out, nil
}

// Images are all images that the pods name.
func (p *Pod) Images() []string {
	var all []string
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		all = append(all, c.Image)
	}
	for _, c := range p.Ephemeral {
		all = append(all, c.Image)
	}
	for _, v := range p.Spec.Volumes {
		if v.Image != nil {
			all = append(all, v.Image.Reference)
		}
	}
	return all
}

// Expected are the containers that are made, as "NAME/ATTEMPT".
func (p *Pod) Expected() []string {
	if p.Nothing {
		return nil
	}
	var all []string
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		all = append(all, c.Name+"/0")
		if c.Name == crashes {
			all = append(all, c.Name+"/1")
		}
	}
	if p.Kill {
		for i := range p.Spec.Containers {
			all = append(all, afterKill+p.Spec.Containers[i].Name+"/1")
		}
	}
	for _, c := range p.Ephemeral {
		all = append(all, debugger+c.Name+"/0")
	}
	return all
}

// crashes is the name of containers that fail once.
const crashes = "crash"

// Only returns the corpus with the pods whose names begin with one of prefixes.
func (c *Corpus) Only(prefixes ...string) *Corpus {
	out := &Corpus{Objects: c.Objects}
	for i := range c.Pods {
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(c.Pods[i].Name, p) }) {
			out.Pods = append(out.Pods, c.Pods[i])
		}
	}
	return out
}

// Sample returns the corpus with one in n of its pods, and all those whose names
// begin with one of prefixes, for a node that is too slow for more.
func (c *Corpus) Sample(n int, prefixes ...string) *Corpus {
	out, whole, others := &Corpus{Objects: c.Objects}, c.Only(prefixes...), 0
	for i := range c.Pods {
		p := &c.Pods[i]
		if !slices.ContainsFunc(whole.Pods, func(o Pod) bool { return o.Name == p.Name }) {
			if others++; others%max(n, 1) != 0 {
				continue
			}
		}
		out.Pods = append(out.Pods, *p)
	}
	return out
}

// Below returns the corpus without the pods that ask for more than so many bytes
// of memory, for a node that does not have it, and the names of those pods.
func (c *Corpus) Below(bytes int64) (small *Corpus, large []string) {
	small = &Corpus{Objects: c.Objects}
	for i := range c.Pods {
		requests := resourcehelper.PodRequests(c.Pods[i].Pod, resourcehelper.PodResourcesOptions{})
		if requests.Memory().Value() > bytes {
			large = append(large, c.Pods[i].Name)
			continue
		}
		small.Pods = append(small.Pods, c.Pods[i])
	}
	return small, large
}

// imageID is the identity of an image in the fake.
func imageID(name string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(name))) }

// tagged completes a name as agents do before they ask the runtime.
func tagged(image string) string {
	if strings.ContainsAny(image[strings.LastIndexByte(image, '/')+1:], ":@") {
		return image
	}
	return image + ":latest"
}

// Runtime is a runtime for the corpus: it has the images, and containers end
// as their names say. Images with "uid" in the tag have a user by number, those
// with "user" one by name.
func (c *Corpus) Runtime(cgroupDriver string) fakecri.Config {
	cfg := fakecri.Config{CgroupDriver: cgroupDriver, Present: []fakecri.Image{}, Pullable: []fakecri.Image{}}
	for i := range c.Pods {
		for _, name := range c.Pods[i].Images() {
			image := fakecri.Image{Name: tagged(name), ID: imageID(name), Size: 1 << 20}
			switch tag := name[strings.LastIndexByte(name, ':')+1:]; {
			case strings.HasPrefix(tag, "uid"):
				image.UID = new(int64(1234))
			case strings.HasPrefix(tag, "root"):
				image.UID = new(int64(0))
			case strings.HasPrefix(tag, "user"):
				image.Username = "app"
			}
			if strings.HasPrefix(name, pullHost+"/") {
				cfg.Pullable = append(cfg.Pullable, image)
			} else {
				cfg.Present = append(cfg.Present, image)
			}
		}
	}
	cfg.Behave = func(_, container string, attempt int) fakecri.Behaviour {
		switch {
		case strings.HasPrefix(container, "init"):
			return fakecri.Behaviour{RunFor: 50 * time.Millisecond}
		case container == crashes && attempt == 0:
			return fakecri.Behaviour{RunFor: 50 * time.Millisecond, ExitCode: 1}
		}
		return fakecri.Behaviour{}
	}
	return cfg
}
