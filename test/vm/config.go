package vm

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"nodeagent.dev/nodeagent/test/vm/machine"
)

// Paths in the machine, those of a node made with kubeadm.
const (
	kubernetesDir = "/etc/kubernetes"
	// ManifestDir holds static pods.
	ManifestDir = kubernetesDir + "/manifests"
	configFile  = "/var/lib/kubelet/config.yaml"
)

// agentConfig is the KubeletConfiguration of both agents. It reserves something
// and limits processes, so that there is more to compare.
func (n *Node) agentConfig(api, healthz int) map[string]any {
	return map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"address": "0.0.0.0", "port": api, "readOnlyPort": 0,
		"healthzBindAddress": "0.0.0.0", "healthzPort": healthz,
		"tlsCertFile": kubernetesDir + "/pki/node-serving.crt", "tlsPrivateKeyFile": kubernetesDir + "/pki/node-serving.key",
		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false},
			"webhook":   map[string]any{"enabled": true},
			"x509":      map[string]any{"clientCAFile": kubernetesDir + "/pki/ca.crt"},
		},
		"authorization":            map[string]any{"mode": "Webhook"},
		"containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
		"cgroupDriver":             "systemd", "cgroupsPerQOS": true, "enforceNodeAllocatable": []string{"pods"},
		"kubeReserved": map[string]string{"cpu": "100m", "memory": "200Mi", "pid": "1000"}, "podPidsLimit": 1024,
		"evictionHard": map[string]string{
			"memory.available": "100Mi", "nodefs.available": "1%", "nodefs.inodesFree": "1%", "imagefs.available": "1%",
		},
		"failSwapOn": false, "staticPodPath": ManifestDir, "resolvConf": "/etc/resolv.conf",
		"clusterDNS": []string{"10.96.0.10"}, "clusterDomain": "cluster.local",
		"runtimeRequestTimeout": "4m", "maxPods": 110,
	}
}

// files are those that make a node of the machine.
func (n *Node) files(o Options, api, healthz int) ([]machine.File, error) {
	config := n.agentConfig(api, healthz)
	if o.Config != nil {
		o.Config(config)
	}
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the KubeletConfiguration: %w", err)
	}
	kubeconfig, err := n.kubeconfig("node")
	if err != nil {
		return nil, err
	}
	args := strings.Join([]string{
		"--config=" + configFile, "--kubeconfig=" + kubernetesDir + "/kubelet.conf",
		"--hostname-override=" + n.Bed.NodeName, "--node-ip=" + n.Bed.NodeIP, "--v=2",
	}, " ")
	files := []machine.File{
		{Path: configFile, Content: string(text), Mode: 0o600},
		{Path: kubernetesDir + "/kubelet.conf", Content: kubeconfig, Mode: 0o600},
		{Path: kubernetesDir + "/agent.env", Content: "AGENT_ARGS=" + args + "\n", Mode: 0o644},
		{Path: ManifestDir + "/.keep", Mode: 0o600},
		// The address has to be there again after a reboot.
		{Path: "/etc/systemd/network/eth0.network.d/node.conf", Content: "[Network]\nAddress=" + n.Bed.NodeIP + "/32\n", Mode: 0o644},
	}
	for _, file := range []string{"ca.crt", "node-serving.crt", "node-serving.key"} {
		files = append(files, machine.File{Path: kubernetesDir + "/pki/" + file, From: n.pki(file), Mode: 0o600})
	}
	return files, nil
}

func (n *Node) pki(file string) string { return filepath.Join(n.Bed.Dir, "pki", file) }

// kubeconfig is that of a user, "node" or "admin", for use in the machine. It is
// JSON, which is YAML too.
func (n *Node) kubeconfig(user string) (string, error) {
	server, err := n.Bed.RESTConfig()
	if err != nil {
		return "", fmt.Errorf("find the API server: %w", err)
	}
	port, err := portOf(server.Host)
	if err != nil {
		return "", err
	}
	var data [3]string
	for i, file := range []string{"ca.crt", user + ".crt", user + ".key"} {
		content, err := os.ReadFile(n.pki(file))
		if err != nil {
			return "", fmt.Errorf("read the certificate of %s: %w", user, err)
		}
		data[i] = base64.StdEncoding.EncodeToString(content)
	}
	text, err := json.MarshalIndent(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": user,
		"clusters": []any{map[string]any{"name": "bed", "cluster": map[string]any{
			"server": fmt.Sprintf("https://%s:%d", machine.HostAddress, port), "tls-server-name": "kubernetes", "certificate-authority-data": data[0],
		}}},
		"users":    []any{map[string]any{"name": user, "user": map[string]any{"client-certificate-data": data[1], "client-key-data": data[2]}}},
		"contexts": []any{map[string]any{"name": user, "context": map[string]any{"cluster": "bed", "user": user}}},
	}, "", "  ")
	if err != nil {
		return "", fmt.Errorf("encode the kubeconfig of %s: %w", user, err)
	}
	return string(text), nil
}
