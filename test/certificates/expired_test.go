//go:build e2e

package certificates

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

// few is how many lines of a log one trouble may make: the agent's own, and one
// each of those who wait for the API server.
const few = 40

// way is how a node comes to a certificate that has expired, and out of it.
type way struct {
	name   string
	expire func(t *testing.T, a *agent)
	repair func(t *testing.T, a *agent)
}

// A certificate that has expired ends neither pods nor the agent. Whatever
// credential appears is used, without a restart.
func TestExpired(t *testing.T) {
	onlyNodeagent(t)
	a := setUp(t, nil)
	a.put(t, time.Hour)
	a.kubeconfig(t, files.kubeconfig, a.inFile())
	a.start(t)
	a.ready(t)
	untouched := a.workload(t, "expired")
	over := func(t *testing.T, a *agent) { a.put(t, -time.Minute) }
	renewed := func(t *testing.T, a *agent) {
		cert, key := a.node(t, time.Hour)
		bedtest.Must(t, "writing a certificate", os.WriteFile(a.pem()+".new", append(cert, key...), 0o600))
		bedtest.Must(t, "writing a certificate", os.Rename(a.pem()+".new", a.pem()))
	}
	for _, w := range []way{
		{"as time goes by", func(t *testing.T, a *agent) { a.expireByTime(t) }, renewed},
		{"before the agent starts", func(t *testing.T, a *agent) {
			bedtest.Must(t, "stopping the agent", a.Component("agent").Stop(t.Context()))
			over(t, a)
			bedtest.Must(t, "starting the agent", a.Component("agent").Start(t.Context()))
		}, renewed},
		{"until there is a new kubeconfig", over, func(t *testing.T, a *agent) {
			cert, key := a.node(t, time.Hour)
			a.kubeconfig(t, files.kubeconfig, &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key})
		}},
		{"until there is a bootstrap kubeconfig", over, func(t *testing.T, a *agent) { a.bootstrapKubeconfig(t, "ffffff") }},
		{"until a token is good", func(t *testing.T, a *agent) {
			a.kubeconfig(t, files.bootstrap, &clientcmdapi.AuthInfo{Token: "abcdef.0123456789abcdef"})
			over(t, a)
		}, func(t *testing.T, a *agent) { a.bootstrapKubeconfig(t, "abcdef") }},
	} {
		t.Run(w.name, func(t *testing.T) { a.expiresAndRecovers(t, w) })
		untouched(t)
	}
}

// inFile is a user whose certificate is where agents keep theirs.
func (a *agent) inFile() *clientcmdapi.AuthInfo {
	return &clientcmdapi.AuthInfo{ClientCertificate: a.pem(), ClientKey: a.pem()}
}

// expireByTime lets a certificate live for some seconds, while nobody signs
// another.
func (a *agent) expireByTime(t *testing.T) {
	t.Helper()
	manager := a.Component("kube-controller-manager")
	bedtest.Must(t, "stopping the signer", manager.Stop(t.Context()))
	t.Cleanup(func() { bedtest.Must(t, "starting the signer", manager.Start(context.Background())) })
	a.put(t, 8*time.Second)
}

func (a *agent) expiresAndRecovers(t *testing.T, w way) {
	t.Helper()
	mark := func() { a.log = len(a.Component("agent").Log()) }
	mark()
	_ = os.Remove(files.bootstrap)
	a.kubeconfig(t, files.kubeconfig, a.inFile())
	// Nobody renews this one soon; the one before it may be renewed just now, in its place.
	target, until := a.put(t, time.Hour)
	eventually(t, "use of a good certificate", func() bool {
		if is, err := os.Readlink(a.pem()); err != nil || is != target {
			target, until = a.put(t, time.Hour)
		}
		return strings.Contains(a.said(), until)
	})
	mark()
	w.expire(t, a)
	eventually(t, "word of the expired certificate", func() bool { return strings.Contains(a.said(), "has expired at") })
	pid, err := a.Component("agent").PID(t.Context())
	bedtest.Must(t, "asking for the agent", err)
	settle(t)
	if n := strings.Count(a.said(), "\n"); n > few || strings.Count(a.said(), "has expired at") > few/2 {
		t.Errorf("%d lines:\n%s", n, a.said())
	}
	at := time.Now()
	w.repair(t, a)
	a.heard(t)
	t.Logf("heard of again %s after the repair", time.Since(at).Round(time.Millisecond))
	name := "later-" + strconv.FormatInt(at.Unix(), 10)
	bedtest.Create(t, a.Bed, bedtest.NewPod(name, 1, bedtest.Obeys))
	bedtest.Await(t, a.Client(), name, "ready", patience, bedtest.Ready)
	if again, err := a.Component("agent").PID(t.Context()); err != nil || again != pid {
		t.Errorf("the agent was process %d and is %d: %v", pid, again, err)
	}
}

// settle is time in which an agent could flood its log, or end.
func settle(t *testing.T) {
	t.Helper()
	bedtest.Pause(t.Context(), 3*time.Second)
}

// put writes a certificate of the node behind the link that agents make. It returns the
// file, and the time until which the certificate is good as the agent's log has it.
func (a *agent) put(t *testing.T, life time.Duration) (target, until string) {
	t.Helper()
	cert, key := a.node(t, life)
	target = filepath.Join(a.pki, "kubelet-client-2026-01-01-00-00-00.pem")
	bedtest.Must(t, "writing a certificate", os.WriteFile(target+".new", append(cert, key...), 0o600))
	bedtest.Must(t, "writing a certificate", os.Rename(target+".new", target))
	_ = os.Remove(a.pem())
	bedtest.Must(t, "linking a certificate", os.Symlink(target, a.pem()))
	block, _ := pem.Decode(cert)
	parsed, err := x509.ParseCertificate(block.Bytes)
	bedtest.Must(t, "reading a certificate", err)
	return target, parsed.NotAfter.UTC().Format(time.RFC3339)
}
