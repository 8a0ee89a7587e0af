package gitrepo_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/volume/gitrepo"
	"nodeagent.dev/nodeagent/internal/volume/volumetest"
)

// TestHostileTrees has repositories that git's own fsck would refuse.
func TestHostileTrees(t *testing.T) {
	file := func(h *history) hash { return h.blob("#!/bin/sh\ntouch /tmp/owned\n") }
	for name, c := range map[string]struct {
		tree func(h *history) hash
		want string
	}{
		"up":       {func(h *history) hash { return h.tree(item{"40000", "..", h.tree(item{"100644", "x", file(h)})}) }, "name cannot be a file's"},
		"slash":    {func(h *history) hash { return h.tree(item{"100644", "../../x", file(h)}) }, "name cannot be a file's"},
		"absolute": {func(h *history) hash { return h.tree(item{"100644", "/tmp/x", file(h)}) }, "name cannot be a file's"},
		"empty":    {func(h *history) hash { return h.tree(item{"100644", "", file(h)}) }, "name cannot be a file's"},
		"long":     {func(h *history) hash { return h.tree(item{"100644", strings.Repeat("x", 256), file(h)}) }, "name cannot be a file's"},
		"git": {func(h *history) hash {
			return h.tree(item{"40000", ".git", h.tree(item{"40000", "hooks", h.tree(item{"100755", "post-checkout", file(h)})})})
		}, "name cannot be a file's"},
		"Git":            {func(h *history) hash { return h.tree(item{"40000", ".GiT", h.tree(item{"100644", "config", file(h)})}) }, "name cannot be a file's"},
		"git with a dot": {func(h *history) hash { return h.tree(item{"100644", ".git. .", file(h)}) }, "name cannot be a file's"},
		// The link first, and then something written through it.
		"through a link": {func(h *history) hash {
			return h.tree(item{"120000", "a", h.blob(".git")}, item{"40000", "a", h.tree(item{"40000", "hooks", h.tree(item{"100755", "post-checkout", file(h)})})})
		}, "it is there twice"},
		"through a link out": {func(h *history) hash {
			return h.tree(item{"120000", "a", h.blob("/tmp")}, item{"40000", "a", h.tree(item{"100755", "owned", file(h)})})
		}, "it is there twice"},
		"onto a link": {func(h *history) hash {
			return h.tree(item{"120000", "a", h.blob(".git/config")}, item{"100644", "a", file(h)})
		}, "it is there twice"},
		"long link":    {func(h *history) hash { return h.tree(item{"120000", "a", h.blob(strings.Repeat("x/", 3000))}) }, "link that Linux cannot have"},
		"empty link":   {func(h *history) hash { return h.tree(item{"120000", "a", h.blob("")}) }, "link that Linux cannot have"},
		"device":       {func(h *history) hash { return h.tree(item{"20666", "a", file(h)}) }, "it is damaged"},
		"fifo":         {func(h *history) hash { return h.tree(item{"10666", "a", file(h)}) }, "it is damaged"},
		"no mode":      {func(h *history) hash { return h.tree(item{"", "a", file(h)}) }, "it is damaged"},
		"cut off":      {func(h *history) hash { return h.object(treeType, "100644 a\x00short") }, "it is damaged"},
		"missing file": {func(h *history) hash { return h.tree(item{"100644", "a", hash{7}}) }, "no object"},
		"tree as file": {func(h *history) hash { return h.tree(item{"100644", "a", h.tree()}) }, "is no blob"},
		"file as tree": {func(h *history) hash { return h.tree(item{"40000", "a", file(h)}) }, "is no tree"},
		"deep": {func(h *history) hash {
			tree := h.tree(item{"100644", "x", file(h)})
			for range 300 {
				tree = h.tree(item{"40000", "d", tree})
			}
			return tree
		}, "nested more than 256 deep"},
		"wide": {func(h *history) hash { // 10^10 files in eleven trees
			tree := h.tree(item{"100644", "x", file(h)})
			for range 10 {
				var items []item
				for i := range 10 {
					items = append(items, item{"40000", fmt.Sprint(i), tree})
				}
				tree = h.tree(items...)
			}
			return tree
		}, "more than 2000 files"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHistory(t)
			h.refs["refs/heads/main"] = h.commit(c.tree(h))
			cfg := enabled
			cfg.Limits.Files = 2000
			refused(t, cfg, source(serve(t, h)+"/r", "", "."), c.want)
			if _, err := os.Lstat("/tmp/owned"); !errors.Is(err, fs.ErrNotExist) {
				t.Error("written outside of the volume")
			}
		})
	}
}

