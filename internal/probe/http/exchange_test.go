package http

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// What is sent, and what comes of it, is as with the library's transport.
func TestExchangeIsLikeTheLibrary(t *testing.T) {
	t.Parallel()
	says := func(answer string) func(net.Conn) {
		return func(c net.Conn) {
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				_, _ = io.WriteString(c, answer)
			}
		}
	}
	library := &http.Transport{DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxHeader}
	for name, c := range map[string]struct {
		say    func(net.Conn)
		header []corev1.HTTPHeader
	}{
		"an answer":                 {say: says("HTTP/1.1 204 Fine\r\nA: b\r\n\r\n")},
		"an old one":                {say: says("HTTP/1.0 200 OK\r\n\r\nto the end")},
		"pieces":                    {say: says("HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")},
		"half a piece":              {say: says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na")},
		"interim answers":           {say: says("HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")},
		"another protocol":          {say: says("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nraw")},
		"nothing":                   {say: says("")},
		"no HTTP":                   {say: says("SSH-2.0 hello\r\n")},
		"no status":                 {say: says("HTTP/1.1 abc OK\r\n\r\n")},
		"a bad header":              {say: says("HTTP/1.1 200 OK\r\nno colon\r\n\r\n")},
		"half a header":             {say: says("HTTP/1.1 200 OK\r\nA: b\r\n")},
		"a line in a header":        {says("HTTP/1.1 200 OK\r\n\r\n"), []corev1.HTTPHeader{{Name: "X-Secret", Value: "a\nb"}}},
		"a line in a header's name": {says("HTTP/1.1 200 OK\r\n\r\n"), []corev1.HTTPHeader{{Name: "X\nY", Value: "a"}}},
		"a host":                    {says("HTTP/1.1 200 OK\r\n\r\n"), []corev1.HTTPHeader{{Name: "Host", Value: "example.com"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := talk(t, "http", c.say)
			a.HTTPHeaders = c.header
			outcome := func(by http.RoundTripper) (status, proto, body, failed string) {
				req, err := request(t.Context(), a, &corev1.Container{}, "127.0.0.1", agent)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := by.RoundTrip(req)
				if err != nil {
					return "", "", "", err.Error()
				}
				read, err := io.ReadAll(resp.Body)
				if err != nil {
					failed = err.Error()
				}
				if err := resp.Body.Close(); err != nil {
					t.Error(err)
				}
				return resp.Status, resp.Proto, string(read), failed
			}
			status, proto, body, failed := outcome(exchange{})
			wantStatus, wantProto, wantBody, wantFailed := outcome(library)
			if status != wantStatus || proto != wantProto || body != wantBody || failed != wantFailed {
				t.Errorf("%q %q %q %q, by the library %q %q %q %q", status, proto, body, failed, wantStatus, wantProto, wantBody, wantFailed)
			}
		})
	}
}

// The request is the same, line by line but for their order.
func TestExchangeSendsWhatTheLibrarySends(t *testing.T) {
	t.Parallel()
	seen := make(chan http.Header, 1)
	at := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		h := r.Header.Clone()
		h.Set("as-a-whole", r.Method+" "+r.RequestURI+" "+r.Proto+" "+r.Host)
		seen <- h
	})
	a := at("/healthz?a=b%20c")
	a.HTTPHeaders = []corev1.HTTPHeader{{Name: "X-A", Value: "1"}, {Name: "X-A", Value: "2"}, {Name: "Connection", Value: "keep-alive"}}
	for _, by := range []http.RoundTripper{exchange{}, &http.Transport{DisableKeepAlives: true, DisableCompression: true}} {
		req, err := request(t.Context(), a, &corev1.Container{}, "127.0.0.1", agent)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := by.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		h := <-seen
		if got := h.Get("as-a-whole"); got != "GET /healthz?a=b%20c HTTP/1.1 127.0.0.1:"+a.Port.String() {
			t.Errorf("%T: %s", by, got)
		}
		if len(h["X-A"]) != 2 || len(h["Connection"]) != 2 || h.Get("User-Agent") != agent || h.Get("Accept") != "*/*" || len(h) != 5 {
			t.Errorf("%T: %v", by, h)
		}
	}
}
