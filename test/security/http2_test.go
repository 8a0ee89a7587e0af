//go:build e2e

package security

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// wire is an HTTP/2 connection without a client's good manners.
type wire struct {
	io.ReadWriteCloser
	framer *http2.Framer
	text   bytes.Buffer
	encode *hpack.Encoder
}

// speakHTTP2 connects, or leaves the test out: the kubelet's configuration for
// reloading certificates forgets to offer HTTP/2 since 1.37.
func (f *fixture) speakHTTP2(t *testing.T) *tls.Conn {
	t.Helper()
	c := dial(t, f.addr, nil, "h2", "http/1.1")
	if p := c.ConnectionState().NegotiatedProtocol; p != "h2" {
		t.Skipf("the agent, %s, does not offer HTTP/2 (it offers %q)", f.bed.Agent(), p)
	}
	return c
}

// http2 connects; the server's frames are read by whoever wants them.
func (f *fixture) http2(t *testing.T) *wire {
	t.Helper()
	c := f.speakHTTP2(t)
	conn := &wire{ReadWriteCloser: c}
	conn.framer = http2.NewFramer(c, c)
	conn.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	conn.framer.MaxHeaderListSize = 1 << 20
	conn.encode = hpack.NewEncoder(&conn.text)
	_, err := io.WriteString(c, http2.ClientPreface)
	must(t, "sending the preface", err)
	must(t, "sending settings", conn.framer.WriteSettings())
	return conn
}

// block encodes a header.
func (c *wire) block(fields ...string) []byte {
	c.text.Reset()
	for i := 0; i+1 < len(fields); i += 2 {
		_ = c.encode.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}) // to memory
	}
	return bytes.Clone(c.text.Bytes())
}

func request(method, path string, more ...string) []string {
	return append([]string{":method", method, ":scheme", "https", ":authority", "node", ":path", path}, more...)
}

// drain reads frames until the connection ends, and returns the server's word
// about why, if it had one.
func (c *wire) drain() (reason string) {
	for {
		fr, err := c.framer.ReadFrame()
		if err != nil {
			if _, stream := errors.AsType[http2.StreamError](err); stream {
				continue
			}
			return reason
		}
		if away, ok := fr.(*http2.GoAwayFrame); ok {
			reason = away.ErrCode.String()
		}
	}
}

// exchange asks one request and returns the status, or "reset".
func (c *wire) exchange(t *testing.T, stream uint32, fields ...string) (status, body string) {
	t.Helper()
	must(t, "sending a request", c.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: c.block(fields...), EndStream: true, EndHeaders: true,
	}))
	for {
		fr, err := c.framer.ReadFrame()
		if err != nil {
			return "closed", ""
		}
		switch fr := fr.(type) {
		case *http2.SettingsFrame:
			if !fr.IsAck() {
				_ = c.framer.WriteSettingsAck()
			}
		case *http2.MetaHeadersFrame:
			if status = fr.PseudoValue("status"); fr.StreamEnded() {
				return status, body
			}
		case *http2.DataFrame:
			body += string(fr.Data())
			if fr.StreamEnded() {
				return status, body
			}
		case *http2.RSTStreamFrame:
			return "reset", ""
		case *http2.GoAwayFrame:
			return "closed", ""
		}
	}
}

