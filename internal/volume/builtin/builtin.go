package builtin

import (
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/volume"
	"nodeagent.dev/nodeagent/internal/volume/configmap"
	"nodeagent.dev/nodeagent/internal/volume/downwardapi"
	"nodeagent.dev/nodeagent/internal/volume/emptydir"
	"nodeagent.dev/nodeagent/internal/volume/gitrepo"
	"nodeagent.dev/nodeagent/internal/volume/hostpath"
	"nodeagent.dev/nodeagent/internal/volume/image"
	"nodeagent.dev/nodeagent/internal/volume/local"
	"nodeagent.dev/nodeagent/internal/volume/nfs"
	"nodeagent.dev/nodeagent/internal/volume/projected"
	"nodeagent.dev/nodeagent/internal/volume/removed"
	"nodeagent.dev/nodeagent/internal/volume/secret"
)

// Config is what the types need to know of the node.
type Config struct {
	// AllocatableMemory is what pods may use, in bytes; 0 when unknown.
	AllocatableMemory int64
	// Allocatable is the Node's status.allocatable; nil when unknown.
	Allocatable func() corev1.ResourceList
	// GitRepo lets pods have gitRepo volumes.
	GitRepo bool
	// Objects are those that pods refer to.
	Objects projected.Objects
	// Tokens and Certificates speak for service accounts and pods with the API server;
	// both are nil on a node without one.
	Tokens       projected.Tokens
	Certificates projected.Certificates
}

// Plugins returns every volume type of this version.
func Plugins(cfg Config, log *zap.Logger) []volume.Plugin {
	projections := projected.Config{AllocatableMemory: cfg.AllocatableMemory, Allocatable: cfg.Allocatable}
	if cfg.Tokens != nil {
		projections.Objects, projections.Tokens, projections.Certificates = cfg.Objects, cfg.Tokens, cfg.Certificates
	}
	return []volume.Plugin{
		configmap.New(cfg.Objects),
		secret.New(secret.Config{Objects: cfg.Objects, AllocatableMemory: cfg.AllocatableMemory}),
		projected.New(projections),
		downwardapi.New(downwardapi.Config{Allocatable: cfg.Allocatable, AllocatableMemory: cfg.AllocatableMemory}),
		emptydir.New(emptydir.Config{AllocatableMemory: cfg.AllocatableMemory}),
		hostpath.New(),
		image.New(),
		local.New(log.Named("local")),
		nfs.New(log.Named("nfs")),
		gitrepo.New(gitrepo.Config{Enabled: cfg.GitRepo}),
		removed.New(), // says of what is left why it cannot be had
	}
}
