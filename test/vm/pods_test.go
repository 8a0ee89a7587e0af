//go:build vm

package vm

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
	"nodeagent.dev/nodeagent/test/vm/machine"
)

// waits obeys SIGTERM and costs nothing until then.
const waits = "trap exit TERM; sleep 1000000 & wait"

// resources reads "100m 32Mi" as an amount of CPU and one of memory; "-" leaves
// one out.
func resources(t *testing.T, requests, limits string) corev1.ResourceRequirements {
	t.Helper()
	read := func(text string) corev1.ResourceList {
		list := corev1.ResourceList{}
		for i, amount := range strings.Fields(text) {
			if amount != "-" {
				list[[]corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}[i]] = resource.MustParse(amount)
			}
		}
		return list
	}
	return corev1.ResourceRequirements{Requests: read(requests), Limits: read(limits)}
}

// podOf has a container a, b, ... for each of the resources.
func podOf(name string, all ...corev1.ResourceRequirements) *corev1.Pod {
	commands := make([]string, len(all))
	for i := range commands {
		commands[i] = waits
	}
	p := bedtest.NewPod(name, 5, commands...)
	for i := range all {
		p.Spec.Containers[i].Resources = all[i]
	}
	return p
}

// steadyPods are one of each kind of cgroup. Limits of CPU are high where they can
// be: a container starts within its own, and the machine is slow.
func steadyPods(t *testing.T) []*corev1.Pod {
	t.Helper()
	r := func(requests, limits string) corev1.ResourceRequirements { return resources(t, requests, limits) }
	wholePod := podOf("podlevel", r("50m 16Mi", "800m 64Mi"), r("", ""))
	level := r("200m 64Mi", "1500m 128Mi")
	wholePod.Spec.Resources = &level

	huge := podOf("hugepages", r("50m 32Mi", "900m 32Mi"))
	huge.Spec.Containers[0].Resources.Limits[corev1.ResourceHugePagesPrefix+"2Mi"] = resource.MustParse("4Mi")

	sidecar := podOf("sidecar", r("50m 16Mi", "700m 32Mi"))
	always := corev1.ContainerRestartPolicyAlways
	sidecar.Spec.InitContainers = []corev1.Container{
		{Name: "first", Image: bedtest.Image, Command: []string{"true"}, Resources: r("150m 64Mi", "600m 64Mi")},
		{Name: "beside", Image: bedtest.Image, Command: []string{"sh", "-c", waits}, Resources: r("20m 16Mi", "750m 32Mi"), RestartPolicy: &always},
	}
	return []*corev1.Pod{
		podOf("guaranteed", r("500m 64Mi", "500m 64Mi")),
		podOf("partial", r("100m 32Mi", "- 64Mi"), r("200m -", "")),
		podOf("limited", r("100m 32Mi", "1200m 64Mi"), r("100m 16Mi", "600m 32Mi")),
		podOf("besteffort", r("", "")),
		wholePod, huge, sidecar, podOf("tiny", r("1m 8Mi", "- 16Mi")),
	}
}

// endless is the manifest of a static pod.
const endless = `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "static", "namespace": "default"}, "spec": {
"terminationGracePeriodSeconds": 5, "containers": [{"name": "a", "image": "` + bedtest.Image + `", "command": ["sh", "-c", "` + waits + `"]}]}}`

// pods makes the steady pods when they are not there yet, and returns them as
// they are now.
func (u *under) pods(t *testing.T) map[string]*corev1.Pod {
	t.Helper()
	static := "static-" + u.Bed.NodeName
	if u.steady == nil {
		must(t, "writing a manifest", u.Machine.Put(t.Context(), machine.File{Path: ManifestDir + "/static.json", Content: endless, Mode: 0o600}))
		once := podOf("once", corev1.ResourceRequirements{})
		once.Spec.RestartPolicy, once.Spec.Containers[0].Command = corev1.RestartPolicyNever, []string{"true"}
		u.create(t, once)
		steady := map[string]*corev1.Pod{}
		for _, p := range steadyPods(t) {
			u.create(t, p)
			steady[p.Name] = nil
		}
		u.await(t, "once", "done", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
		for name := range steady {
			u.await(t, name, "ready", bedtest.Ready)
		}
		if u.mirrored(t, static) {
			u.await(t, static, "ready", bedtest.Ready)
			steady[static] = nil
		}
		u.steady = steady
	}
	for name := range u.steady {
		p, err := u.Bed.Client().CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{})
		must(t, "reading pod "+name, err)
		u.steady[name] = p
	}
	return u.steady
}

// mirrored reports whether the API server knows of the static pod. It was made
// first: an agent that tells of it has done so by now.
func (u *under) mirrored(t *testing.T, name string) bool {
	t.Helper()
	_, err := u.Bed.Client().CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		must(t, "reading pod "+name, err)
	}
	u.facts.put("static pod", "API", "has a mirror pod", fmt.Sprint(err == nil))
	return err == nil
}

// role is a pod's name without that of the node.
func (u *under) role(p *corev1.Pod) string { return strings.TrimSuffix(p.Name, "-"+u.Bed.NodeName) }
