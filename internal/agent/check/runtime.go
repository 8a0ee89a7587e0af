package check

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"nodeagent.dev/nodeagent/internal/config"
	"nodeagent.dev/nodeagent/internal/cri"
)

// runtime asks the container runtime how it is, and for its cgroup driver.
func runtime(ctx context.Context, cfg *config.Config) []line {
	const what = "container runtime (containerRuntimeEndpoint)"
	failed := func(err error) []line {
		return []line{{problem, what, fmt.Sprintf("%s: %v", cfg.Runtime.Endpoint, err), "start the runtime, or give the path of its socket"}}
	}
	client, err := cri.New(cri.Config{
		RuntimeEndpoint: cfg.Runtime.Endpoint, ImageEndpoint: cfg.Runtime.ImageEndpoint, RequestTimeout: limit,
	}, zap.NewNop())
	if err != nil {
		return failed(err)
	}
	defer func() { _ = client.Close() }()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	info, err := client.Info(ctx)
	if err != nil {
		return failed(err)
	}
	lines := []line{{fine, what, info.Name + " " + info.Version + " answers", ""}}
	if info.RuntimeProblem != "" {
		lines = append(lines, line{problem, what, info.RuntimeProblem, "see the runtime's log"})
	}
	if info.NetworkProblem != "" {
		lines = append(lines, line{problem, "pod network", info.NetworkProblem, "install a network plugin, or see the runtime's log"})
	}
	return append(lines, driver(ctx, cfg, client))
}

// asker says which cgroup driver the runtime has.
type asker interface {
	CgroupDriver(ctx context.Context) (string, error)
}

func driver(ctx context.Context, cfg *config.Config, runtime asker) line {
	const what = "cgroup driver (cgroupDriver)"
	configured := cfg.Cgroup.Driver
	used, err := runtime.CgroupDriver(ctx)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return line{problem, what, "the runtime does not say which one it has: " + err.Error(), "see the runtime's log"}
	case err != nil:
		return line{warning, what, "the runtime does not say which one it has: " + err.Error(), "make sure that it has " + configured}
	case used == "":
		return line{warning, what, configured + "; the runtime does not say which one it has", "make sure that it is the same"}
	case used != configured:
		return line{warning, what, fmt.Sprintf("%s is configured, the runtime has %s, which wins", configured, used), "configure " + used + ", as a kubelet would need it"}
	}
	return line{fine, what, used + " for both", ""}
}
