//go:build e2e

package security

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestOversizedHeaders(t *testing.T) {
	f := cluster(t)
	const tooLarge = "431 Request Header Fields Too Large"
	for name, c := range map[string]struct {
		request string
		code    int
		body    string
	}{
		"a header of 2 MiB":          {f.line(who{}, "GET", "/pods", "X: "+strings.Repeat("x", 2<<20)), 431, tooLarge},
		"a name of 2 MiB":            {f.line(who{}, "GET", "/pods", strings.Repeat("x", 2<<20)+": x"), 431, tooLarge},
		"a path of 2 MiB":            {f.line(who{}, "GET", "/"+strings.Repeat("x", 2<<20)), 431, tooLarge},
		"a method of 2 MiB":          {f.line(who{}, strings.Repeat("X", 2<<20), "/pods"), 431, tooLarge},
		"a query of half a MiB":      {f.line(who{}, "GET", "/pods?"+strings.Repeat("x&", 1<<18), "Connection: close"), 401, "Unauthorized"},
		"10,000 headers":             {f.line(who{}, "GET", "/pods", manyHeaders(10_000)), 401, "Unauthorized"},
		"10,000 values of one name":  {f.line(who{}, "GET", "/pods", strings.TrimSpace(strings.Repeat("Authorization: Bearer x\r\n", 10_000))), 401, "Unauthorized"},
		"200,000 headers":            {f.line(who{}, "GET", "/pods", manyHeaders(200_000)), 431, tooLarge},
		"10,000 protocols to choose": {f.line(who{}, "GET", "/exec/default/victim/a?output=1", append(asksWebSocket[:4:4], "Sec-WebSocket-Protocol: "+strings.Repeat("v4,", 10_000)+"v5")...), 401, "Unauthorized"},
	} {
		t.Run(name, func(t *testing.T) {
			got := raw(t, f.addr, nil, c.request, "GET")
			if len(got) != 1 {
				t.Fatalf("got no answer")
			}
			got[0].want(t, name, c.code, c.body)
		})
	}
}

func manyHeaders(n int) string {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, "X-%d: y\r\n", i)
	}
	return strings.TrimSpace(s.String())
}

// endless is a body of that many bytes.
type endless struct{ left int64 }

func (e *endless) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), e.left)
	e.left -= n
	for i := range p[:n] {
		p[i] = 'x'
	}
	return int(n), nil
}

// TestOversizedBodies sends 100 MiB where nobody wants them.
func TestOversizedBodies(t *testing.T) {
	f := cluster(t)
	const size = 100 << 20
	for name, c := range map[string]struct {
		w       who
		method  string
		target  string
		code    int
		kubelet bool // it reads all of it into memory
	}{
		"nobody":                           {who{}, "POST", "/run/default/" + victim + "/a?cmd=id", 401, true},
		"a user without rights":            {f.users["nothing"], "PUT", "/debug/flags/v", 403, true},
		"a body for run":                   {f.admin, "POST", "/run/default/" + victim + "/a?cmd=id", 200, true},
		"a level of 100 MiB (nodeagent)":   {f.admin, "PUT", "/debug/flags/v", 0, false},
		"a body for one who asks for pods": {f.admin, "GET", "/pods", 200, true},
	} {
		if !c.kubelet && !f.nodeagent() {
			continue
		}
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, chunked %t", name, chunked), func(t *testing.T) {
				peak := f.peak(t)
				code := f.pour(t, c.w, c.method, c.target, size, chunked)
				grown := peak()
				t.Logf("answer %d; memory grew by %d KiB", code, grown)
				if c.code == 0 {
					if code/100 == 2 {
						t.Errorf("got %d", code)
					}
				} else if code != c.code {
					t.Errorf("got %d, want %d", code, c.code)
				}
				if grown > 32<<10 {
					t.Errorf("the agent took %d KiB for it", grown)
				}
			})
		}
	}
}

// pour sends a large body until the server has enough, and returns its answer.
func (f *fixture) pour(t *testing.T, w who, method, target string, size int64, chunked bool) int {
	t.Helper()
	c := dial(t, f.addr, w.cert)
	defer c.Close()
	go func() {
		length := fmt.Sprintf("Content-Length: %d", size)
		if chunked {
			length = "Transfer-Encoding: chunked"
		}
		if _, err := io.WriteString(c, f.line(w, method, target, length)); err != nil {
			return
		}
		body := &endless{left: size}
		if !chunked {
			_, _ = io.Copy(c, body)
			return
		}
		part := make([]byte, 64<<10)
		for {
			n, err := io.ReadFull(body, part)
			if n == 0 {
				_, _ = io.WriteString(c, "0\r\n\r\n")
				return
			}
			if _, werr := fmt.Fprintf(c, "%x\r\n%s\r\n", n, part[:n]); werr != nil || err != nil {
				return
			}
		}
	}()
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		return -1 // closed with data of ours unread: the answer may be lost
	}
	return resp.StatusCode
}

// peak watches the agent's private memory; the function it returns ends that
// and says by how many KiB it grew at most.
func (f *fixture) peak(t *testing.T) func() int {
	t.Helper()
	pid, err := f.bed.Component("agent").PID(t.Context())
	must(t, "asking for the agent's process", err)
	read := func() int {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0
		}
		n, _ := number(rssAnon, string(status))
		return n
	}
	first, most := read(), 0
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			most = max(most, read()-first)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	return func() int {
		cancel()
		watching.Wait()
		return most
	}
}
