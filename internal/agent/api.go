package agent

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/config"
	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/podlogs"
	"nodeagent.dev/nodeagent/internal/server"
	"nodeagent.dev/nodeagent/internal/server/access"
	"nodeagent.dev/nodeagent/internal/server/serving"
)

// systemLogDir is what the node's API shows at /logs/.
const systemLogDir = "/var/log"

// nodeAPI is what serves the node's API.
type nodeAPI struct {
	access  *access.Access
	serving *serving.Serving
	logs    *podlogs.Reader
	server  *server.Server
}

// newAPI builds the node's API; nil when it is switched off.
func (p *parts) newAPI() (*nodeAPI, error) {
	cfg := p.cfg.Server
	if !cfg.Enabled {
		return nil, nil
	}
	log := p.log.Named("server")
	guard, err := access.New(accessConfig(p.cfg), accessClients(p.api), log.Named("access"))
	if err != nil {
		return nil, err
	}
	secure, err := serving.New(serving.Config{
		CertFile: cfg.TLS.CertFile, KeyFile: cfg.TLS.KeyFile, CertDir: p.cfg.CertDir, HostName: p.cfg.NodeName,
		Reload: cfg.TLS.Reload, MinVersion: cfg.TLS.MinVersion, CipherSuites: cfg.TLS.CipherSuites, Curves: cfg.TLS.Curves,
		ClientCA: guard.ClientCA(),
	}, log.Named("tls"))
	if err != nil {
		return nil, err
	}
	logs, err := podlogs.NewReader(p.cfg.PodLogsDir, log.Named("logs"))
	if err != nil {
		return nil, err
	}
	return &nodeAPI{access: guard, serving: secure, logs: logs, server: server.New(server.Config{
		Address: addrPort(cfg.Address, cfg.Port), ReadOnly: addrPort(cfg.Address, cfg.ReadOnlyPort),
		TLS: secure.TLS(), Guard: guard.Filter, SystemLogDir: systemLogDir,
		Handlers: server.Handlers(cfg.Handlers),
	}, server.Sources{
		Pods: p, Runtime: p.runtime, Logs: logs, Alive: p.alive, Config: p.cfg.Effective(),
		Metrics:      promhttp.HandlerFor(p.metrics.registry, promhttp.HandlerOpts{Timeout: requestTimeout}),
		SetVerbosity: p.setVerbosity,
	}, log)}, nil
}

// run serves until ctx ends.
func (a *nodeAPI) run(ctx context.Context) error {
	if a == nil {
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.access.Run(ctx) })
	group.Go(func() error { return a.serving.Run(ctx) })
	group.Go(func() error { return a.logs.Run(ctx) })
	group.Go(func() error { return a.server.Run(ctx) })
	return group.Wait()
}

func accessConfig(cfg *config.Config) access.Config {
	a := cfg.Server.Access
	return access.Config{
		NodeName: cfg.NodeName, Anonymous: a.Anonymous, Webhook: a.TokenWebhook, TokenCacheTTL: a.TokenCacheTTL,
		ClientCAFile: a.ClientCAFile, Mode: a.Mode, AllowedTTL: a.AllowedTTL, DeniedTTL: a.DeniedTTL,
	}
}

// accessClients is nil without an API server.
func accessClients(api clients) access.Clients {
	if api.access == nil {
		return nil
	}
	return api.access
}

func addrPort(addr netip.Addr, port int) netip.AddrPort {
	return netip.AddrPortFrom(addr, uint16(port))
}

// Views implements server.Pods: what is known of all pods; nothing before the
// runtime has answered.
func (p *parts) Views() []*pod.View {
	if sup := p.sup.Load(); sup != nil {
		return sup.Views()
	}
	return nil
}

// View implements server.Pods.
func (p *parts) View(uid types.UID) *pod.View {
	if sup := p.sup.Load(); sup != nil {
		return sup.View(uid)
	}
	return nil
}

// setVerbosity changes what is logged from now on.
func (p *parts) setVerbosity(level string) error {
	v, err := strconv.Atoi(level)
	if err != nil {
		return fmt.Errorf("the log level is a number: %w", err)
	}
	p.levels.set(v)
	return nil
}
