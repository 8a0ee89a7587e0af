package builtin

import (
	"nodeagent.dev/nodeagent/internal/volume"
	"nodeagent.dev/nodeagent/internal/volume/emptydir"
	"nodeagent.dev/nodeagent/internal/volume/hostpath"
	"nodeagent.dev/nodeagent/internal/volume/image"
)

// Config is what the types need to know of the node.
type Config struct {
	// AllocatableMemory is what pods may use, in bytes; 0 when unknown.
	AllocatableMemory int64
}

// Plugins returns every volume type of this version.
func Plugins(cfg Config) []volume.Plugin {
	return []volume.Plugin{
		emptydir.New(emptydir.Config{AllocatableMemory: cfg.AllocatableMemory}),
		hostpath.New(),
		image.New(),
	}
}
