package resize_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/resize"
)

// node records what is done, in order. have is what the pod's cgroup has now.
type node struct {
	did   []string
	have  map[pod.Limit]int64
	want  map[pod.Limit]int64
	usage map[string]int64 // by container ID; "" is the pod
	fail  string           // the step that fails
}

func (n *node) step(format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if text == n.fail {
		return errors.New("no")
	}
	n.did = append(n.did, text)
	return nil
}

var names = map[pod.Limit]string{pod.LimitMemory: "memory", pod.LimitCPUQuota: "quota", pod.LimitCPUShares: "shares"}

func (n *node) Compare(_ *corev1.Pod, part pod.Limit) (int, error) {
	return int(n.want[part] - n.have[part]), nil
}

func (n *node) Set(_ context.Context, _ *corev1.Pod, part pod.Limit) error {
	n.have[part] = n.want[part]
	return n.step("pod %s %d", names[part], n.want[part])
}

func (n *node) With(*corev1.Pod, pod.Limit) (pod.CgroupLimits, error) { return pod.CgroupLimits{}, nil }

func (n *node) MemoryShort(*corev1.Pod) error {
	if n.usage[""] >= n.want[pod.LimitMemory] {
		return errors.New("the pod uses more")
	}
	return nil
}

func (n *node) UpdateContainer(_ context.Context, _ *corev1.Pod, c *corev1.Container, id string) error {
	return n.step("%s cpu %d memory %d", id, c.Resources.Limits.Cpu().MilliValue(), c.Resources.Limits.Memory().Value())
}

func (n *node) UpdateSandbox(context.Context, *corev1.Pod, string, pod.CgroupLimits) error {
	if n.fail == "sandbox" {
		return errors.New("no")
	}
	return nil
}

func (n *node) MemoryUsage(_ context.Context, id string) (int64, error) { return n.usage[id], nil }

func limits(milliCPU, memory int64) corev1.ResourceRequirements {
	list := corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(milliCPU, resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(memory, resource.BinarySI),
	}
	return corev1.ResourceRequirements{Requests: list, Limits: list}
}

// request resizes containers from what they have to what they are to have: CPU and
// memory of each.
func request(from, to map[string][2]int64) pod.ResizeRequest {
	req := pod.ResizeRequest{Pod: &corev1.Pod{}, SandboxID: "s"}
	for _, id := range []string{"a", "b"} {
		if _, ok := to[id]; !ok {
			continue
		}
		was, is := limits(from[id][0], from[id][1]), limits(to[id][0], to[id][1])
		req.Actuated = req.Actuated.With(id, was)
		req.Containers = append(req.Containers, pod.ContainerResize{
			ID: id, Container: &corev1.Container{Name: id, Resources: is}, From: pod.SizesOf(nil, &was), To: pod.SizesOf(nil, &is),
		})
	}
	return req
}

