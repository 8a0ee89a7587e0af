package agent

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"strconv"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/certificate"
	"nodeagent.dev/nodeagent/internal/config"
	"nodeagent.dev/nodeagent/internal/node"
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
func (p *parts) newAPI(n *node.Registrar) (nodeAPI, error) {
	cfg, log := p.cfg.Server, p.log.Named("server")
	to := server.Config{ReadOnly: addrPort(cfg.Address, cfg.ReadOnlyPort), SystemLogDir: systemLogDir,
		CheckpointDir: filepath.Join(p.cfg.RootDir, "checkpoints"), Version: p.version, Handlers: server.Handlers(cfg.Handlers)}
	api := nodeAPI{p.logs.Run}
	if cfg.Enabled {
		guard, err := access.New(accessConfig(p.cfg), accessClients(p.api), log.Named("access"))
		if err != nil {
			return nil, err
		}
		signed, err := p.newServing(n)
		if err != nil {
			return nil, err
		}
		secureConfig := serving.Config{
			CertFile: cfg.TLS.CertFile, KeyFile: cfg.TLS.KeyFile, CertDir: p.cfg.CertDir, HostName: p.cfg.NodeName,
			Reload: cfg.TLS.Reload, MinVersion: cfg.TLS.MinVersion, CipherSuites: cfg.TLS.CipherSuites, Curves: cfg.TLS.Curves,
			ClientCA: guard.ClientCA(),
		}
		if signed != nil {
			secureConfig.Get = signed.GetCertificate
			api = append(api, signed.Run)
		}
		secure, err := serving.New(secureConfig, log.Named("tls"))
		if err != nil {
			return nil, err
		}
		to.Address, to.TLS, to.Guard = addrPort(cfg.Address, cfg.Port), secure.TLS(), func(h http.Handler) http.Handler {
			return guard.Filter(p.tracer.requests(h)) // strangers cause no spans
		}
		api = append(api, guard.Run, secure.Run)
	}
	used, reader, err := p.newStats()
	if err != nil {
		return nil, err
	}
	if err := p.metrics.Register(used.Collector()); err != nil {
		return nil, err
	}
	return append(api, server.New(to, server.Sources{
		Pods: p, Runtime: p.runtime, Logs: p.logs, Alive: p.alive, Config: p.cfg.Effective(),
		Metrics: p.metrics.Handler(), Probes: p.metrics.ProbesHandler(),
		Count: p.metrics.Server.Count, Upgraded: p.metrics.Server.Upgraded,
		SetVerbosity: p.setVerbosity, Checkpoints: p.runtime, Flags: p.cfg.Flags,
		Resource: used.ResourceMetrics(), CAdvisor: p.newCAdvisor(reader),
		Summary: func(ctx context.Context, brief bool) (any, error) { return used.Summary(ctx, brief) },
	}, log).Run), nil
}

// newServing returns what asks the cluster for the serving certificate, nil if
// it is not to be asked, or cannot be.
func (p *parts) newServing(n *node.Registrar) (*certificate.Serving, error) {
	own := p.cfg.Server.TLS
	if !own.Request || p.api.main == nil {
		return nil, nil
	}
	s, err := certificate.NewServing(certificate.ServingConfig{
		NodeName: p.cfg.NodeName, Client: p.api.main, Addresses: n.Addresses, DNSOnly: own.DNSOnly,
		CertDir: p.cfg.CertDir, CertFile: own.CertFile, KeyFile: own.KeyFile,
	}, p.log.Named("serving"))
	if err != nil {
		return nil, err
	}
	return s, p.metrics.Register(s.Collectors()...)
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
