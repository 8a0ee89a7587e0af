package cridiff

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/diff"
)

// The sockets of the bed's containerd, which stays idle, and of the recorder.
const (
	runtimeSocket = "cri.sock"
	recordSocket  = "rec.sock"
)

// BedOptions make a bed, without an agent yet, whose agents find the recorder
// in the place of a runtime and are not held up by limits.
func BedOptions(cgroupDriver string) bed.Options {
	return bed.Options{Agent: bed.NoAgent, KubeletConfig: func(config map[string]any) {
		endpoint, _ := config["containerRuntimeEndpoint"].(string)
		config["containerRuntimeEndpoint"] = strings.TrimSuffix(endpoint, runtimeSocket) + recordSocket
		config["cgroupDriver"] = cgroupDriver
		Configure(config)
	}}
}

// Configure changes the KubeletConfiguration of any node to one that has room
// for the corpus and does not hold the agents up.
func Configure(config map[string]any) {
	config["maxPods"] = 500
	config["kubeAPIQPS"], config["kubeAPIBurst"] = 500, 1000
	config["registryPullQPS"], config["serializeImagePulls"] = 0, false
	config["allowedUnsafeSysctls"] = []string{"kernel.msg*", "net.core.somaxconn"}
}

// Reconfigure changes the KubeletConfiguration of the agents that are started
// from now on.
func Reconfigure(b *bed.Bed, change func(config map[string]any)) error {
	raw, err := os.ReadFile(b.KubeletConfig)
	if err != nil {
		return fmt.Errorf("read the KubeletConfiguration: %w", err)
	}
	var config map[string]any
	if err := json.Unmarshal(raw, &config); err != nil {
		return fmt.Errorf("read the KubeletConfiguration: %w", err)
	}
	change(config)
	if raw, err = json.MarshalIndent(config, "", "  "); err != nil {
		return fmt.Errorf("encode the KubeletConfiguration: %w", err)
	}
	if err := os.WriteFile(b.KubeletConfig, raw, 0o600); err != nil {
		return fmt.Errorf("write the KubeletConfiguration: %w", err)
	}
	return nil
}

// OnBed is a bed as a target, and the corpus for it. Done undoes what was
// prepared for it.
func OnBed(b *bed.Bed, cgroupDriver string) (t *Target, c *Corpus, done func() error, err error) {
	places := &diff.Normaliser{}
	places.Name(b.RootDir, "$ROOT")
	places.Name(b.PodLogsDir, "$LOGS")
	places.Name(b.Dir, "$BED")
	places.Name(b.CgroupRoot, "$CGROUP")
	places.Name(b.NodeName, "$NODE")
	places.Word(b.NodeIP, "$NODEIP")
	host := filepath.Join(b.Dir, "host")
	if done, err = HostFolder(host); err != nil {
		return nil, nil, nil, err
	}
	if c, err = Load(map[string]string{"HOST": host}); err != nil {
		return nil, nil, nil, errors.Join(err, done())
	}
	config, err := b.RESTConfig()
	if err != nil {
		return nil, nil, nil, errors.Join(fmt.Errorf("connect to the bed's API server: %w", err), done())
	}
	config.WarningHandlerWithContext = rest.NoWarnings{}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, nil, nil, errors.Join(fmt.Errorf("connect to the bed's API server: %w", err), done())
	}
	t = &Target{
		Client: client, Node: b.NodeName, Manifests: b.ManifestDir, Socket: filepath.Join(b.Dir, recordSocket),
		CgroupDriver: cgroupDriver, Places: places,
	}
	return t, c, done, nil
}

// HostFolder makes what hostPath volumes of the corpus name. It is a mount of
// its own that passes mounts on, as mount propagation needs.
func HostFolder(host string) (done func() error, err error) {
	for _, dir := range []string{"dir", "other"} {
		if err := os.MkdirAll(filepath.Join(host, dir), 0o755); err != nil {
			return nil, fmt.Errorf("make what hostPath volumes name: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(host, "file"), []byte("text\n"), 0o600); err != nil {
		return nil, fmt.Errorf("make what hostPath volumes name: %w", err)
	}
	if err := unix.Mount(host, host, "", unix.MS_BIND, ""); err != nil {
		return nil, fmt.Errorf("mount %s on itself: %w", host, err)
	}
	done = func() error { return unix.Unmount(host, unix.MNT_DETACH) } //nolint:wrapcheck // wrapped by none
	if err := unix.Mount("", host, "", unix.MS_SHARED, ""); err != nil {
		return nil, errors.Join(fmt.Errorf("share the mounts below %s: %w", host, err), done())
	}
	return done, nil
}

// RunOnBed runs the corpus under an agent, which is stopped in the end, and
// takes the pods away.
func RunOnBed(ctx context.Context, b *bed.Bed, t *Target, c *Corpus, agent string) (*Result, error) {
	session, err := t.Open(c)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	if err := b.SwitchAgent(ctx, agent); err != nil {
		return nil, fmt.Errorf("start %s: %w", agent, err)
	}
	if err := b.WaitNodeReady(ctx); err != nil {
		return nil, fmt.Errorf("start %s: %w", agent, err)
	}
	result, err := session.Run(ctx, agent)
	stopping := b.SwitchAgent(ctx, bed.NoAgent)
	return result, errors.Join(err, stopping, t.Clear(ctx, c))
}
