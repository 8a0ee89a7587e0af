package bed

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"nodeagent.dev/nodeagent/test/bed/build"
)

// agentArgs are the flags of either agent, as in a kubelet's unit file.
func (b *Bed) agentArgs() []string {
	args := []string{"--config=" + b.KubeletConfig}
	if !b.options.Standalone {
		args = append(args, "--kubeconfig="+b.kubeconfigPath("node"))
	}
	args = append(args,
		"--hostname-override="+b.NodeName, "--node-ip="+b.NodeIP,
		"--root-dir="+b.RootDir, "--cert-dir="+filepath.Join(b.RootDir, "pki"), "--v=2")
	return append(args, b.options.AgentArgs...)
}

// kubeletConfig is the configuration that both agents read.
func (b *Bed) kubeletConfig() map[string]any {
	config := map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"address": b.NodeIP, "port": b.spec.Ports["kubelet"], "readOnlyPort": 0,
		"healthzBindAddress": "127.0.0.1", "healthzPort": b.spec.Ports["healthz"],
		"tlsCertFile": b.pki("node-serving.crt"), "tlsPrivateKeyFile": b.pki("node-serving.key"),
		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false},
			"webhook":   map[string]any{"enabled": !b.options.Standalone},
			"x509":      map[string]any{"clientCAFile": b.pki("ca.crt")},
		},
		"authorization":            map[string]any{"mode": "Webhook"},
		"containerRuntimeEndpoint": "unix://" + b.CRISocket,
		"cgroupDriver":             "cgroupfs", "cgroupRoot": b.CgroupRoot, "cgroupsPerQOS": true,
		"enforceNodeAllocatable": []string{"pods"}, "failCgroupV1": false, "failSwapOn": false,
		"clusterDNS": []string{"10.96.0.10"}, "clusterDomain": "cluster.local", "resolvConf": filepath.Join(b.Dir, "resolv.conf"),
		"staticPodPath": b.ManifestDir, "podLogsDir": b.PodLogsDir, "volumePluginDir": filepath.Join(b.Dir, "volume-plugins"),
		// 0% switches a threshold off.
		"evictionHard": map[string]string{
			"memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%",
			"imagefs.available": "0%", "imagefs.inodesFree": "0%", "pid.available": "0%",
		},
		"imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
		"registerNode": true, "maxPods": 250, "makeIPTablesUtilChains": false,
		"runtimeRequestTimeout": "2m",
	}
	if b.options.Standalone {
		config["authorization"] = map[string]any{"mode": "AlwaysAllow"}
		config["registerNode"] = false
	}
	return config
}

// writeAgent writes the KubeletConfiguration, as JSON, which is YAML too.
func (b *Bed) writeAgent() error {
	config := b.kubeletConfig()
	if b.options.KubeletConfig != nil {
		b.options.KubeletConfig(config)
	}
	content, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the KubeletConfiguration: %w", err)
	}
	for _, dir := range []string{b.PodLogsDir, filepath.Join(b.Dir, "volume-plugins")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("create a folder for the agent: %w", err)
		}
	}
	if err := os.WriteFile(b.KubeletConfig, content, 0o600); err != nil {
		return fmt.Errorf("write the KubeletConfiguration: %w", err)
	}
	return nil
}

// Agent is the name of the agent that the node has now.
func (b *Bed) Agent() string {
	b.live.mu.Lock()
	defer b.live.mu.Unlock()
	return b.live.agent
}

// SwitchAgent stops the agent and starts the named one in its place: same
// flags, same configuration, same folders. NoAgent only stops.
func (b *Bed) SwitchAgent(ctx context.Context, name string) error {
	if err := b.LaunchAgent(ctx, name); err != nil || name == NoAgent {
		return err
	}
	return b.Component("agent").WaitReady(ctx)
}

// LaunchAgent is SwitchAgent without waiting for the agent to answer.
func (b *Bed) LaunchAgent(ctx context.Context, name string) error {
	if name != NoAgent {
		if err := b.installAgent(ctx, name); err != nil {
			return fmt.Errorf("switch to agent %s: %w", name, err)
		}
	}
	agent := b.Component("agent")
	if err := agent.Stop(ctx); err != nil {
		return err
	}
	b.live.mu.Lock()
	b.live.agent = name
	b.live.mu.Unlock()
	if name == NoAgent {
		return nil
	}
	return agent.Launch(ctx)
}

// installAgent adds an agent that the bed was not started with.
func (b *Bed) installAgent(ctx context.Context, name string) error {
	target := filepath.Join(b.BinDir, name)
	if _, err := os.Stat(target); err == nil {
		return nil
	}
	program, err := AgentProgram(ctx, name, b.options.Output)
	if err != nil {
		return err
	}
	return installCopy(program, target)
}

// AgentProgram returns the path of the program that beds run as an agent, built when
// it was not yet, which progress tells of.
func AgentProgram(ctx context.Context, name string, progress io.Writer) (string, error) {
	builder, err := build.New(progress)
	if err != nil {
		return "", err
	}
	switch name {
	case Kubelet:
		paths, err := builder.Ensure(ctx, name)
		return paths[name], err
	case Nodeagent:
		return nodeagentProgram(ctx, builder)
	default:
		return "", fmt.Errorf("agent %q: known are %s and %s", name, Nodeagent, Kubelet)
	}
}
