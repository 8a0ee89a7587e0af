package http

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/probe/answer"
)

const (
	// maxHeader is how much header a target may send, in bytes.
	maxHeader = 256 << 10
	// maxRedirects is how many are followed, as in the kubelet.
	maxRedirects = 10
	// buffer is how much of a connection is read and written at once, in bytes. A
	// probe's request and the header of its answer are rarely longer.
	buffer = 1 << 10
	// window is how much HTTP/2 data a target may send ahead, in bytes. It is the
	// least that the library accepts for a connection.
	window = 64 << 10
)

// Probe sends the request that a describes to container c, whose pod has the
// address ip, as userAgent. A status from 200 to 399 within timeout is a success.
// An error means that the request could not be made or its answer not be read,
// which says nothing about the container; the result that comes with it is what
// the kubelet calls it then.
func Probe(ctx context.Context, a *corev1.HTTPGetAction, c *corev1.Container, ip, userAgent string, timeout time.Duration) (answer.Answer, error) {
	// The library's transport dials and reads on goroutines that outlive the request.
	// The end of this context is the end of them, and of every connection.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	inTime, end := context.WithTimeout(ctx, timeout)
	defer end()
	req, err := request(inTime, a, c, ip, userAgent)
	if err != nil {
		return answer.Answer{}, err
	}
	client := &http.Client{Transport: tripper(ctx, req.URL.Scheme)}
	client.CheckRedirect = func(next *http.Request, via []*http.Request) error {
		if was := via[len(via)-1].URL.Scheme; next.URL.Scheme != was {
			client.Transport = tripper(ctx, next.URL.Scheme)
		}
		return checkRedirect(next, via)
	}
	resp, err := client.Do(req)
	if err != nil {
		return answer.Failed(late(inTime, err, "exceeded while awaiting headers").Error()), nil
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answer.MaxOutput))
	if err != nil {
		return answer.Answer{Result: answer.Failure}, late(inTime, err, "or context cancellation while reading body")
	}
	switch code := resp.StatusCode; {
	case code >= 300 && code < 400:
		return answer.Answer{
			Result: answer.Warning,
			Output: answer.Cut("Probe terminated redirects, Response body: " + string(body)),
		}, nil
	case code >= 200 && code < 300:
		return answer.Answer{Result: answer.Success}, nil
	default:
		// Never the body: whoever may read events need not be allowed to read it.
		return answer.Failed(fmt.Sprintf("HTTP probe failed with statuscode: %d", code)), nil
	}
}

// late adds to an error what the library says when its client's timeout is over, which
// people look for. That timeout is not used: it takes a goroutine for a transport that
// is not the library's.
func late(ctx context.Context, err error, doing string) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%w (Client.Timeout %s)", err, doing)
}

// checkRedirect follows redirects that stay on the host.
func checkRedirect(next *http.Request, via []*http.Request) error {
	switch {
	case next.URL.Hostname() != via[0].URL.Hostname():
		return http.ErrUseLastResponse
	case len(via) >= maxRedirects:
		return errors.New("stopped after 10 redirects")
	}
	return nil
}

// tripper makes what sends the requests of one probe to URLs of a scheme.
func tripper(ctx context.Context, scheme string) http.RoundTripper {
	if scheme == "http" {
		return exchange{}
	}
	return transport(ctx)
}

// transport is for https, where TLS negotiates the protocol. Its connections are closed
// when ctx ends.
func transport(ctx context.Context) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	return &http.Transport{
		Proxy:                  nil, // what the agent's environment says is not about pods
		DialTLSContext:         secure(ctx),
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
		ReadBufferSize:         buffer,
		WriteBufferSize:        buffer,
		Protocols:              protocols,
		HTTP2:                  &http.HTTP2Config{MaxReceiveBufferPerConnection: window, MaxReceiveBufferPerStream: window},
	}
}