// TestHTTP2Access: the guard is the same, however the request arrives.
func TestHTTP2Access(t *testing.T) {
	f := cluster(t)
	_ = f.speakHTTP2(t)
	bearer := func(name string) []string { return []string{"authorization", "Bearer " + f.users[name].token} }
	exec := "/exec/default/" + victim + "/a?output=1&command=id"
	for i, c := range []struct {
		fields []string
		want   []string // any of them
	}{
		{request("GET", "/pods"), []string{"401"}},
		{request("POST", exec), []string{"401"}},
		{request("GET", "/pods", bearer("nothing")...), []string{"403"}},
		{request("GET", "/pods", bearer("pods")...), []string{"200"}},
		// This client lets the server send 64 KiB, which /metrics is more than.
		{request("GET", "/metrics/probes", bearer("metrics")...), []string{"200"}},
		{request("GET", "//pods", bearer("metrics")...), []string{"307", "403"}},
		{request("GET", "/metrics/../pods", bearer("metrics")...), []string{"307"}},
		{request("GET", "/metrics/%2e%2e/pods", bearer("metrics")...), []string{"404"}},
		{request("GET", "https://node/pods", bearer("metrics")...), []string{"403", "reset"}},
		{request("GET", "pods", bearer("metrics")...), []string{"reset", "400"}},
		{request("GET", "*", bearer("metrics")...), []string{"reset", "400", "403", "404"}},
		{request("OPTIONS", "*", bearer("metrics")...), []string{"200", "400", "403", "404"}},
		{request("GET", "", bearer("metrics")...), []string{"reset"}},
		{request("GET", "/pods", append(bearer("metrics"), ":path", "/metrics")...), []string{"reset", "closed"}},
		{request("GET", "/pods", append(bearer("metrics"), "connection", "upgrade", "upgrade", "websocket")...), []string{"reset", "400"}},
		{request("GET", "/pods", append(bearer("metrics"), "transfer-encoding", "chunked")...), []string{"reset", "400"}},
		{request("GET", "/pods", append(bearer("metrics"), "X-Upper", "x")...), []string{"reset", "closed"}},
		{request("GET", "/pods", append(bearer("metrics"), "x", "a\r\nauthorization: b")...), []string{"reset", "closed"}},
		{[]string{":method", "CONNECT", ":authority", "127.0.0.1:22"}, []string{"401", "404"}},
		{[]string{":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":authority", "node", ":path", exec}, []string{"401", "reset", "400"}},
	} {
		t.Run(fmt.Sprintf("%d %s %.40q", i, c.fields[1], c.fields[min(7, len(c.fields)-1)]), func(t *testing.T) {
			status, body := f.http2(t).exchange(t, 1, c.fields...)
			if !slices.Contains(c.want, status) {
				t.Errorf("got %s %q, want one of %v", status, clip(body, 200), c.want)
			}
		})
	}
	// Streams of one connection have their own credentials.
	conn := f.http2(t)
	for i, want := range []string{"200", "401", "200", "403"} {
		name := []string{"pods", "", "pods", "nothing"}[i]
		fields := request("GET", "/pods")
		if name != "" {
			fields = append(fields, bearer(name)...)
		}
		if got, _ := conn.exchange(t, uint32(2*i+1), fields...); got != want {
			t.Errorf("stream %d: got %s, want %s", 2*i+1, got, want)
		}
	}
}

// flood runs write until it has nothing more or the server ends the connection,
// and checks that the agent took little memory and serves others.
func (f *fixture) flood(t *testing.T, c *wire, write func() error) {
	t.Helper()
	before, err := f.measure(t.Context())
	must(t, "measuring the agent", err)
	peak := f.peak(t)
	var reading sync.WaitGroup
	var reason string
	reading.Go(func() { reason = c.drain() })
	start := time.Now()
	err = write()
	took := time.Since(start)
	if got := f.ask(t, f.admin, http.MethodGet, "/healthz"); got.code != http.StatusOK {
		t.Errorf("meanwhile the administrator got %s", got)
	}
	_ = c.Close()
	reading.Wait()
	grown := peak()
	t.Logf("%s; the server's word: %q; writing ended with: %v; memory grew by %d KiB", took.Round(time.Millisecond), reason, err, grown)
	if grown > 96<<10 {
		t.Errorf("the agent took %d KiB for it", grown)
	}
	if _, err := f.calm(t.Context(), before, 30*time.Second); err != nil {
		t.Error(err)
	}
}

func TestHTTP2Floods(t *testing.T) {
	f := cluster(t)
	_ = f.speakHTTP2(t)
	times := func(n int, do func(i int) error) func() error {
		return func() error {
			for i := range n {
				if err := do(i); err != nil {
					return err
				}
			}
			return nil
		}
	}
	t.Run("rapid reset", func(t *testing.T) {
		c := f.http2(t)
		f.flood(t, c, times(20_000, func(i int) error {
			id := uint32(2*i + 1)
			if err := c.framer.WriteHeaders(http2.HeadersFrameParam{
				StreamID: id, BlockFragment: c.block(request("GET", "/pods")...), EndStream: true, EndHeaders: true,
			}); err != nil {
				return err
			}
			return c.framer.WriteRSTStream(id, http2.ErrCodeCancel)
		}))
	})
	t.Run("streams that wait for a body", func(t *testing.T) {
		c := f.http2(t)
		f.flood(t, c, times(5_000, func(i int) error {
			return c.framer.WriteHeaders(http2.HeadersFrameParam{
				StreamID: uint32(2*i + 1), BlockFragment: c.block(request("POST", "/pods")...), EndHeaders: true,
			})
		}))
	})
	t.Run("continuations", func(t *testing.T) {
		c := f.http2(t)
		// Not indexed, so that every frame is a header of its own.
		part := bytes.Repeat([]byte("\x00\x01x\x01y"), 3000)
		must(t, "sending a header", c.framer.WriteHeaders(http2.HeadersFrameParam{
			StreamID: 1, BlockFragment: c.block(request("GET", "/pods")...), EndStream: true,
		}))
		f.flood(t, c, times(5000, func(int) error { return c.framer.WriteContinuation(1, false, part) }))
	})
	t.Run("a header that unpacks", func(t *testing.T) {
		c := f.http2(t)
		// A value of 3 KiB enters the table; each further byte repeats it.
		big := append(c.block(request("GET", "/pods")...), c.block("x", string(bytes.Repeat([]byte("y"), 3000)))...)
		bomb := append(big, bytes.Repeat([]byte{0x80 | 62}, 12_000)...)
		f.flood(t, c, times(200, func(i int) error {
			return c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: bomb, EndStream: true, EndHeaders: true})
		}))
	})
	t.Run("settings", func(t *testing.T) {
		c := f.http2(t)
		f.flood(t, c, times(200_000, func(i int) error {
			return c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(1 + i%1000)})
		}))
	})
	t.Run("pings", func(t *testing.T) {
		c := f.http2(t)
		f.flood(t, c, times(200_000, func(i int) error { return c.framer.WritePing(false, [8]byte{byte(i)}) }))
	})
	t.Run("priorities", func(t *testing.T) {
		c := f.http2(t)
		f.flood(t, c, times(100_000, func(i int) error {
			return c.framer.WritePriority(uint32(2*i+1), http2.PriorityParam{StreamDep: 0, Weight: byte(i)})
		}))
	})
	t.Run("window updates", func(t *testing.T) {
		c := f.http2(t)
		f.flood(t, c, times(100_000, func(int) error { return c.framer.WriteWindowUpdate(0, 1) }))
	})
	t.Run("unknown frames", func(t *testing.T) {
		c := f.http2(t)
		f.flood(t, c, times(2_000, func(int) error { return c.framer.WriteRawFrame(0xfa, 0, 0, make([]byte, 16<<10)) }))
	})
}

