package volumediff

import (
	"bufio"
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
)

//go:embed testdata/pods/*.yaml testdata/objects/*.yaml
var files embed.FS

// Annotations of the pods in testdata; the agents do not get to see them.
const (
	// untilKey says when a pod has settled, see Case.
	untilKey = "volumediff/until"
	// unmountedKey lists volumes that no container is to mount.
	unmountedKey = "volumediff/unmounted"
	// automountKey lets a pod have the token of its account: "true", or "account"
	// where that is asked.
	automountKey = "volumediff/automount"
)

// accountFolder is where the token of a pod's account is.
const accountFolder = "/var/run/secrets/kubernetes.io/serviceaccount"

// What pods are run until.
const (
	// untilEnd: it has ended.
	untilEnd = "End"
	// untilWaiting: as untilEvent, and it has ended, or a container waits for more
	// than its turn.
	untilWaiting = "Waiting"
	// untilEvent: there are as many different warnings as wanted, of one reason if
	// that is named: Event[:[REASON][:COUNT]].
	untilEvent = "Event"
)

// Case is a pod to run, and when to look at it.
type Case struct {
	Pod *corev1.Pod
	// Until is untilEnd, untilWaiting or untilEvent, with Reason and Count.
	Until  string
	Reason string
	Count  int
}

// Fails reports whether the pod must not run.
func (c *Case) Fails() bool { return strings.HasPrefix(c.Pod.Name, "no-") }

// Names are what testdata refers to as @KEY@. IMAGE, by which containers are
// completed, has the program look.
type Names map[string]string

// Cases reads the pods and completes them with what all have in common: node,
// image, no token, and a command that looks at all that is mounted, after the
// args, which are a script. The first container mounts the volumes that no other
// does, at /v/NAME.
func Cases(names Names) ([]Case, error) {
	var all []Case
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
		one, err := newCase(p, names)
		all = append(all, one)
		return err
	})
	return all, err
}

// documents calls f with each document of the YAML files in a folder.
func documents(dir string, names Names, f func([]byte) error) error {
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
			if err == nil {
				err = f(text)
			}
			if err != nil {
				return fmt.Errorf("%s, document %d: %w", file.Name(), n, err)
			}
		}
	}
	return nil
}

func newCase(p *corev1.Pod, names Names) (Case, error) {
	c := Case{Pod: p, Until: untilEnd, Count: 1}
	if until := p.Annotations[untilKey]; until != "" {
		parts := strings.Split(until, ":")
		c.Until = parts[0]
		if len(parts) > 1 {
			c.Reason = parts[1]
		}
		if len(parts) > 2 {
			var err error
			if c.Count, err = strconv.Atoi(parts[2]); err != nil {
				return c, fmt.Errorf("pod %s: how many events are %q: %w", p.Name, parts[2], err)
			}
		}
	}
	if !slices.Contains([]string{untilEnd, untilWaiting, untilEvent}, c.Until) {
		return c, fmt.Errorf("pod %s: unknown condition %q", p.Name, c.Until)
	}
	p.APIVersion, p.Kind, p.Namespace = "v1", "Pod", corev1.NamespaceDefault
	p.Spec.NodeName = names["NODE"]
	p.Spec.TerminationGracePeriodSeconds = new(int64(1))
	if p.Spec.RestartPolicy == "" {
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
	}
	p.Spec.AutomountServiceAccountToken = new(p.Annotations[automountKey] == "true")
	if p.Annotations[automountKey] == "account" {
		p.Spec.AutomountServiceAccountToken = nil
	}
	mountRest(p)
	for i := range p.Spec.InitContainers {
		complete(&p.Spec.InitContainers[i], p, names)
	}
	for i := range p.Spec.Containers {
		complete(&p.Spec.Containers[i], p, names)
	}
	for _, key := range []string{untilKey, unmountedKey, automountKey} {
		delete(p.Annotations, key)
	}
	return c, nil
}

// mountRest lets the first container mount what no container does.
func mountRest(p *corev1.Pod) {
	known := strings.Split(p.Annotations[unmountedKey], ",")
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		for _, m := range c.VolumeMounts {
			known = append(known, m.Name)
		}
	}
	for _, v := range p.Spec.Volumes {
		if !slices.Contains(known, v.Name) {
			c := &p.Spec.Containers[0]
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: v.Name, MountPath: "/v/" + v.Name})
		}
	}
}

func complete(c *corev1.Container, p *corev1.Pod, names Names) {
	c.Image, c.ImagePullPolicy = names["IMAGE"], corev1.PullIfNotPresent
	if len(c.Command) > 0 {
		return
	}
	look := []string{"exec", "/bin/look"}
	for _, m := range c.VolumeMounts {
		look = append(look, path.Clean(m.MountPath))
	}
	if p.Annotations[automountKey] != "" {
		look = append(look, accountFolder)
	}
	script := append(slices.Clone(c.Args), strings.Join(look, " "))
	// The kubelet would expand $(NAME).
	c.Command, c.Args = []string{"sh", "-c", strings.ReplaceAll(strings.Join(script, "\n"), "$(", "$$(")}, nil
}