func TestOrder(t *testing.T) {
	for name, c := range map[string]struct {
		from, to  map[string][2]int64
		have      [3]int64 // memory, quota, shares of the pod
		want      [3]int64
		did       string
		usage     map[string]int64
		fail, err string
	}{
		"growing begins at the pod": {
			from: map[string][2]int64{"a": {100, 100}}, to: map[string][2]int64{"a": {200, 200}}, have: [3]int64{100, 100, 100}, want: [3]int64{200, 200, 200},
			did: "pod memory 200, a cpu 100 memory 200, pod quota 200, pod shares 200, a cpu 200 memory 200",
		},
		"shrinking ends at the pod": {
			from: map[string][2]int64{"a": {200, 200}}, to: map[string][2]int64{"a": {100, 100}}, have: [3]int64{200, 200, 200}, want: [3]int64{100, 100, 100},
			did: "a cpu 200 memory 100, pod memory 100, a cpu 100 memory 100, pod shares 100, pod quota 100",
		},
		"who gives comes before who takes": {
			from: map[string][2]int64{"a": {100, 100}, "b": {200, 200}}, to: map[string][2]int64{"a": {200, 200}, "b": {100, 100}}, have: [3]int64{300, 300, 300}, want: [3]int64{300, 300, 300},
			did: "b cpu 200 memory 100, a cpu 100 memory 200, b cpu 100 memory 100, a cpu 200 memory 200",
		},
		"one resource alone": {
			from: map[string][2]int64{"a": {100, 100}}, to: map[string][2]int64{"a": {200, 100}}, have: [3]int64{100, 100, 100}, want: [3]int64{100, 200, 200},
			did: "pod quota 200, pod shares 200, a cpu 200 memory 100",
		},
		"memory in use is not taken from a container": {
			from: map[string][2]int64{"a": {100, 200}}, to: map[string][2]int64{"a": {100, 100}}, usage: map[string]int64{"a": 150},
			err: `cannot decrease memory limits: attempting to set container "a" memory limit (100) below current usage (150)`,
		},
		"nor from the pod": {
			from: map[string][2]int64{"a": {100, 200}}, to: map[string][2]int64{"a": {100, 100}}, have: [3]int64{200, 0, 0}, want: [3]int64{100, 0, 0}, usage: map[string]int64{"": 150},
			err: "cannot decrease memory limits: the pod uses more",
		},
		"the runtime may refuse": {
			from: map[string][2]int64{"a": {100, 100}}, to: map[string][2]int64{"a": {200, 100}}, have: [3]int64{0, 100, 0}, want: [3]int64{0, 200, 0}, fail: "sandbox",
			err: "failed to notify runtime for UpdatePodSandboxResources; resize rejected: no",
		},
		"what was done before a failure counts": {
			from: map[string][2]int64{"a": {100, 100}}, to: map[string][2]int64{"a": {200, 200}}, fail: "a cpu 200 memory 200",
			did: "a cpu 100 memory 200", err: "resize container a: no",
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := &node{
				have:  map[pod.Limit]int64{pod.LimitMemory: c.have[0], pod.LimitCPUQuota: c.have[1], pod.LimitCPUShares: c.have[2]},
				want:  map[pod.Limit]int64{pod.LimitMemory: c.want[0], pod.LimitCPUQuota: c.want[1], pod.LimitCPUShares: c.want[2]},
				usage: c.usage, fail: c.fail,
			}
			req := request(c.from, c.to)
			got, err := resize.New(n, n).Resize(t.Context(), req)
			if text := fmt.Sprint(err); err == nil && c.err != "" || err != nil && text != c.err {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if did := strings.Join(n.did, ", "); did != c.did {
				t.Errorf("got  %s\nwant %s", did, c.did)
			}
			// What is said to be given is what the last update of a container was.
			for _, r := range req.Containers {
				if strings.HasPrefix(n.fail, r.ID+" ") {
					if _, known := got.Containers[r.ID].Limits[corev1.ResourceCPU]; known {
						t.Error("what may have failed half-way is said to be known")
					}
					continue
				}
				given := got.Containers[r.Container.Name]
				last := fmt.Sprintf("%s cpu %d memory %d", r.ID, r.From.CPULimit, r.From.MemoryLimit)
				for _, step := range n.did {
					if strings.HasPrefix(step, r.ID+" ") {
						last = step
					}
				}
				if said := fmt.Sprintf("%s cpu %d memory %d", r.ID, given.Limits.Cpu().MilliValue(), given.Limits.Memory().Value()); said != last {
					t.Errorf("said %q, done %q", said, last)
				}
			}
		})
	}
}

// Nobody may change what the caller holds.
func TestRequestIsNotChanged(t *testing.T) {
	n := &node{have: map[pod.Limit]int64{}, want: map[pod.Limit]int64{}}
	req := request(map[string][2]int64{"a": {100, 100}}, map[string][2]int64{"a": {200, 200}})
	if _, err := resize.New(n, n).Resize(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	if was := req.Actuated.Containers["a"]; was.Limits.Cpu().MilliValue() != 100 {
		t.Errorf("the actuation of the caller says %v", was)
	}
}
