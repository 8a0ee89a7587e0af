//go:build vm

package vm

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

var (
	agents   = flag.String("agents", bed.Kubelet+","+bed.Nodeagent, "which agents to test, one after the other")
	factsDir = flag.String("facts", "", "a folder that keeps what was seen under each agent; one that is not tested now is compared as it was")
)

const (
	namespace = bedtest.Namespace
	// patience bounds what takes as long as the machine is slow.
	patience = 30 * time.Minute
)

var must = bedtest.Must

// running is the node that has to be ended when the run is interrupted.
var running struct {
	sync.Mutex
	node *Node
}

func TestMain(m *testing.M) {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	disarm := context.AfterFunc(ctx, func() {
		running.Lock()
		if running.node != nil {
			_ = running.node.Close()
		}
		os.Exit(1)
	})
	code := m.Run()
	disarm()
	stop()
	os.Exit(code)
}

// under is one agent in one machine, and what was seen there.
type under struct {
	*Node
	facts facts
	// steady are the pods that the tests share, once they were made.
	steady map[string]*corev1.Pod
}

// TestNode does the same under each agent, each in a fresh machine, and compares.
func TestNode(t *testing.T) {
	seen := map[string]facts{}
	for _, agent := range []string{bed.Kubelet, bed.Nodeagent} {
		if !wanted(agent) {
			seen[agent] = load(t, *factsDir, agent)
			continue
		}
		t.Run(agent, func(t *testing.T) {
			u := &under{Node: up(t, Options{Agent: agent}), facts: facts{}}
			seen[agent] = u.facts
			t.Run("Cgroups", u.testCgroups)
			t.Run("OOM", u.testOOM)
			t.Run("Resize", u.testResize)
			t.Run("AgentRestart", u.testAgentRestart)
			t.Run("Reboot", u.testReboot)
			t.Run("DaemonReload", u.testReload) // last: settings stay changed
			if *factsDir != "" {
				u.facts.save(t, *factsDir, agent)
			}
		})
	}
	if len(seen[bed.Kubelet]) > 0 && len(seen[bed.Nodeagent]) > 0 {
		t.Run("Compare", func(t *testing.T) { compare(t, seen[bed.Kubelet], seen[bed.Nodeagent]) })
		return
	}
	for agent, f := range seen {
		if len(f) > 0 {
			t.Logf("settings of cgroups under %s:\n%s", agent, table(f, f))
		}
	}
}

// up starts a node and ends it with the test.
func up(t *testing.T, o Options) *Node {
	t.Helper()
	o.Output = os.Stderr
	n, err := Up(t.Context(), o)
	if err != nil {
		t.Fatalf("no node: %v", err)
	}
	running.Lock()
	running.node = n
	running.Unlock()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the agent's log (end):\n%s", n.AgentLog(60))
		}
		if t.Failed() || *factsDir != "" {
			n.keepLogs(t)
		}
		running.Lock()
		running.node = nil
		running.Unlock()
		if err := n.Close(); err != nil {
			t.Errorf("ending the node: %v", err)
		}
	})
	return n
}

// keepLogs writes the machine's journal to where it outlives the machine.
func (n *Node) keepLogs(t *testing.T) {
	t.Helper()
	base := os.Getenv(bed.LogsEnv)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	f, err := os.CreateTemp(base, "nodeagent-vm-"+n.Agent+"-*.log")
	if err != nil {
		t.Logf("the journal could not be kept: %v", err)
		return
	}
	defer f.Close()
	log, err := n.Machine.Run(ctx, "journalctl --no-pager -q -o short-precise -u agent -u containerd -u cridiff")
	if err != nil {
		t.Logf("reading the journal: %v", err)
	}
	_, err = f.WriteString(log)
	must(t, "keeping the journal", err)
	t.Logf("the journal is kept in %s", f.Name())
}

// sh runs a script in the machine.
func (n *Node) sh(t *testing.T, script string) string {
	t.Helper()
	out, err := n.Machine.Run(t.Context(), script)
	must(t, "running a script", err)
	return out
}

// create makes a pod, unless an earlier test did; it ends with the machine.
func (n *Node) create(t *testing.T, p *corev1.Pod) {
	t.Helper()
	_, err := n.Bed.Client().CoreV1().Pods(namespace).Create(t.Context(), p, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		must(t, "creating pod "+p.Name, err)
	}
}

func (n *Node) await(t *testing.T, name, what string, done func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	return bedtest.Await(t, n.Bed.Client(), name, what, patience, done)
}

// eventually asks until the answer is empty; an answer is what is still missing.
func eventually(t *testing.T, what string, limit time.Duration, missing func() string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for {
		last := missing()
		if last == "" {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not after %s: %s", what, limit, last)
		case <-time.After(time.Second):
		}
	}
}

// statuses are those of all containers of a pod, init containers first.
func statuses(p *corev1.Pod) []corev1.ContainerStatus {
	return slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses)
}

// identities tell the running containers of a pod apart from later ones.
func identities(p *corev1.Pod) string {
	var all []string
	for _, c := range p.Status.ContainerStatuses {
		all = append(all, fmt.Sprintf("%s=%s restarts=%d", c.Name, c.ContainerID, c.RestartCount))
	}
	return strings.Join(all, " ")
}
