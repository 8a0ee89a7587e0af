package agent

import (
	"fmt"
	"runtime"
	"time"

	"go.uber.org/zap"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"nodeagent.dev/nodeagent/internal/certificate"
	"nodeagent.dev/nodeagent/internal/config"
)

// clients are the ways to the API server. The lease has one of its own, so that
// nothing can starve it, and so have questions about callers of the node's API,
// which strangers cause.
type clients struct {
	main, events, heartbeat, access kubernetes.Interface
	// credential is what all of them show to the API server.
	credential *certificate.Client
}

// newClients returns the clients; all nil in standalone mode. Somebody has to run
// the credential.
func newClients(cfg *config.Config, version string, t *tracer, log *zap.Logger) (clients, error) {
	if cfg.Standalone {
		return clients{}, nil
	}
	credential, err := certificate.New(certificate.Config{
		NodeName: cfg.NodeName, Kubeconfig: cfg.Kubeconfig, BootstrapKubeconfig: cfg.BootstrapKubeconfig,
		CertDir: cfg.CertDir, Rotate: cfg.API.Rotate,
	}, log)
	if err != nil {
		return clients{}, err
	}
	base := credential.RESTConfig()
	base.UserAgent = fmt.Sprintf("nodeagent/%s (%s/%s)", version, runtime.GOOS, runtime.GOARCH)
	t.calls(base)
	base.ContentType = cfg.API.ContentType
	base.AcceptContentTypes = cfg.API.ContentType + ",application/json"
	limited := func(qps, burst int, timeout time.Duration) *rest.Config {
		c := rest.CopyConfig(base)
		c.QPS, c.Burst, c.Timeout = float32(qps), burst, timeout
		if qps == 0 {
			c.QPS = -1
		}
		return c
	}
	heartbeat := min(cfg.Node.StatusUpdateFrequency, cfg.Node.LeaseDuration)
	cs := clients{credential: credential}
	for _, one := range []struct {
		to  *kubernetes.Interface
		cfg *rest.Config
	}{
		{&cs.main, limited(cfg.API.QPS, cfg.API.Burst, 0)},
		{&cs.events, limited(cfg.Events.QPS, cfg.Events.Burst, 0)},
		{&cs.heartbeat, limited(0, 0, heartbeat)},
		{&cs.access, limited(cfg.API.QPS, cfg.API.Burst, 0)},
	} {
		c, err := kubernetes.NewForConfig(one.cfg)
		if err != nil {
			return clients{}, fmt.Errorf("making an API client from %s: %w", cfg.Kubeconfig, err)
		}
		*one.to = c
	}
	return cs, nil
}
