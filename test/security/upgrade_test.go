//go:build e2e

package security

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"testing"
)

// Headers that ask for another protocol.
var (
	asksWebSocket = []string{
		"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: v5.channel.k8s.io",
	}
	asksSPDY = []string{"Connection: Upgrade", "Upgrade: SPDY/3.1", "X-Stream-Protocol-Version: v4.channel.k8s.io"}
)

// socket is an upgraded connection.
type socket struct {
	*tls.Conn
	in *bufio.Reader
}

// upgrade asks for another protocol and keeps the connection.
func (f *fixture) upgrade(t *testing.T, w who, method, target string, headers ...string) (*socket, answer) {
	t.Helper()
	c := dial(t, f.addr, w.cert)
	_, err := io.WriteString(c, f.line(w, method, target, headers...))
	must(t, "asking for an upgrade", err)
	s := &socket{Conn: c, in: bufio.NewReader(c)}
	got, err := readAnswer(s.in, method)
	must(t, "reading the answer to an upgrade", err)
	return s, got
}

func (f *fixture) websocket(t *testing.T, w who, target string) (*socket, answer) {
	t.Helper()
	return f.upgrade(t, w, "GET", target, asksWebSocket...)
}

// output reads the frames of channel 1, standard output, to the end.
func (s *socket) output(t *testing.T) string {
	t.Helper()
	var out string
	for {
		var head [2]byte
		if _, err := io.ReadFull(s.in, head[:]); err != nil {
			if errors.Is(err, io.EOF) {
				return out
			}
			t.Fatalf("reading a frame after %q: %v", out, err)
		}
		size := uint64(head[1] & 0x7f)
		switch size {
		case 126:
			var n [2]byte
			_, _ = io.ReadFull(s.in, n[:])
			size = uint64(binary.BigEndian.Uint16(n[:]))
		case 127:
			t.Fatal("a frame of more than 64 KiB")
		}
		body := make([]byte, size)
		if _, err := io.ReadFull(s.in, body); err != nil {
			t.Fatalf("reading a frame: %v", err)
		}
		switch opcode := head[0] & 0xf; {
		case opcode == 8: // close
			return out
		case opcode == 2 && len(body) > 0 && body[0] == 1:
			out += string(body[1:])
		}
	}
}
