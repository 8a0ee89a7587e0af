package inspect

import (
	"cmp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Pod is what is shown of one pod.
type Pod struct {
	Namespace  string      `json:"namespace"`
	Name       string      `json:"name"`
	UID        string      `json:"uid"`
	Source     string      `json:"source"`
	Stage      string      `json:"stage"`
	Phase      string      `json:"phase"`
	Reason     string      `json:"reason,omitempty"`
	Message    string      `json:"message,omitempty"`
	Ready      bool        `json:"ready"`
	IP         string      `json:"ip,omitempty"`
	Started    time.Time   `json:"started,omitzero"`
	Containers []Container `json:"containers"`
	Waits      []Wait      `json:"waits"`
	Startup    []Step      `json:"startup"`
	Timeline   []Entry     `json:"timeline"`
}

// Container is what is shown of one container.
type Container struct {
	Name     string    `json:"name"`
	Kind     string    `json:"kind,omitempty"` // init, sidecar, ephemeral; empty: regular
	Probes   []string  `json:"probes,omitempty"`
	State    string    `json:"state"`
	Reason   string    `json:"reason,omitempty"`
	Message  string    `json:"message,omitempty"`
	ExitCode *int32    `json:"exitCode,omitempty"`
	Ready    bool      `json:"ready"`
	Restarts int32     `json:"restarts"`
	Since    time.Time `json:"since,omitzero"`
}

// Wait is one thing the pod waits for.
type Wait struct {
	What  string    `json:"what"`
	Since time.Time `json:"since,omitzero"`
	Next  time.Time `json:"next,omitzero"`
}

// Step is one phase of the pod's start.
type Step struct {
	Name   string  `json:"name"`
	Millis float64 `json:"millis"`
}

// Entry is one line of the pod's timeline.
type Entry struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// podsOf turns views into what is shown, sorted by namespace and name.
func podsOf(views []*pod.View) []Pod {
	pods := make([]Pod, 0, len(views))
	for _, v := range views {
		pods = append(pods, podOf(v))
	}
	slices.SortFunc(pods, func(a, b Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID))
	})
	return pods
}

func podOf(v *pod.View) Pod {
	p := Pod{
		Namespace: v.Ref.Namespace, Name: v.Ref.Name, UID: string(v.Ref.UID), Source: string(v.Source), Stage: v.Stage,
		Phase: string(v.Status.Phase), Reason: v.Status.Reason, Message: v.Status.Message, IP: v.Status.PodIP,
	}
	if v.Status.StartTime != nil {
		p.Started = v.Status.StartTime.Time
	}
	for _, c := range v.Status.Conditions {
		if c.Type == corev1.PodReady {
			p.Ready = c.Status == corev1.ConditionTrue
		}
	}
	for _, st := range slices.Concat(v.Status.InitContainerStatuses, v.Status.ContainerStatuses, v.Status.EphemeralContainerStatuses) {
		c := containerOf(&st)
		c.describe(v.Pod)
		p.Containers = append(p.Containers, c)
	}
	for _, w := range v.Waits {
		p.Waits = append(p.Waits, Wait(w))
	}
	for _, s := range v.Phases {
		p.Startup = append(p.Startup, Step{Name: s.Name, Millis: float64(s.Took.Microseconds()) / 1000})
	}
	for _, e := range v.Timeline {
		p.Timeline = append(p.Timeline, Entry(e))
	}
	return p
}

// describe says what the spec has the container for, and which probes it has.
func (c *Container) describe(p *corev1.Pod) {
	spec, kind := pod.Find(p, c.Name)
	if spec == nil {
		return
	}
	c.Kind = map[pod.Kind]string{pod.KindInit: "init", pod.KindSidecar: "sidecar", pod.KindEphemeral: "ephemeral"}[kind]
	for _, k := range []pod.ProbeKind{pod.ProbeStartup, pod.ProbeLiveness, pod.ProbeReadiness} {
		if k.Spec(spec) != nil {
			c.Probes = append(c.Probes, strings.ToLower(k.String()))
		}
	}
}

// serves reports whether the container counts for the pod's readiness.
func (c *Container) serves() bool { return c.Kind == "" || c.Kind == "sidecar" }

func containerOf(st *corev1.ContainerStatus) Container {
	c := Container{Name: st.Name, Ready: st.Ready, Restarts: st.RestartCount, State: "unknown"}
	switch s := &st.State; {
	case s.Running != nil:
		c.State, c.Since = "running", s.Running.StartedAt.Time
	case s.Terminated != nil:
		code := s.Terminated.ExitCode
		c.State, c.Since, c.Reason, c.Message, c.ExitCode = "exited", s.Terminated.FinishedAt.Time, s.Terminated.Reason, s.Terminated.Message, &code
	case s.Waiting != nil:
		c.State, c.Reason, c.Message = "waiting", s.Waiting.Reason, s.Waiting.Message
	}
	return c
}
