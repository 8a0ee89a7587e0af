package agent

import (
	"context"
	"net/http"

	"nodeagent.dev/nodeagent/internal/node"
	"nodeagent.dev/nodeagent/internal/stats"
	"nodeagent.dev/nodeagent/internal/stats/cadvisor"
)

// newCAdvisor builds the page /metrics/cadvisor.
func (p *parts) newCAdvisor(reader *stats.Reader) http.Handler {
	machine := &node.LinuxMachine{Root: "/", StateDir: p.cfg.RootDir}
	return cadvisor.New(cadvisor.Config{
		Source: reader, RootDir: p.cfg.RootDir,
		Facts: func(ctx context.Context) cadvisor.Facts {
			f := machine.Gather(ctx)
			return cadvisor.Facts{
				MachineID: f.MachineID, SystemUUID: f.SystemUUID, BootID: f.BootID, KernelVersion: f.KernelVersion, OSImage: f.OSImage,
				Cores: f.Cores, MemoryBytes: f.MemoryBytes, SwapBytes: f.SwapBytes,
			}
		},
	}, p.log.Named("cadvisor"))
}
