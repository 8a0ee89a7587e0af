package cri

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/containerspec"
	"nodeagent.dev/nodeagent/internal/pod"
)

// Config says where the runtime is and how long to wait for it.
type Config struct {
	// RuntimeEndpoint is containerRuntimeEndpoint, such as
	// unix:///run/containerd/containerd.sock. ImageEndpoint is the same when empty.
	RuntimeEndpoint string
	ImageEndpoint   string
	// RequestTimeout is runtimeRequestTimeout; zero means two minutes.
	RequestTimeout time.Duration
	// Node returns what messages depend on beside the pod; nil means nothing.
	// It is asked for every message and must be cheap.
	Node func() containerspec.Node
	// Observe, if set, hears of every call to the runtime: the kubelet's
	// operation name ("run_podsandbox"), how long it took and how it ended.
	Observe func(operation string, took time.Duration, err error)
}

// Client is a container runtime. It is safe for concurrent use.
type Client struct {
	cfg Config
	log *zap.Logger
}

var errTODO = errors.New("not built yet")

// New returns a client of the runtime at the configured endpoint.
func New(cfg Config, log *zap.Logger) (*Client, error) { return &Client{cfg: cfg, log: log}, nil }

// NewWithConns returns a client over given connections, which Close leaves open.
func NewWithConns(rt, img grpc.ClientConnInterface, cfg Config, log *zap.Logger) *Client {
	return &Client{cfg: cfg, log: log}
}

// Close ends the connections.
func (c *Client) Close() error { return nil }

// Observe shows one pod.
func (c *Client) Observe(ctx context.Context, ref pod.Ref) (pod.Observation, error) {
	return pod.Observation{}, errTODO
}

// Forget drops what is remembered of a pod that is gone.
func (c *Client) Forget(uid types.UID) {}

// ListAll shows in short every pod that the runtime knows.
func (c *Client) ListAll(ctx context.Context) ([]pod.Listing, error) { return nil, errTODO }

// CreateSandbox makes and starts a sandbox and returns its ID.
func (c *Client) CreateSandbox(ctx context.Context, req pod.SandboxRequest) (string, error) {
	return "", errTODO
}

// StopSandbox stops a sandbox and kills what still runs in it.
func (c *Client) StopSandbox(ctx context.Context, id string) error { return errTODO }

// RemoveSandbox removes a sandbox and its containers.
func (c *Client) RemoveSandbox(ctx context.Context, id string) error { return errTODO }

// CreateContainer makes a container and returns its ID.
func (c *Client) CreateContainer(ctx context.Context, req pod.ContainerRequest) (string, error) {
	return "", errTODO
}

// StartContainer starts a container that was created.
func (c *Client) StartContainer(ctx context.Context, id string) error { return errTODO }

// StopContainer sends SIGTERM, and SIGKILL after the grace.
func (c *Client) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	return errTODO
}

// RemoveContainer removes a container that has stopped.
func (c *Client) RemoveContainer(ctx context.Context, id string) error { return errTODO }

// Info returns what the runtime says of itself.
func (c *Client) Info(ctx context.Context) (pod.RuntimeInfo, error) {
	return pod.RuntimeInfo{}, errTODO
}

// CgroupDriver returns "systemd", "cgroupfs", or "" when the runtime cannot say.
func (c *Client) CgroupDriver(ctx context.Context) (string, error) { return "", errTODO }

// UpdatePodCIDR tells the runtime the node's pod network.
func (c *Client) UpdatePodCIDR(ctx context.Context, cidr string) error { return errTODO }

// ImagePresent looks an image up.
func (c *Client) ImagePresent(ctx context.Context, ref string) (imageRef string, size int64, ok bool, err error) {
	return "", 0, false, errTODO
}

// PullImage pulls an image and returns what to use in a container for it.
func (c *Client) PullImage(ctx context.Context, ref, userSpecified string, auth *pod.RegistryAuth) (imageRef string, err error) {
	return "", errTODO
}

// ErrNoEvents says that the runtime has no event stream.
var ErrNoEvents = errors.New("the runtime does not stream container events")

// Events calls f for every event until ctx ends or the stream breaks.
func (c *Client) Events(ctx context.Context, f func(pod.Hint)) error { return errTODO }
