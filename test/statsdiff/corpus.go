package statsdiff

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
)

//go:embed testdata/pods.yaml
var podsFile string

//go:embed testdata/objects.yaml
var objectsFile string

// Annotations of the pods in testdata; the agents do not get to see them.
const (
	untilKey  = "statsdiff/until"
	staticKey = "statsdiff/static"
)

// What pods are run until.
const (
	untilReady     = "Ready"
	untilRunning   = "Running"
	untilCrashLoop = "CrashLoop" // has crashed three times: the next pause is 40 s
	untilWaiting   = "Waiting"   // a container waits for its image
	untilSucceeded = "Succeeded"
	untilFailed    = "Failed"
)

// Names are what testdata refers to as @KEY@. IMAGE is that of containers which
// name none.
type Names map[string]string

func (n Names) fill(text string) string {
	for key, value := range n {
		text = strings.ReplaceAll(text, "@"+key+"@", value)
	}
	return text
}

// Objects are what the pods refer to, for kubectl.
func Objects(names Names) string { return names.fill(objectsFile) }

// Case is a pod to run.
type Case struct {
	Pod *corev1.Pod
	// Until says when it has settled.
	Until string
	// Static: it is a manifest on the node.
	Static bool
}

// Cases reads the pods and completes them with what all have in common: node, no
// token, one second to end, an image, and a command that runs until it is told to
// end.
func Cases(names Names) ([]Case, error) {
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(names.fill(podsFile)), 4096)
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
		c := Case{Pod: p, Until: p.Annotations[untilKey], Static: p.Annotations[staticKey] == "true"}
		if c.Until == "" {
			c.Until = untilReady
		}
		if !slices.Contains([]string{untilReady, untilRunning, untilCrashLoop, untilWaiting, untilSucceeded, untilFailed}, c.Until) {
			return nil, fmt.Errorf("pod %s: unknown condition %q", p.Name, c.Until)
		}
		if slices.ContainsFunc(all, func(o Case) bool { return o.Pod.Name == p.Name }) {
			return nil, fmt.Errorf("there are two pods %s", p.Name)
		}
		complete(p, c.Static, names)
		all = append(all, c)
	}
}

func complete(p *corev1.Pod, static bool, names Names) {
	p.Annotations = nil
	p.APIVersion, p.Kind, p.Namespace = "v1", "Pod", corev1.NamespaceDefault
	if !static {
		p.Spec.NodeName = names["NODE"]
	}
	p.Spec.TerminationGracePeriodSeconds = new(int64(1))
	if p.Spec.AutomountServiceAccountToken == nil {
		p.Spec.AutomountServiceAccountToken = new(bool)
	}
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			completeContainer(&list[i], names["IMAGE"])
		}
	}
}

func completeContainer(c *corev1.Container, image string) {
	c.ImagePullPolicy = corev1.PullIfNotPresent
	if c.Image != "" {
		return
	}
	c.Image = image
	if len(c.Command) == 0 {
		c.Command = []string{"sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"}
	}
}

// Settled reports whether a pod is as it is run until.
func (c *Case) Settled(p *corev1.Pod) bool {
	switch c.Until {
	case untilSucceeded, untilFailed:
		return string(p.Status.Phase) == c.Until
	case untilCrashLoop:
		return waits(p, "CrashLoopBackOff", 3)
	case untilWaiting:
		return waits(p, "ImagePullBackOff", 0)
	case untilRunning:
		return p.Status.Phase == corev1.PodRunning
	default:
		return slices.ContainsFunc(p.Status.Conditions, func(d corev1.PodCondition) bool {
			return d.Type == corev1.PodReady && d.Status == corev1.ConditionTrue
		})
	}
}

// waits reports whether a container waits for a reason and has been restarted so
// often.
func waits(p *corev1.Pod, reason string, restarts int32) bool {
	return slices.ContainsFunc(p.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool {
		return s.State.Waiting != nil && s.State.Waiting.Reason == reason && s.RestartCount >= restarts
	})
}