// TestNothingOfTheRepositoryIsRun has what only works when git is told to.
func TestNothingOfTheRepositoryIsRun(t *testing.T) {
	h := newHistory(t)
	outside := t.TempDir()
	h.files(
		item{"100644", ".gitattributes", h.blob("* filter=evil\n")},
		item{"100644", ".gitmodules", h.blob("[submodule \"m\"]\n\tpath = m\n\turl = ext::sh -c touch% " + outside + "/owned\n\tupdate = !touch " + outside + "/owned\n")},
		item{"120000", "etc", h.blob("/etc")},
		item{"100644", "file", h.blob("x")},
		item{"160000", "m", hash{1}},
	)
	h.refs[`refs/heads/"]x`] = h.refs["HEAD"]
	dir, _, err := mount(t, enabled, source(serve(t, h)+`/r%22%5c`, `"]x`, "r"))
	if err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "r/m")); err != nil || len(entries) > 0 {
		t.Errorf("the submodule: %v, %v", entries, err)
	}
	config := content(t, dir, "r/.git/config")
	for _, evil := range []string{"evil", "submodule", "hooks", "[x"} {
		if strings.Contains(config, evil) {
			t.Errorf("config has %q in it:\n%s", evil, config)
		}
	}
	if !strings.Contains(config, "[branch \"\\\"]x\"]\n") {
		t.Errorf("config does not quote:\n%s", config)
	}
	if entries, _ := os.ReadDir(outside); len(entries) > 0 {
		t.Errorf("something was run: %v", entries)
	}
}

// leb is a number as deltas begin with.
func leb(n uint64) []byte { return binary.AppendUvarint(nil, n) }

// TestHostilePacks has what takes more than it seems to.
func TestHostilePacks(t *testing.T) {
	zeros := make([]byte, 1<<20)
	for name, c := range map[string]struct {
		make func(h *history)
		want string
	}{
		"large object":                {func(h *history) { h.object(blobType, string(zeros)) }, "more than the limit"},
		"object longer than it says":  {func(h *history) { h.raw(blobType, 10, nil, zeros) }, "exceeds declared size"},
		"object shorter than it says": {func(h *history) { h.raw(blobType, 1000, nil, []byte("x")) }, "shorter than it says"},
		"huge size":                   {func(h *history) { h.raw(blobType, 1<<50, nil, []byte("x")) }, "more than the limit"},
		"negative size":               {func(h *history) { h.raw(blobType, -1<<63>>1, nil, []byte("x")) }, "pack"},
		"huge delta": {func(h *history) { // copies one base many times
			base := h.blob(string(zeros[:1000]))
			h.raw(refDelta, 0, base[:], nil)
			h.objects = h.objects[:len(h.objects)-1]
			delta := append(leb(1000), leb(1<<40)...)
			h.raw(refDelta, int64(len(delta)), base[:], delta)
		}, "more than the limit"},
		"delta without an end": {func(h *history) {
			h.raw(refDelta, 30, make([]byte, 20), bytes.Repeat([]byte{0xff}, 30))
		}, "more than the limit"},
		"delta of itself": {func(h *history) {
			delta := append(leb(10), append(leb(1), 1, 'x')...)
			h.raw(refDelta, int64(len(delta)), make([]byte, 20), delta)
		}, "pack"},
		"many large objects": {func(h *history) {
			for i := range 40 {
				h.blob(string(zeros[:100_000]) + fmt.Sprint(i))
			}
		}, "larger than 3000000 bytes together"},
		"many objects": {func(h *history) {
			for i := range 600 {
				h.blob(fmt.Sprint(i))
			}
		}, "more than the limit, 500"},
		"unknown type":       {func(h *history) { h.raw(5, 1, nil, []byte("x")) }, "unknown type"},
		"no type":            {func(h *history) { h.raw(0, 1, nil, []byte("x")) }, "unknown type"},
		"more than the pack": {func(h *history) { h.after = "x" }, "more than the pack"},
		"no zlib":            {func(h *history) { h.objects = append(h.objects, []byte{blobType<<4 | 1, 1, 2, 3}) }, "pack"},
		"fewer than it says": {func(h *history) { h.objects = append(h.objects, nil) }, "pack"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHistory(t)
			h.files(item{"100644", "f", h.blob("x")})
			c.make(h)
			cfg := enabled
			cfg.Limits = gitrepo.Limits{Object: 200_000, Unpacked: 3_000_000, Objects: 500}
			refused(t, cfg, source(serve(t, h)+"/r", "", ""), c.want)
		})
	}
}