// The server answers settings and pings; who does not read the answers must
// not make it keep them.
func TestHTTP2WithoutReading(t *testing.T) {
	f := cluster(t)
	c := f.speakHTTP2(t)
	before, err := f.measure(t.Context())
	must(t, "measuring the agent", err)
	peak := f.peak(t)
	framer := http2.NewFramer(c, c)
	_, err = io.WriteString(c, http2.ClientPreface)
	must(t, "sending the preface", err)
	must(t, "making the buffer small", c.NetConn().(*net.TCPConn).SetReadBuffer(4096))
	_ = c.SetWriteDeadline(time.Now().Add(5 * time.Second)) // it may also stop reading
	for i := 0; err == nil && i < 1_000_000; i++ {
		if i%2 == 0 {
			err = framer.WriteSettings()
		} else {
			err = framer.WritePing(false, [8]byte{byte(i)})
		}
	}
	if got := f.ask(t, f.admin, http.MethodGet, "/healthz"); got.code != http.StatusOK {
		t.Errorf("meanwhile the administrator got %s", got)
	}
	grown := peak()
	_ = c.Close()
	t.Logf("writing ended with: %v; memory grew by %d KiB", err, grown)
	if err == nil {
		t.Error("the server went on reading")
	}
	if grown > 96<<10 {
		t.Errorf("the agent took %d KiB for it", grown)
	}
	if _, err := f.calm(t.Context(), before, 30*time.Second); err != nil {
		t.Error(err)
	}
}
