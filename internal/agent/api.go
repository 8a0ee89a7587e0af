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
	"nodeagent.dev/nodeagent/internal/server"
	"nodeagent.dev/nodeagent/internal/server/access"
	"nodeagent.dev/nodeagent/internal/server/serving"
)

// systemLogDir is what the node's API shows at /logs/.
const systemLogDir = "/var/log"

// nodeAPI is what has to run for the node's API to be served.
type nodeAPI []func(context.Context) error

// newAPI builds the node's API. enableServer is about the port with TLS alone.
func (p *parts) newAPI() (nodeAPI, error) {
	cfg, log := p.cfg.Server, p.log.Named("server")
	to := server.Config{ReadOnly: addrPort(cfg.Address, cfg.ReadOnlyPort), SystemLogDir: systemLogDir, Handlers: server.Handlers(cfg.Handlers)}
	api := nodeAPI{p.logs.Run}
	if cfg.Enabled {
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
		to.Address, to.TLS, to.Guard = addrPort(cfg.Address, cfg.Port), secure.TLS(), guard.Filter
		api = append(api, guard.Run, secure.Run)
	}
	return append(api, server.New(to, server.Sources{
		Pods: p, Runtime: p.runtime, Logs: p.logs, Alive: p.alive, Config: p.cfg.Effective(),
		Metrics:      promhttp.HandlerFor(p.metrics.registry, promhttp.HandlerOpts{Timeout: requestTimeout}),
		SetVerbosity: p.setVerbosity,
	}, log).Run), nil
}

// run serves until ctx ends.
func (a nodeAPI) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, part := range a {
		group.Go(func() error { return part(ctx) })
	}
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