// TestChains has a file that is made from very many others, which come in the wrong
// order.
func TestChains(t *testing.T) {
	const length = 3000
	h := newHistory(t)
	first := strings.Repeat("a long beginning ", 500)
	text := first
	for i := range length {
		base := name(text)
		text = text[:len(text)-1] + string(rune('a'+i%26)) + "z"
		// Copy all but the last byte, and insert two.
		delta := slices.Concat(leb(uint64(len(text)-1)), leb(uint64(len(text))), []byte{0xb0, byte(len(text) - 2), byte((len(text) - 2) >> 8)}, []byte{2}, []byte(text[len(text)-2:]))
		h.raw(refDelta, int64(len(delta)), base[:], delta)
	}
	slices.Reverse(h.objects)
	h.blob(first)
	h.files(item{"100644", "f", name(text)})
	dir, _, err := mount(t, enabled, source(serve(t, h)+"/r", "", ""))
	if err != nil {
		t.Fatal(err)
	}
	if got := content(t, dir, "r/f"); got != text {
		t.Errorf("%d bytes, want %d", len(got), len(text))
	}
}

// name is what a blob is called.
func name(content string) hash {
	return sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(content), content))
}

// TestBombTakesLittleMemory has 256 MiB of zeros in 256 KiB.
func TestBombTakesLittleMemory(t *testing.T) {
	h := newHistory(t)
	h.files(item{"100644", "f", h.blob("x")})
	zeros := make([]byte, 16<<20)
	h.raw(blobType, int64(len(zeros)), nil, zeros)
	for range 15 {
		h.objects = append(h.objects, h.objects[len(h.objects)-1])
	}
	url := serve(t, h)
	pack := len(h.pack())
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cfg := enabled
	cfg.Limits.Unpacked = 128 << 20
	refused(t, cfg, source(url+"/r", "", ""), "bytes together, which is the limit")
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 8<<20+20*uint64(pack) {
		t.Errorf("%d MiB were allocated for a pack of %d KiB", grown>>20, pack>>10)
	}
}

func TestWrittenIsBounded(t *testing.T) {
	h := newHistory(t)
	blob := h.blob(strings.Repeat("x", 1000))
	var items []item
	for i := range 100 {
		items = append(items, item{"100644", fmt.Sprintf("f%03d", i), blob})
	}
	h.files(items...)
	cfg := enabled
	cfg.Limits.Written = 50_000
	refused(t, cfg, source(serve(t, h)+"/r", "", ""), "needs more than 50000 bytes")
}

// endless writes until nobody listens.
func endless(w io.Writer, chunk string) {
	for {
		if _, err := io.WriteString(w, chunk); err != nil {
			return
		}
	}
}

