package bed

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"nodeagent.dev/nodeagent/test/bed/images"
	"nodeagent.dev/nodeagent/test/bed/keeper"
)

// RegistryHost is the name by which pods may call images of the bed's registry.
const RegistryHost = "registry.bed.local"

var containerdConfig = template.Must(template.New("containerd").Parse(`version = 3
root = '{{.Dir}}/root'
state = '{{.Dir}}/state'
disabled_plugins = [
  'io.containerd.internal.v1.opt', 'io.containerd.nri.v1.nri', 'io.containerd.internal.v1.tracing',
  'io.containerd.tracing.processor.v1.otlp', 'io.containerd.snapshotter.v1.blockfile', 'io.containerd.snapshotter.v1.btrfs',
  'io.containerd.snapshotter.v1.devmapper', 'io.containerd.snapshotter.v1.zfs', 'io.containerd.snapshotter.v1.erofs',
  'io.containerd.differ.v1.erofs',
]

[grpc]
address = '{{.Socket}}'

[debug]
level = 'info'

[plugins.'io.containerd.shim.v1.manager']
socket_dir = '{{.Dir}}/s'

[plugins.'io.containerd.cri.v1.images']
snapshotter = 'overlayfs'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '{{.Pause}}'
[plugins.'io.containerd.cri.v1.images'.registry]
config_path = '{{.Dir}}/registries'

[plugins.'io.containerd.transfer.v1.local']
config_path = '{{.Dir}}/registries'

[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
tolerate_missing_hugetlb_controller = true
cdi_spec_dirs = ['{{.Dir}}/cdi']
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['{{.Dir}}/cni/bin']
conf_dir = '{{.Dir}}/cni/conf'
[plugins.'io.containerd.cri.v1.runtime'.containerd]
default_runtime_name = 'runc'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = '{{.Dir}}/bin/runc'
Root = '{{.Dir}}/runc'
SystemdCgroup = false

[plugins.'io.containerd.grpc.v1.cri']
disable_tcp_service = true
stream_server_address = '127.0.0.1'
stream_server_port = '0'
`))

// writeRuntime writes the configuration of containerd, CNI and crictl.
func writeRuntime(s *keeper.Spec, socket string) error {
	for _, dir := range []string{"cni/conf", "cdi", "s", "ipam", "logs", "manifests"} {
		if err := os.MkdirAll(filepath.Join(s.Dir, dir), 0o700); err != nil {
			return fmt.Errorf("create a folder of the bed: %w", err)
		}
	}
	var text strings.Builder
	if err := containerdConfig.Execute(&text, map[string]string{"Dir": s.Dir, "Socket": socket, "Pause": images.PauseName}); err != nil {
		return fmt.Errorf("render containerd's configuration: %w", err)
	}
	network, err := networkConfig(s)
	if err != nil {
		return err
	}
	files := map[string]string{
		"containerd.toml":          text.String(),
		"crictl.yaml":              fmt.Sprintf("runtime-endpoint: unix://%s\nimage-endpoint: unix://%s\ntimeout: 30\n", socket, socket),
		"cni/conf/10-bed.conflist": network,
		"resolv.conf":              "nameserver " + s.Gateway + "\nsearch bed.local\n",
	}
	registry := fmt.Sprintf("server = 'http://127.0.0.1:%d'\n\n[host.'http://127.0.0.1:%d']\ncapabilities = ['pull', 'resolve', 'push']\n",
		s.Ports["registry"], s.Ports["registry"])
	for _, host := range []string{fmt.Sprintf("127.0.0.1:%d", s.Ports["registry"]), RegistryHost} {
		files[filepath.Join("registries", host, "hosts.toml")] = registry
	}
	for name, content := range files {
		path := filepath.Join(s.Dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return fmt.Errorf("create a folder of the bed: %w", err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return fmt.Errorf("write a configuration file of the bed: %w", err)
		}
	}
	return nil
}

// networkConfig connects pods to the bed's bridge, which the keeper made with
// the gateway's address: the plugin must not switch on forwarding for the
// whole machine, as it would for a gateway of its own.
func networkConfig(s *keeper.Spec) (string, error) {
	config := map[string]any{
		"cniVersion": "1.0.0", "name": s.Network,
		"plugins": []any{
			map[string]any{
				"type": "bridge", "bridge": s.Bridge, "isGateway": false, "ipMasq": false, "hairpinMode": true,
				"ipam": map[string]any{
					"type": "host-local", "dataDir": filepath.Join(s.Dir, "ipam"),
					"ranges": []any{[]any{map[string]any{"subnet": s.Subnet, "gateway": s.Gateway}}},
					"routes": []any{map[string]any{"dst": "0.0.0.0/0", "gw": s.Gateway}},
				},
			},
			map[string]any{"type": "portmap", "capabilities": map[string]bool{"portMappings": true}},
		},
	}
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return "", fmt.Errorf("encode the network configuration: %w", err)
	}
	return string(text), nil
}
