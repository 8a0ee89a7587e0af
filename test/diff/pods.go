package diff

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
)

//go:embed testdata/pods/*.yaml
var podFiles embed.FS

// Annotations of the pods in testdata/pods; the agents do not get to see them.
const (
	// untilKey says when the pod has settled, see Case.Until.
	untilKey = "diff/until"
	// deleteKey lets the pod be deleted once it has settled.
	deleteKey = "diff/delete"
)

// Case is a pod to run, and when to look at it.
type Case struct {
	Pod *corev1.Pod
	// Until is a condition and, after a colon, its argument: Running[:restarts],
	// Succeeded, Failed, CrashLoop:restarts, Terminated:containers,
	// Waiting:reason, Event:reason.
	Until string
	// Delete: it is deleted then, and its end is what counts.
	Delete bool
}

// Names are what the pods' files may refer to as $KEY.
type Names map[string]string

// Cases reads the pods, completed with what all have in common: no token, one
// second to end, an image, and a command that runs until it is told to end.
func Cases(names Names, image string) ([]Case, error) {
	files, err := podFiles.ReadDir("testdata/pods")
	if err != nil {
		return nil, fmt.Errorf("list the pods: %w", err)
	}
	var all []Case
	for _, file := range files {
		content, err := podFiles.ReadFile("testdata/pods/" + file.Name())
		if err != nil {
			return nil, fmt.Errorf("read pods: %w", err)
		}
		list, err := parsePods(names.fill(string(content)))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file.Name(), err)
		}
		all = append(all, list...)
	}
	seen := map[string]bool{}
	for i := range all {
		complete(all[i].Pod, image)
		if seen[all[i].Pod.Name] {
			return nil, fmt.Errorf("there are two pods %s", all[i].Pod.Name)
		}
		seen[all[i].Pod.Name] = true
	}
	return all, nil
}

func (n Names) fill(text string) string {
	for key, value := range n {
		text = strings.ReplaceAll(text, "@"+key+"@", value)
	}
	return text
}

func parsePods(text string) ([]Case, error) {
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	var all []Case
	for {
		p := &corev1.Pod{}
		err := decoder.Decode(p)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("parse pod %d: %w", len(all)+1, err)
		}
		c := Case{Pod: p, Until: p.Annotations[untilKey], Delete: p.Annotations[deleteKey] == "true"}
		if c.Until == "" {
			c.Until = "Running"
		}
		if !slices.Contains([]string{"Running", "Succeeded", "Failed", "CrashLoop", "Terminated", "Waiting", "Event"}, firstWord(c.Until)) {
			return nil, fmt.Errorf("pod %s: unknown condition %q", p.Name, c.Until)
		}
		delete(p.Annotations, untilKey)
		delete(p.Annotations, deleteKey)
		all = append(all, c)
	}
}

func firstWord(until string) string {
	word, _, _ := strings.Cut(until, ":")
	return word
}

func complete(p *corev1.Pod, image string) {
	p.Spec.AutomountServiceAccountToken = new(bool)
	if p.Spec.TerminationGracePeriodSeconds == nil {
		p.Spec.TerminationGracePeriodSeconds = new(int64(1))
	}
	if p.Namespace == "" {
		p.Namespace = "default"
	}
	for i := range p.Spec.InitContainers {
		completeContainer(&p.Spec.InitContainers[i], image)
	}
	for i := range p.Spec.Containers {
		completeContainer(&p.Spec.Containers[i], image)
	}
}

func completeContainer(c *corev1.Container, image string) {
	if c.Image == "" {
		c.Image = image
		if len(c.Command) == 0 && len(c.Args) == 0 {
			c.Command = []string{"sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"}
		}
	}
	if c.ImagePullPolicy == "" {
		c.ImagePullPolicy = corev1.PullIfNotPresent
	}
}
