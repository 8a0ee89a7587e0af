package main

import (
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"nodeagent.dev/nodeagent/internal/agent/inspect"
	"nodeagent.dev/nodeagent/test/bed"
)

// webPort is where the pod "web" of deploy/demo serves.
const webPort = 8080

// logLines is how much of the agent's log is shown when it does not know a pod.
const logLines = 20

// explain says why pods are not ready.
func explain(w io.Writer, b *bed.Bed, pods []inspect.Pod, missing []string) {
	for i := range pods {
		if pods[i].Ready {
			continue
		}
		fmt.Fprintln(w)
		inspect.Why(w, &pods[i], time.Now())
	}
	if len(missing) == 0 {
		return
	}
	fmt.Fprintf(w, "\nThe agent does not know of: %s. The end of its log (%s):\n", strings.Join(missing, ", "), b.Component("agent").LogPath())
	lines := strings.Split(strings.TrimSpace(b.Component("agent").Log()), "\n")
	fmt.Fprintln(w, strings.Join(lines[max(0, len(lines)-logLines):], "\n"))
}

// advise says how to look further and how to stop.
func advise(w io.Writer, b *bed.Bed, pods []inspect.Pod, m *manifests) {
	agent := filepath.Join(b.BinDir, bed.Nodeagent)
	line := func(command, about string) { fmt.Fprintf(w, "  %s\n      %s\n", command, about) }
	fmt.Fprint(w, "\nLook further:\n\n")
	line(agent+" pods --root-dir "+b.RootDir+" -o wide", "the tables above, again")
	for _, p := range pods {
		if strings.HasPrefix(p.Name, "web-") {
			line(agent+" why --root-dir "+b.RootDir+" "+p.Name, "what happened to a pod, and what it waits for")
			line(fmt.Sprintf("curl http://%s:%d/now", p.IP, webPort), "ask the pod \"web\" for the time")
		}
	}
	line(fmt.Sprintf("%s --config %s ps", filepath.Join(b.BinDir, "crictl"), filepath.Join(b.Dir, "crictl.yaml")), "the containers, as the runtime sees them")
	line("ls "+b.PodLogsDir+" /var/log/containers", "the logs of the containers, where log shippers look")
	line("curl "+b.HealthzURL, "the agent's health")
	pki := filepath.Join(b.Dir, "pki")
	line(fmt.Sprintf("curl --cacert %s/ca.crt --cert %s/admin.crt --key %s/admin.key %s/metrics", pki, pki, pki, b.AgentURL()),
		"the agent's metrics; /pods and /containerLogs/NAMESPACE/POD/CONTAINER are there, too")
	line("less "+b.Component("agent").LogPath(), "the agent's log")
	line("rm "+filepath.Join(b.ManifestDir, slices.Sorted(maps.Keys(m.files))[0]), "take a pod away, or change a manifest, and watch")
	fmt.Fprint(w, "\nStop it, leaving nothing behind:\n\n  make demo-down\n")
}