// TestHostileServers has servers that do not end, do not begin, or are none.
func TestHostileServers(t *testing.T) {
	h := newHistory(t)
	h.files(item{"100644", "f", h.blob("x")})
	title := line("# service=git-upload-pack\n") + "0000"
	adverts := func(f func(w http.ResponseWriter)) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { advertisement(w); f(w) })
	}
	packs := func(f func(w http.ResponseWriter)) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				h.ServeHTTP(w, r)
				return
			}
			result(w)
			f(w)
		})
	}
	for name, c := range map[string]struct {
		server http.Handler
		want   string
	}{
		"endless references": {adverts(func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, title)
			endless(w, line("%s refs/heads/x\n", hash{1}))
		}), "sent more than 100000 bytes"},
		"endless progress": {packs(func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, line("NAK\n"))
			endless(w, line("\x02%s", strings.Repeat("x", 1000)))
		}), "sent more than 100000 bytes"},
		"endless pack": {packs(func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, line("NAK\n"))
			endless(w, line("\x01%s", strings.Repeat("x", 1000)))
		}), "sent more than 100000 bytes"},
		"error":       {packs(func(w http.ResponseWriter) { _, _ = io.WriteString(w, line("NAK\n")+line("\x03no\x1b[31m")) }), "the server says: no"},
		"ERR":         {adverts(func(w http.ResponseWriter) { _, _ = io.WriteString(w, title+line("ERR not here")) }), "the server says: not here"},
		"no pack":     {packs(func(w http.ResponseWriter) { _, _ = io.WriteString(w, line("NAK\n")+"0000") }), "pack"},
		"cut off":     {packs(func(w http.ResponseWriter) { _, _ = io.WriteString(w, h.answer()[:200]) }), "clone"},
		"no protocol": {adverts(func(w http.ResponseWriter) { _, _ = io.WriteString(w, "aws_secret_access_key=hidden") }), "not git's protocol"},
		"web page":    {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hidden") }), "not git's smart protocol"},
		"failing":     {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "hidden", http.StatusInternalServerError) }), "answers 500"},
		"private":     {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "hidden", http.StatusUnauthorized) }), "wants credentials"},
		"sha256": {adverts(func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, title+line("%s HEAD\x00object-format=sha256\n", hash{1})+"0000")
		}), "only sha1"},
		"no names":      {adverts(func(w http.ResponseWriter) { _, _ = io.WriteString(w, title+line("hidden")+"0000") }), "not git's protocol"},
		"absent commit": {adverts(func(w http.ResponseWriter) { _, _ = io.WriteString(w, title+line("%s HEAD\x00\n", hash{9})+"0000") }), "clone"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := enabled
			cfg.Limits.Received = 100_000
			url := serve(t, c.server)
			refused(t, cfg, source(url+"/r", "", ""), c.want)
			_, _, err := mount(t, cfg, source(url+"/r", "", ""))
			if err == nil || strings.ContainsAny(err.Error(), "\x1b") || strings.Contains(err.Error(), "hidden") {
				t.Errorf("%q tells what the server said", err)
			}
		})
	}
}

// TestSilentServer: the limit of time ends what nothing else does.
func TestSilentServer(t *testing.T) {
	silent := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		advertisement(w)
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	cfg := enabled
	cfg.Limits.Timeout = 50 * time.Millisecond
	refused(t, cfg, source(serve(t, silent)+"/r", "", ""), "it has taken longer than 50ms, which is the limit")
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // ends with the test
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	refused(t, cfg, source("git://"+l.Addr().String()+"/r", "", ""), "it has taken longer than 50ms")

	asked := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	root := t.TempDir()
	m := volumetest.Manager(t, root, gitrepo.New(enabled))
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		silent(w, r)
	}))
	go func() { <-asked; cancel() }()
	if _, err := m.Mount(ctx, volumetest.Pod("u", corev1.Volume{Name: "v", VolumeSource: source(url+"/r", "", "")})); err == nil {
		t.Error("a mount that nobody waits for succeeds")
	}
}

// TestOwnAddresses: with AllowLocal off, the node's own and link-local addresses
// are not connected to, whatever the URL calls them.
func TestOwnAddresses(t *testing.T) {
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(serve(t, newHistory(t)), "http://"))
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", "168.63.129.16", "0.1.2.3", "224.0.0.1"} {
		for _, scheme := range []string{"http", "git"} {
			refused(t, gitrepo.Config{Enabled: true}, source(scheme+"://"+host+":"+port+"/r", "", ""), "is not connected to")
		}
	}
}
