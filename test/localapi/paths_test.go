//go:build e2e

package localapi

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

const (
	get, post, put, head, remove, patch, options = "GET", "POST", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS"

	notFound = "404 page not found\n"
	noPage   = "404: Page Not Found"
	noMethod = "405: Method Not Allowed"
	disabled = "Debug endpoints are disabled.\n"
	noFlag   = "unsupported http method\n"
)

// answers is what paths come to. A body that begins with ^ is a pattern (expect).
type answers struct {
	methods, paths string
	code           int
	body, allow    string
}

// elsewhere are codes for which the answer says where to go.
const elsewhere = 307

// onTLS are the parts of the port that test/nodeapi leaves out; log shippers,
// kubectl and scrapers tell codes and methods apart.
func onTLS() []answers {
	const any = get + " " + post + " " + put + " " + remove + " " + patch + " " + options
	const noGet = post + " " + put + " " + remove + " " + patch + " " + options
	return []answers{
		{any, "/ /healthz/ /healthz/x /metrics/ /metrics/x /configz/ /configz/x /flagz/ /statusz/ /debug /debug/ /debug/flags /allocatedPods /spec /cri/x", 404, notFound, ""},
		{any, "/pods/x /runningpods/x /stats/ /stats/x /stats/container /checkpoint/ /checkpoint/a/b /checkpoint/a/b/c/d /exec /exec/ /exec/a/b /run /run/ /attach/x " +
			"/portForward/x /containerLogs /containerLogs/ /containerLogs/a/b /containerLogs/a/b/c/d", 404, noPage, ""},
		{any, "/healthz /healthz/ping /healthz/log /healthz/syncloop /healthz/device-plugin", 200, "ok", ""},
		{any, "/healthz?verbose", 200, "[+]ping ok\n[+]log ok\n[+]syncloop ok\n[+]device-plugin ok\nhealthz check passed\n", ""},
		{any, "/configz", 200, `^^\{"kubeletconfig":\{.*"kind":"KubeletConfiguration"`, ""},
		{any, "/flagz /statusz", 200, `^^\nkubelet (flagz|statusz)\nWarning: `, ""},
		{any, "/metrics", 200, "^^# HELP ", ""},
		{any, "/logs /runningpods /stats /checkpoint /debug/pprof", elsewhere, "^", ""},
		{noGet, "/pods /pods/ /runningpods/ /logs/ /logs/x /debug/pprof/goroutine", 405, noMethod, "GET"},
		{get + " " + put + " " + remove + " " + patch + " " + options, "/checkpoint/a/b/c /run/a/b/c", 405, noMethod, "POST"},
		{put + " " + remove + " " + patch + " " + options, "/exec/a/b/c /attach/a/b/c /portForward/a/b", 405, noMethod, "GET, POST"},
		{noGet, "/containerLogs/a/b/c", 405, noMethod, "GET"},
		{get + " " + post + " " + remove + " " + patch + " " + options, "/debug/flags/v", 406, noFlag, ""},
		{get, "/debug/pprof/x", 404, "Unknown profile\n", ""},
		{head, "/pods /logs/ /containerLogs/a/b/c", 405, "", "GET"},
		{head, "/healthz /metrics /configz /flagz", 200, "", ""},
	}
}

// onReadOnly is what the other port leaves.
func onReadOnly() []answers {
	const any = get + " " + post + " " + remove
	return []answers{
		{any, "/exec/a/b/c /attach/x /run/ /portForward/x /containerLogs/ /containerLogs/a/b/c /runningpods/ /runningpods/x /debug/pprof/ /debug/pprof/goroutine /logs/ /logs/x", 405, disabled, ""},
		{any, "/configz /flagz /statusz /checkpoint /checkpoint/a/b/c /debug/flags/v /allocatedPods /healthz/x", 404, notFound, ""},
		{any, "/stats/x /pods/x", 404, noPage, ""},
		{any, "/healthz /healthz/device-plugin", 200, "ok", ""},
		{any, "/exec /run /containerLogs /logs /runningpods /debug/pprof /stats", elsewhere, "^", ""},
		{get, "/pods /pods/", 200, `^^\{"kind":"PodList","apiVersion":"v1",`, ""},
		{post, "/pods /pods/", 405, noMethod, "GET"},
	}
}

