//go:build e2e

package security

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
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

// protocols are ways to ask for another protocol.
func protocols() map[string][]string {
	return map[string][]string{
		"WebSocket": asksWebSocket, "SPDY": asksSPDY,
		"h2c":     {"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"},
		"unknown": {"Connection: Upgrade", "Upgrade: telnet"},
		"none":    {"Connection: keep-alive"},
	}
}

func TestUpgradeWithoutRights(t *testing.T) {
	f := cluster(t)
	in := "/default/" + victim
	for _, target := range []string{
		"/exec" + in + "/a?output=1&command=id", "/exec/default/nope/a?output=1&command=id", "/exec" + in + "/nope?output=1&command=id",
		"/attach" + in + "/a?output=1", "/portForward" + in, "/portForward/default/nope", "/pods", "/metrics", "/containerLogs" + in + "/a",
	} {
		for name, headers := range protocols() {
			for _, method := range []string{"GET", "POST"} {
				what := name + ": " + method + " " + target
				_, nobody := f.upgrade(t, who{}, method, target, headers...)
				nobody.want(t, what+" by nobody", http.StatusUnauthorized, "Unauthorized")
				_, user := f.upgrade(t, f.users["nothing"], method, target, headers...)
				if user.code != http.StatusForbidden || !strings.HasPrefix(user.body, "Forbidden (user="+account("nothing")+", ") {
					t.Errorf("%s by a user without rights: %s", what, user)
				}
			}
		}
	}
}

// A WebSocket of a browser cannot have headers: the token is among the
// protocols.
func TestTokenAmongProtocols(t *testing.T) {
	f := cluster(t)
	offer := func(token string) []string {
		return append(asksWebSocket[:4:4], "Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io."+
			base64.RawURLEncoding.EncodeToString([]byte(token))+", v5.channel.k8s.io")
	}
	target := "/exec/default/" + victim + "/a?output=1&command=echo&command=hello"
	c, got := f.upgrade(t, who{}, "GET", target, offer(f.users["proxy"].token)...)
	if p := got.head.Get("Sec-WebSocket-Protocol"); got.code != http.StatusSwitchingProtocols || p != "v5.channel.k8s.io" {
		t.Fatalf("exec got %s with protocol %q", got, p)
	}
	if out := c.output(t); out != "hello\n" {
		t.Errorf("exec printed %q", out)
	}
	_, got = f.upgrade(t, who{}, "GET", target, offer(f.users["nothing"].token)...)
	got.want(t, "a user without rights", http.StatusForbidden, forbidden(account("nothing"), "get", "proxy"))
	_, got = f.upgrade(t, who{}, "GET", target, offer("garbage")...)
	got.want(t, "a garbage token", http.StatusUnauthorized, "Unauthorized")
}

// What there is not is said before any protocol is changed.
func TestUpgradeToNothing(t *testing.T) {
	f := cluster(t)
	in := "/default/" + victim
	for name, headers := range map[string][]string{"WebSocket": asksWebSocket, "SPDY": asksSPDY} {
		for _, c := range []struct {
			target string
			code   int
			body   string
		}{
			{"/exec/default/nope/a?output=1&command=id", 404, "pod does not exist"},
			{"/exec/kube-system/" + victim + "/a?output=1&command=id", 404, "pod does not exist"},
			{"/exec" + in + "/nope?output=1&command=id", 500, `container not found ("nope")`},
			{"/exec" + in + "/%2e%2e?output=1&command=id", 500, `container not found ("..")`},
			// The kubelet ignores a UID that it does not know, and takes ".." for one.
			{"/exec" + in + "/wrong-uid/a?output=1&command=id", 500, ""},
			{"/exec" + in + "/..%2fa?output=1&command=id", 500, ""},
			{"/exec" + in + "/a?command=id", 400, "you must specify at least 1 of stdin, stdout, stderr"},
			{"/attach/default/nope/a?output=1", 404, "pod does not exist"},
			{"/attach" + in + "/nope?output=1", 500, ""},
			{"/portForward/default/nope?port=80", 404, "pod does not exist"},
			{"/portForward" + in + "/wrong-uid?port=80", 404, "pod not found"},
		} {
			_, got := f.upgrade(t, f.admin, "GET", c.target, headers...)
			if !f.nodeagent() && c.code == 500 && c.body == "" && strings.HasPrefix(c.target, "/exec") {
				c.code = http.StatusSwitchingProtocols
			}
			if got.code != c.code || c.body != "" && got.body != c.body {
				t.Errorf("%s: %s: got %s, want %d %q", name, c.target, got, c.code, c.body)
			}
		}
		// These do not know of other protocols.
		for _, target := range []string{"/pods", "/configz", "/healthz", "/containerLogs" + in + "/a"} {
			_, got := f.upgrade(t, f.admin, "GET", target, headers...)
			if got.code != http.StatusOK || got.head.Get("Upgrade") != "" {
				t.Errorf("%s: %s: got %s", name, target, got)
			}
		}
	}
}

func TestUpgradeByHalf(t *testing.T) {
	f := cluster(t)
	exec := "/exec/default/" + victim + "/a?output=1&command=id"
	for name, headers := range map[string][]string{
		"none":              {},
		"unknown protocol":  {"Connection: Upgrade", "Upgrade: telnet"},
		"h2c":               protocols()["h2c"],
		"no key":            {"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"},
		"no Connection":     asksWebSocket[1:],
		"nonsense protocol": append(asksWebSocket[:4:4], "Sec-WebSocket-Protocol: nonsense"),
		"nonsense streams":  {"Connection: Upgrade", "Upgrade: SPDY/3.1", "X-Stream-Protocol-Version: nonsense"},
	} {
		if _, got := f.upgrade(t, f.admin, "GET", exec, headers...); got.code/100 != 4 && got.code/100 != 5 {
			t.Errorf("%s: got %s", name, got)
		}
	}
}

// One request gets one answer: a body that looks like a request is a body.
func TestUpgradeWithBody(t *testing.T) {
	f := cluster(t)
	inner := f.line(f.users["pods"], "GET", "/pods")
	for name, w := range map[string]who{"nobody": {}, "a user without rights": f.users["nothing"]} {
		for protocol, headers := range protocols() {
			headers = append(slices.Clip(headers), fmt.Sprintf("Content-Length: %d", len(inner)))
			got := raw(t, f.addr, nil, f.line(w, "GET", "/exec/default/"+victim+"/a?output=1&command=id", headers...)+inner+
				f.line(who{}, "GET", "/metrics", "Connection: close"), "GET", "GET", "GET")
			want := http.StatusUnauthorized
			if w.token != "" {
				want = http.StatusForbidden
			}
			if len(got) == 0 || len(got) > 2 || got[0].code != want || len(got) == 2 && got[1].code != http.StatusUnauthorized {
				t.Errorf("%s: %s: got %v", protocol, name, got)
			}
		}
	}
}
