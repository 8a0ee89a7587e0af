//go:build e2e

package certificates

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// check runs "nodeagent check" with the agent's flags.
func (a *agent) check(t *testing.T) (text string, problems bool) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), filepath.Join(a.BinDir, "nodeagent"), "check", "--config="+a.KubeletConfig,
		"--kubeconfig="+files.kubeconfig, "--bootstrap-kubeconfig="+files.bootstrap, "--hostname-override="+a.NodeName,
		"--node-ip="+a.NodeIP, "--root-dir="+a.RootDir, "--cert-dir="+a.pki).CombinedOutput()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), err != nil
}

// What is said of a node fits what happens on it.
func TestCheck(t *testing.T) {
	onlyNodeagent(t)
	a := setUp(t, nil)
	a.put(t, time.Hour)
	a.kubeconfig(t, files.kubeconfig, &clientcmdapi.AuthInfo{ClientCertificate: a.pem(), ClientKey: a.pem()})
	a.start(t)
	a.ready(t)
	text, problems := a.check(t)
	t.Logf("a good node:\n%s", text)
	if problems || strings.Contains(text, "problem ") {
		t.Error("a good node has problems")
	}
	for _, part := range []string{
		"ok       client certificate: ", "knows us as system:node:" + a.NodeName + " (system:nodes", "containerd ", "ok       cgroup driver",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("it does not say %q", part)
		}
	}
	a.put(t, -time.Minute)
	text, problems = a.check(t)
	t.Logf("an expired certificate:\n%s", text)
	if !problems || !strings.Contains(text, "problem  client certificate: ") || !strings.Contains(text, "problem  API server: ") {
		t.Error("an expired certificate is no problem")
	}
	if strings.Contains(text, "PRIVATE KEY") {
		t.Error("a key is printed")
	}
	bedtest.Must(t, "stopping the runtime", a.Component("containerd").Stop(t.Context()))
	text, _ = a.check(t)
	bedtest.Must(t, "starting the runtime", a.Component("containerd").Start(t.Context()))
	if !strings.Contains(text, "problem  container runtime") {
		t.Errorf("a runtime that is away is no problem:\n%s", text)
	}
}