// TestPaths: codes, bodies and methods.
func TestPaths(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	for name, port := range map[string]struct {
		caller
		all []answers
	}{"tls": {direct(t, b), onTLS()}, "read only": {readOnly(t, b), onReadOnly()}} {
		t.Run(name, func(t *testing.T) {
			for _, want := range port.all {
				for method := range strings.FieldsSeq(want.methods) {
					for path := range strings.FieldsSeq(want.paths) {
						a := port.expect(t, method, path, want.code, want.body)
						if got := a.header.Get("Allow"); got != want.allow {
							t.Errorf("%s %s: Allow is %q, want %q", method, path, got, want.allow)
						}
						if to := a.header.Get("Location"); want.code == elsewhere && to != path+"/" {
							t.Errorf("%s %s: sent to %q", method, path, to)
						}
					}
				}
			}
		})
	}
}

// TestRights: which right each of these paths takes.
func TestRights(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	known := direct(t, b)
	node := asNode(t, b, known)
	for path, rights := range map[string]string{
		"/checkpoint/default/none/a": "checkpoint", "/flagz": "configz", "/statusz": "statusz", "/configz": "configz proxy",
		"/metrics/slis": "metrics", "/healthz/device-plugin": "healthz proxy", "/logs/?query=kubelet": "log", "/stats/x": "stats",
		"/debug/flags/v": "proxy", "/run/a/b/c": "proxy",
	} {
		for method, verb := range map[string]string{get: "get", post: "create", put: "update", patch: "patch", remove: "delete", options: ""} {
			node.expect(t, method, path, 403, "Forbidden (user=system:node:"+b.NodeName+", verb="+verb+", resource=nodes, subresource(s)=["+rights+"])\n")
		}
	}
}

// TestFlagz: the command line, and not what the configuration file says.
func TestFlagz(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	c := direct(t, b)
	a := c.ask(t, get, "/flagz", "Accept: application/json;v=v1beta1;g=config.k8s.io;as=Flagz")
	var page struct {
		Kind, APIVersion string
		Metadata         struct{ Name string }
		Flags            map[string]string
	}
	must(t, "reading flagz", json.Unmarshal([]byte(a.body), &page))
	if a.code != 200 || page.Kind != "Flagz" || page.APIVersion != "config.k8s.io/v1beta1" || page.Metadata.Name != "kubelet" {
		t.Errorf("%d %v: %+v", a.code, a.header, page)
	}
	for name, want := range map[string]string{
		"config": b.KubeletConfig, "root-dir": b.RootDir, "hostname-override": b.NodeName, "node-ip": b.NodeIP, "v": "2",
		// As the file has them not: these are the defaults.
		"address": "0.0.0.0", "anonymous-auth": "true", "cgroup-driver": "cgroupfs", "cluster-dns": "[]", "enforce-node-allocatable": "[pods]",
		"event-burst": "100", "feature-gates": "", "max-pods": "110", "read-only-port": "10255", "register-node": "true", "kube-reserved": "",
		"runtime-request-timeout": "2m0s", "system-reserved": "", "tls-cipher-suites": "[]", "node-labels": "", "oom-score-adj": "-999",
	} {
		if got, ok := page.Flags[name]; got != want || !ok {
			t.Errorf("--%s is %q (%v), want %q", name, got, ok, want)
		}
	}
	// Ours has a switch more; all others are there.
	delete(page.Flags, "enable-git-repo-volumes")
	if got := len(page.Flags); got != kubeletFlags {
		t.Errorf("%d flags, want %d: %v", got, kubeletFlags, slices.Sorted(maps.Keys(page.Flags)))
	}
	a = c.ask(t, get, "/flagz", "Accept: application/json")
	if a.code != 406 || !strings.Contains(a.body, "only the following media types are accepted: application/json, application/yaml, text/plain") {
		t.Errorf("without a version: %d %s", a.code, a.body)
	}
	if text := c.ask(t, get, "/flagz").body; !regexp.MustCompile(`(?m)^max-pods[:= ]+110$`).MatchString(text) {
		t.Errorf("as text: %s", text)
	}
}

// kubeletFlags is how many flags the kubelet has.
const kubeletFlags = 131

