package http

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/probe/endpoint"
)

// request makes the request that a spec describes.
func request(ctx context.Context, a *corev1.HTTPGetAction, c *corev1.Container, ip, userAgent string) (*http.Request, error) {
	port, err := endpoint.Port(a.Port, c)
	if err != nil {
		return nil, err
	}
	address, err := endpoint.Address(a.Host, ip, port)
	if err != nil {
		return nil, err
	}
	scheme := strings.ToLower(string(a.Scheme))
	if scheme == "" {
		scheme = "http"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target(scheme, address, a.Path).String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header = header(a.HTTPHeaders, userAgent)
	req.Host = req.Header.Get("Host")
	return req, nil
}

// target joins what is given apart. The path may have a query. One that cannot
// be parsed is sent as it is, escaped.
func target(scheme, address, path string) *url.URL {
	u, err := url.Parse(path)
	if err != nil {
		u = &url.URL{Path: path}
	}
	u.Scheme, u.Host = scheme, address
	return u
}

// header has the spec's header lines and those that a probe has unless the spec
// says otherwise. An empty value takes such a line away.
func header(lines []corev1.HTTPHeader, userAgent string) http.Header {
	h := http.Header{}
	for _, l := range lines {
		h.Add(l.Name, l.Value)
	}
	if _, given := h["User-Agent"]; !given {
		h.Set("User-Agent", userAgent) // the library leaves out an empty one
	}
	if _, given := h["Accept"]; !given {
		h.Set("Accept", "*/*")
	} else if h.Get("Accept") == "" {
		h.Del("Accept")
	}
	return h
}
