//go:build e2e

package chaos

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// kind is a sort of pod and what has to come of it, whoever is killed meanwhile.
type kind struct {
	name   string
	policy corev1.RestartPolicy
	grace  int64
	// init and main are the containers; sidecar is one of init that goes on.
	init, main []step
	// phase is where the pod ends; without one it is deleted while it runs.
	phase corev1.PodPhase
	// crashes is how often it has to be restarted before it is deleted.
	crashes int32
}

// step is a container: what it does after it has noted its start, and how often
// it has to be started in all.
type step struct {
	name, script   string
	starts         int
	sidecar, hooks bool
}

const (
	// failsOnce fails, and does not fail where the pod has seen it fail.
	failsOnce = "test -e /d/failed || { touch /d/failed; exit 1; }; "
	many      = -1 // starts: as many as the API has restarts
)

// kinds are all that are tried. Each pod has an empty folder at /d.
func kinds() []kind {
	const never, always, onFailure = corev1.RestartPolicyNever, corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure
	return []kind{
		{name: "never-ok", policy: never, phase: corev1.PodSucceeded, main: []step{
			{name: "a", script: "sleep 1", starts: 1}, {name: "b", script: "sleep 2", starts: 1}}},
		{name: "never-fail", policy: never, phase: corev1.PodFailed, main: []step{
			{name: "a", script: "exit 3", starts: 1}, {name: "b", script: "sleep 1", starts: 1}}},
		{name: "onfailure", policy: onFailure, phase: corev1.PodSucceeded, main: []step{
			{name: "a", script: failsOnce + "sleep 1", starts: 2}, {name: "b", script: "sleep 1", starts: 1}}},
		{name: "init", policy: never, phase: corev1.PodSucceeded,
			init: []step{{name: "i1", script: "sleep 0.5", starts: 1}, {name: "i2", script: "sleep 0.5", starts: 1}},
			main: []step{{name: "a", script: "sleep 0.5", starts: 1}}},
		{name: "init-retry", policy: onFailure, phase: corev1.PodSucceeded,
			init: []step{{name: "i1", script: failsOnce, starts: 2}, {name: "i2", script: "sleep 0.5", starts: 1}},
			main: []step{{name: "a", script: "sleep 0.5", starts: 1}}},
		{name: "init-fail", policy: never, phase: corev1.PodFailed,
			init: []step{{name: "i1", script: "exit 1", starts: 1}}, main: []step{{name: "a", script: "sleep 0.5", starts: 0}}},
		{name: "sidecar-job", policy: never, phase: corev1.PodSucceeded,
			init: []step{{name: "s", script: bedtest.Obeys, starts: 1, sidecar: true}, {name: "i", script: "sleep 0.5", starts: 1}},
			main: []step{{name: "a", script: "sleep 1", starts: 1}}},
		{name: "sidecar-server", policy: always, grace: 5,
			init: []step{{name: "s", script: bedtest.Obeys, starts: 1, sidecar: true}},
			main: []step{{name: "a", script: bedtest.Obeys, starts: 1}}},
		{name: "server", policy: always, grace: 5, main: []step{
			{name: "a", script: bedtest.Obeys, starts: 1}, {name: "b", script: bedtest.Obeys, starts: 1}}},
		{name: "stubborn", policy: always, grace: 2, main: []step{{name: "a", script: bedtest.Ignores, starts: 1}}},
		{name: "hooks", policy: always, grace: 10, main: []step{{name: "a", script: bedtest.Obeys, starts: 1, hooks: true}}},
		{name: "crash", policy: always, crashes: 2, main: []step{
			{name: "a", script: "exit 1", starts: many}, {name: "b", script: bedtest.Obeys, starts: 1}}},
	}
}

// pod makes a pod of the kind, whose processes write to /j/NAME.
func (k *kind) pod(name, journals string) *corev1.Pod {
	p := bedtest.NewPod(name, max(k.grace, 1))
	p.Spec.RestartPolicy = k.policy
	p.Spec.Volumes = []corev1.Volume{
		{Name: "j", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: journals}}},
		{Name: "d", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
	}
	for _, s := range k.init {
		p.Spec.InitContainers = append(p.Spec.InitContainers, s.container(name))
	}
	for _, s := range k.main {
		p.Spec.Containers = append(p.Spec.Containers, s.container(name))
	}
	return p
}

func (s step) container(pod string) corev1.Container {
	// One write of few bytes to a file opened for appending is never torn.
	note := func(what string) string {
		return fmt.Sprintf("echo %s %s $EPOCHREALTIME >> /j/%s; ", s.name, what, pod)
	}
	c := corev1.Container{
		Name: s.name, Image: bedtest.Image, Command: []string{"sh", "-c", note(started) + s.script},
		VolumeMounts: []corev1.VolumeMount{{Name: "j", MountPath: "/j"}, {Name: "d", MountPath: "/d"}},
	}
	if s.sidecar {
		always := corev1.ContainerRestartPolicyAlways
		c.RestartPolicy = &always
	}
	if s.hooks {
		hook := func(what string) *corev1.LifecycleHandler {
			return &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"sh", "-c", note(what)}}}
		}
		c.Lifecycle = &corev1.Lifecycle{PostStart: hook(postStarted), PreStop: hook(preStopped)}
	}
	return c
}

// settled says whether the pod is where it stays, or is deleted from.
func (k *kind) settled(p *corev1.Pod, gone bool) bool {
	switch {
	case gone:
		return false
	case k.phase != "":
		return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	case k.crashes > 0: // and the last one has come to its end
		return len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].RestartCount >= k.crashes &&
			(p.Status.ContainerStatuses[0].State.Terminated != nil || crashLooping(p.Status.ContainerStatuses[0].State.Waiting))
	default:
		return bedtest.Ready(p)
	}
}

func crashLooping(w *corev1.ContainerStateWaiting) bool {
	return w != nil && w.Reason == "CrashLoopBackOff"
}