// TestStatusz: what runs, since when.
func TestStatusz(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	c := direct(t, b)
	a := c.ask(t, get, "/statusz", "Accept: application/json;v=v1beta1;g=config.k8s.io;as=Statusz")
	var page struct {
		Kind, APIVersion, StartTime, GoVersion, BinaryVersion, EmulationVersion string
		UptimeSeconds                                                           *int64
		Paths                                                                   []string
	}
	must(t, "reading statusz", json.Unmarshal([]byte(a.body), &page))
	if a.code != 200 || page.Kind != "Statusz" || page.APIVersion != "config.k8s.io/v1beta1" || page.StartTime == "" || page.UptimeSeconds == nil ||
		!strings.HasPrefix(page.GoVersion, "go1.") || !strings.HasPrefix(page.BinaryVersion, "1.37.1") || page.EmulationVersion != "1.37" ||
		!slices.Equal(page.Paths, []string{"/configz", "/debug", "/flagz", "/healthz", "/metrics"}) {
		t.Errorf("%d %v: %s", a.code, a.header, a.body)
	}
	text := c.ask(t, get, "/statusz").body
	for _, want := range []string{`Started[:= ]+\w+ \w+ +\d+ `, `Up[:= ]+\d+ hr \d\d min \d\d sec`, `Go version[:= ]+go1\.`, `Binary version[:= ]+1\.37\.1`,
		`Emulation version[:= ]+1\.37`, `Paths[:= ]+/configz /debug /flagz /healthz /metrics`} {
		if !regexp.MustCompile("(?m)^" + want).MatchString(text) {
			t.Errorf("no %s in %s", want, text)
		}
	}
}

// TestSLIs: how often health was asked for, and how it was.
func TestSLIs(t *testing.T) {
	b := cluster(t)
	c := direct(t, b)
	c.expect(t, get, "/healthz", 200, "ok")
	for name, c := range map[string]caller{"tls": c, "read only": readOnly(t, b)} {
		page := c.ask(t, get, "/metrics/slis").body
		for _, want := range []string{
			`# HELP kubernetes_healthcheck [STABLE] `, `# TYPE kubernetes_healthcheck gauge`, `# TYPE kubernetes_healthchecks_total counter`,
			`kubernetes_healthcheck{name="device-plugin",type="healthz"} 1`, `kubernetes_healthcheck{name="log",type="healthz"} 1`,
			`kubernetes_healthcheck{name="ping",type="healthz"} 1`, `kubernetes_healthcheck{name="syncloop",type="healthz"} 1`,
			`kubernetes_healthchecks_total{name="syncloop",status="success",type="healthz"} `, `# TYPE process_start_time_seconds gauge`, `process_start_time_seconds 1`,
		} {
			if !strings.Contains("\n"+page, "\n"+want) {
				t.Errorf("%s: no %s in %s", name, want, page)
			}
		}
	}
	c.ask(t, remove, "/metrics/slis")
	c.expect(t, get, "/healthz", 200, "ok")
	if page := c.ask(t, get, "/metrics/slis").body; !strings.Contains(page, `kubernetes_healthchecks_total{name="syncloop",status="success",type="healthz"} 1`+"\n") {
		t.Errorf("after a reset: %s", page)
	}
}

// TestCheckpoint: the runtime of the bed cannot make one; what it says is passed on.
func TestCheckpoint(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	bedtest.Create(t, b, withSidecar(bedtest.NewPod("checked", 1, bedtest.Obeys)))
	await(t, b, "checked", "ready", bedtest.Ready)
	c := direct(t, b)
	for _, name := range []string{"a", "side"} {
		c.expect(t, post, "/checkpoint/default/checked/"+name+"?timeout=300", 500, `^^checkpointing of default/checked/`+name+
			` failed \(rpc error: code = Unknown desc = failed to checkpoint container "[0-9a-f]{64}": criu binary not found in .*\)$`)
	}
	c.expect(t, post, "/checkpoint/default/checked/init", 500, "checkpointing of default/checked/init failed (container init not found)")
	c.expect(t, post, "/checkpoint/default/checked/a?timeout=-1", 500,
		"checkpointing of default/checked/a failed (CheckpointContainer requires the timeout value to be > 0)")
	c.expect(t, post, "/checkpoint/default/checked/a?timeout=x", 404, "cannot parse value of timeout parameter")
	c.expect(t, post, "/checkpoint/default/checked/none", 404, "container none does not exist")
	c.expect(t, post, "/checkpoint/default/none/a", 404, "pod does not exist")
	dir := filepath.Join(b.RootDir, "checkpoints")
	info, err := os.Stat(dir)
	must(t, "looking for the directory of checkpoints", err)
	if info.Mode() != os.ModeDir|0o700 {
		t.Errorf("%s is %s", dir, info.Mode())
	}
}
