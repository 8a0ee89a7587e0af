package http

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"

	"golang.org/x/net/http/httpguts"

	"nodeagent.dev/nodeagent/internal/probe/endpoint"
)

// exchange is the [http.RoundTripper] of plain HTTP: one request and its answer on a
// connection of their own. The library's transport keeps connections for a next request,
// for which it has three goroutines and twice the memory; a probe has no next request.
// What is sent and what errors say is as there.
type exchange struct{}

// RoundTrip implements [http.RoundTripper].
func (exchange) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := sendable(req.Header); err != nil {
		return nil, err
	}
	ctx := req.Context()
	conn, err := endpoint.Dial(ctx, addressOf(req), 0)
	if err != nil {
		return nil, orEnd(ctx, err)
	}
	body := &conversation{conn: conn, ctx: ctx}
	body.stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
	resp, err := ask(conn, req)
	if err != nil {
		_ = body.Close()
		return nil, orEnd(ctx, err)
	}
	body.Reader, resp.Body = resp.Body, body
	return resp, nil
}

// sendable refuses header lines that would be more than a line.
func sendable(h http.Header) error {
	for name, values := range h {
		if !httpguts.ValidHeaderFieldName(name) {
			return fmt.Errorf("net/http: invalid header field name %q", name)
		}
		for _, v := range values {
			if !httpguts.ValidHeaderFieldValue(v) { // which may be a secret
				return fmt.Errorf("net/http: invalid header field value for %q", name)
			}
		}
	}
	return nil
}

// addressOf is where a request goes.
func addressOf(req *http.Request) string {
	port := req.URL.Port()
	if port == "" {
		port = "80"
	}
	address := net.JoinHostPort(req.URL.Hostname(), port)
	if ascii, err := httpguts.PunycodeHostPort(address); err == nil {
		return ascii
	}
	return address
}

// ask sends a request and reads its answer up to the body.
func ask(conn net.Conn, req *http.Request) (*http.Response, error) {
	last := *req
	last.Close = true
	out := bytes.NewBuffer(make([]byte, 0, buffer/2))
	if err := last.Write(out); err != nil {
		return nil, err
	}
	if _, err := conn.Write(out.Bytes()); err != nil {
		return nil, err
	}
	limit := &io.LimitedReader{R: conn, N: maxHeader}
	in := bufio.NewReaderSize(limit, buffer)
	if _, err := in.Peek(1); err != nil {
		return nil, err
	}
	for {
		resp, err := http.ReadResponse(in, req)
		switch {
		case err != nil && limit.N <= 0:
			return nil, fmt.Errorf("net/http: server response headers exceeded %d bytes; aborted", maxHeader)
		case err != nil:
			return nil, fmt.Errorf("net/http: HTTP/1.x transport connection broken: %w", err)
		case resp.StatusCode == http.StatusSwitchingProtocols:
			resp.Body = io.NopCloser(in)
		case resp.StatusCode < http.StatusOK:
			continue // an interim answer
		}
		limit.N = math.MaxInt64 // the body is limited by who reads it
		return resp, nil
	}
}

// conversation is the body of an answer. It ends with its connection, and that with the
// request's context.
type conversation struct {
	io.Reader
	ctx  context.Context //nolint:containedctx // the request's, whose end explains that of the body
	conn net.Conn
	stop func() bool
}

// Read implements [io.Reader].
func (c *conversation) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = orEnd(c.ctx, err)
	}
	return n, err
}

// Close hangs up. What was not read of the body nobody wants.
func (c *conversation) Close() error {
	c.stop()
	return c.conn.Close()
}

// orEnd is why a request failed: the end of its context if that has come, which closes
// the connection.
func orEnd(ctx context.Context, err error) error {
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	return err
}
