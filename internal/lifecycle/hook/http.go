package hook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"nodeagent.dev/nodeagent/internal/pod"
)

const (
	maxRedirects = 10
	// maxHeader is how long an answer's header may be, in bytes.
	maxHeader = 1 << 20
)

// httpGet sends the handler's request. Any answer is a success, whatever its
// status. One who answers a request by TLS without TLS is asked again in the clear,
// as the kubelet does since hooks said "HTTPS" before it had an effect; credentials
// are left out then.
func (r *Runner) httpGet(ctx context.Context, t *pod.HookTarget) error {
	req, err := r.request(ctx, t)
	if err != nil {
		return err
	}
	client, closeIdle := newClient()
	defer closeIdle()
	err = send(client, req)
	if !errors.Is(err, http.ErrSchemeMismatch) {
		return err
	}
	again := req.Clone(ctx)
	again.URL.Scheme = "http"
	again.Header.Del("Authorization")
	if send(client, again) != nil {
		return err
	}
	r.deps.HTTPFallback()
	if r.deps.Events != nil {
		r.deps.Events.Event(t.Pod, "", true, "LifecycleHTTPFallback",
			fmt.Sprintf("request to HTTPS lifecycle hook %s got HTTP response, retry with HTTP succeeded", again.URL.Host))
	}
	return nil
}

// newClient returns a client for one handler. It has no proxy and no credentials of
// the agent, and must not get any: the container says where the requests go.
func newClient() (client *http.Client, closeIdle func()) {
	transport := &http.Transport{
		// #nosec G402 -- containers have certificates that nobody could verify (API: httpGet.scheme)
		TLSClientConfig:        &tls.Config{InsecureSkipVerify: true},
		MaxResponseHeaderBytes: maxHeader,
	}
	return &http.Client{Transport: transport, CheckRedirect: redirect}, transport.CloseIdleConnections
}

// redirect follows to the same host only: what another one does is not the
// container's answer.
func redirect(req *http.Request, via []*http.Request) error {
	if req.URL.Hostname() != via[0].URL.Hostname() {
		return http.ErrUseLastResponse
	}
	if len(via) >= maxRedirects {
		return fmt.Errorf("stopped after %d redirects", maxRedirects)
	}
	return nil
}

// send sends a request and reads an answer that is short, so that it is not cut
// off while the container writes it.
func send(client *http.Client, req *http.Request) error {
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	if resp.ContentLength <= maxOutput {
		// The answer has come; what of its body gets lost is of no interest.
		_, _ = io.CopyN(io.Discard, resp.Body, maxOutput)
	}
	_ = resp.Body.Close()
	return nil
}

// request builds the handler's request.
func (r *Runner) request(ctx context.Context, t *pod.HookTarget) (*http.Request, error) {
	get := t.Handler.HTTPGet
	host := get.Host
	if host == "" {
		host = t.IP
	}
	if host == "" {
		return nil, errors.New("failed to find networking container: the pod has no address")
	}
	port, err := portOf(get.Port, t.Container)
	if err != nil {
		return nil, err
	}
	scheme := strings.ToLower(string(get.Scheme))
	if scheme == "" {
		scheme = "http"
	}
	u, err := url.Parse(get.Path)
	if err != nil {
		u = &url.URL{Path: get.Path} // no valid one, but what was asked for
	}
	u.Scheme, u.Host = scheme, net.JoinHostPort(host, strconv.Itoa(port))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header = r.header(get.HTTPHeaders)
	req.Host = req.Header.Get("Host")
	return req, nil
}

// header is what the handler says, and a User-Agent and an Accept unless it says
// something about them. An empty Accept means none.
func (r *Runner) header(list []corev1.HTTPHeader) http.Header {
	h := http.Header{}
	for _, one := range list {
		h.Add(one.Name, one.Value)
	}
	if _, ok := h["User-Agent"]; !ok {
		h.Set("User-Agent", r.agent)
	}
	if accept, ok := h["Accept"]; !ok {
		h.Set("Accept", "*/*")
	} else if accept[0] == "" {
		h.Del("Accept")
	}
	return h
}

// portOf is a port's number, by its name if need be. The texts are the kubelet's
// (probe/util.go).
func portOf(p intstr.IntOrString, c *corev1.Container) (int, error) {
	port := p.IntValue()
	if p.Type == intstr.String {
		port = -1
		for i := range c.Ports {
			if c.Ports[i].Name == p.StrVal {
				port = int(c.Ports[i].ContainerPort)
				break
			}
		}
		if port == -1 {
			return 0, fmt.Errorf("port %q not found", p.StrVal)
		}
	}
	if port <= 0 || port > 65535 {
		return 0, fmt.Errorf("invalid port number: %v", port)
	}
	return port, nil
}

// userAgent is "kube-lifecycle/1.37" for v1.37.1.
func userAgent(version string) string {
	part := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(part) < 2 {
		part = []string{"", ""}
	}
	return "kube-lifecycle/" + part[0] + "." + part[1]
}
