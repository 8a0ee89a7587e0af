package bed

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"nodeagent.dev/nodeagent/test/bed/keeper"
)

// process is how the named component is started.
func (b *Bed) process(name string) (keeper.Process, error) {
	var argv []string
	env := b.environment()
	switch name {
	case "etcd":
		argv = b.etcdArgs()
	case "kube-apiserver":
		argv = b.apiserverArgs()
	case "kube-controller-manager":
		argv = b.controllerManagerArgs()
	case "kube-scheduler":
		argv = b.schedulerArgs()
	case "containerd":
		argv = []string{"--config", filepath.Join(b.Dir, "containerd.toml")}
	case "agent":
		b.live.mu.Lock()
		agent := b.live.agent
		b.live.mu.Unlock()
		if agent == NoAgent {
			return keeper.Process{}, fmt.Errorf("bed %s has no agent", b.Name)
		}
		argv = append([]string{filepath.Join(b.BinDir, agent)}, b.agentArgs()...)
		if b.options.UsualSocket {
			argv = b.withUsualSocket(argv)
		}
		return keeper.Process{
			Name: name, Argv: argv,
			Env: append(env, b.options.AgentEnv...), Log: b.logPath(name),
		}, nil
	default:
		return keeper.Process{}, fmt.Errorf("a bed has no component %q", name)
	}
	return keeper.Process{Name: name, Argv: append([]string{filepath.Join(b.BinDir, name)}, argv...), Env: env, Log: b.logPath(name)}, nil
}

func (b *Bed) logPath(name string) string { return filepath.Join(b.spec.LogDir(), name+".log") }

func (b *Bed) port(use string) string { return strconv.Itoa(b.spec.Ports[use]) }

func (b *Bed) local(use string) string { return "127.0.0.1:" + b.port(use) }

func (b *Bed) etcdArgs() []string {
	client, peer := "http://"+b.local("etcd"), "http://"+b.local("etcd-peer")
	return []string{
		"--data-dir=" + filepath.Join(b.Dir, "etcd"), "--unsafe-no-fsync", "--name=bed", "--log-level=warn",
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=bed=" + peer,
		"--heartbeat-interval=20", "--election-timeout=200",
	}
}

func (b *Bed) apiserverArgs() []string {
	args := []string{
		"--etcd-servers=http://" + b.local("etcd"),
		"--bind-address=127.0.0.1", "--secure-port=" + b.port("apiserver"), "--advertise-address=" + b.NodeIP,
		"--tls-cert-file=" + b.pki("apiserver.crt"), "--tls-private-key-file=" + b.pki("apiserver.key"), "--cert-dir=" + b.pki(""),
		"--client-ca-file=" + b.pki("ca.crt"),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--service-account-key-file=" + b.pki("sa.pub"), "--service-account-signing-key-file=" + b.pki("sa.key"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--kubelet-client-certificate=" + b.pki("apiserver-kubelet-client.crt"),
		"--kubelet-client-key=" + b.pki("apiserver-kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--requestheader-client-ca-file=" + b.pki("ca.crt"), "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--proxy-client-cert-file=" + b.pki("front-proxy-client.crt"), "--proxy-client-key-file=" + b.pki("front-proxy-client.key"),
		"--service-cluster-ip-range=10.96.0.0/16", "--allow-privileged=true", "--endpoint-reconciler-type=none",
		"--max-requests-inflight=2000", "--max-mutating-requests-inflight=1000", "--v=1",
	}
	if b.options.AuditLog {
		args = append(args, "--audit-policy-file="+filepath.Join(b.Dir, "audit-policy.yaml"),
			"--audit-log-path="+b.AuditLogPath(), "--audit-log-mode=batch")
	}
	return append(args, b.options.APIServerArgs...)
}

// AuditLogPath is where kube-apiserver logs requests when Options.AuditLog is set.
func (b *Bed) AuditLogPath() string { return filepath.Join(b.spec.LogDir(), "audit.log") }

func (b *Bed) controllerManagerArgs() []string {
	kubeconfig := filepath.Join(b.Dir, "controller-manager.kubeconfig")
	args := []string{
		"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1", "--secure-port=" + b.port("controller-manager"), "--cert-dir=" + b.pki(""),
		"--tls-cert-file=" + b.pki("apiserver.crt"), "--tls-private-key-file=" + b.pki("apiserver.key"),
		"--leader-elect=false", "--use-service-account-credentials=true", "--controllers=*",
		"--root-ca-file=" + b.pki("ca.crt"), "--service-account-private-key-file=" + b.pki("sa.key"),
		"--cluster-signing-cert-file=" + b.pki("ca.crt"), "--cluster-signing-key-file=" + b.pki("ca.key"),
		"--kube-api-qps=200", "--kube-api-burst=400", "--v=1",
	}
	return append(args, b.options.ControllerManagerArgs...)
}

func (b *Bed) schedulerArgs() []string {
	kubeconfig := filepath.Join(b.Dir, "scheduler.kubeconfig")
	return []string{
		"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1", "--secure-port=" + b.port("scheduler"),
		"--tls-cert-file=" + b.pki("apiserver.crt"), "--tls-private-key-file=" + b.pki("apiserver.key"),
		"--leader-elect=false", "--kube-api-qps=200", "--kube-api-burst=400", "--v=1",
	}
}

// writeControlPlane writes kubeconfigs and the audit policy.
func (b *Bed) writeControlPlane() error {
	if b.options.Standalone {
		return nil
	}
	for _, user := range []string{"admin", "controller-manager", "scheduler", "node"} {
		if err := b.writeKubeconfig(user); err != nil {
			return err
		}
	}
	policy := "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n- level: Metadata\n"
	if err := os.WriteFile(filepath.Join(b.Dir, "audit-policy.yaml"), []byte(policy), 0o600); err != nil {
		return fmt.Errorf("write the audit policy: %w", err)
	}
	return nil
}

func (b *Bed) kubeconfigPath(user string) string { return filepath.Join(b.Dir, user+".kubeconfig") }

// writeKubeconfig writes JSON, which is YAML too.
func (b *Bed) writeKubeconfig(user string) error {
	config := map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "bed",
		"clusters": []any{map[string]any{"name": "bed", "cluster": map[string]any{
			"server": "https://" + b.local("apiserver"), "certificate-authority": b.pki("ca.crt"),
		}}},
		"users": []any{map[string]any{"name": user, "user": map[string]any{
			"client-certificate": b.pki(user + ".crt"), "client-key": b.pki(user + ".key"),
		}}},
		"contexts": []any{map[string]any{"name": "bed", "context": map[string]any{"cluster": "bed", "user": user}}},
	}
	content, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the kubeconfig of %s: %w", user, err)
	}
	if err := os.WriteFile(b.kubeconfigPath(user), content, 0o600); err != nil {
		return fmt.Errorf("write the kubeconfig of %s: %w", user, err)
	}
	return nil
}
