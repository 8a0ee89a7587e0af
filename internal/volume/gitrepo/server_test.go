package gitrepo_test

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// hash is an object's name.
type hash [20]byte

func (h hash) String() string { return hex.EncodeToString(h[:]) }

// Types of objects in packs.
const (
	commitType = 1
	treeType   = 2
	blobType   = 3
	tagType    = 4
	refDelta   = 7
)

// history makes packs of whatever tests want in them.
type history struct {
	t       *testing.T
	objects [][]byte
	// branches, tags and HEAD; head is the branch that HEAD names.
	refs map[string]hash
	head string
	// after comes after the pack.
	after string
}

func newHistory(t *testing.T) *history {
	return &history{t: t, refs: map[string]hash{}, head: "refs/heads/main"}
}

// object packs an object and returns its name.
func (h *history) object(kind int, content string) hash {
	names := map[int]string{commitType: "commit", treeType: "tree", blobType: "blob", tagType: "tag"}
	h.raw(kind, int64(len(content)), nil, []byte(content))
	return sha1.Sum([]byte(fmt.Sprintf("%s %d\x00%s", names[kind], len(content), content)))
}

// raw packs an entry that says what it likes of itself.
func (h *history) raw(kind int, size int64, base, content []byte) {
	b := []byte{byte(kind<<4) | byte(size&0xf)}
	for size >>= 4; size > 0; size >>= 7 {
		b[len(b)-1] |= 0x80
		b = append(b, byte(size&0x7f))
	}
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	_, _ = w.Write(content)
	_ = w.Close()
	h.objects = append(h.objects, slices.Concat(b, base, z.Bytes()))
}

func (h *history) blob(content string) hash { return h.object(blobType, content) }

// item is a tree's entry: mode, name, object.
type item struct {
	mode, name string
	hash       hash
}

func (h *history) tree(items ...item) hash {
	var b strings.Builder
	for _, i := range items {
		fmt.Fprintf(&b, "%s %s\x00%s", i.mode, i.name, i.hash[:])
	}
	return h.object(treeType, b.String())
}

func (h *history) commit(tree hash, parents ...hash) hash {
	var b strings.Builder
	fmt.Fprintf(&b, "tree %s\n", tree)
	for _, p := range parents {
		fmt.Fprintf(&b, "parent %s\n", p)
	}
	fmt.Fprintf(&b, "author A <a@b> 1700000000 +0000\ncommitter A <a@b> 1700000000 +0000\n\nmessage %d\n", len(h.objects))
	return h.object(commitType, b.String())
}

// files commits some files to main.
func (h *history) files(items ...item) hash {
	c := h.commit(h.tree(items...))
	h.refs["refs/heads/main"], h.refs["HEAD"] = c, c
	return c
}

func (h *history) pack() []byte {
	b := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(len(h.objects)))
	for _, o := range h.objects {
		b = append(b, o...)
	}
	sum := sha1.Sum(b)
	return append(append(b, sum[:]...), h.after...)
}

func line(format string, args ...any) string {
	s := fmt.Sprintf(format, args...)
	return fmt.Sprintf("%04x%s", len(s)+4, s)
}

// advertise is what a server says first.
func (h *history) advertise() string {
	var b strings.Builder
	caps := "\x00side-band-64k ofs-delta no-progress agent=test symref=HEAD:" + h.head
	names := []string{}
	for name := range h.refs {
		names = append(names, name)
	}
	slices.Sort(names) // HEAD first
	for _, name := range names {
		b.WriteString(line("%s %s%s\n", h.refs[name], name, caps))
		caps = ""
	}
	if len(names) == 0 {
		b.WriteString(line("%s capabilities^{}%s\n", hash{}, caps))
	}
	return b.String() + "0000"
}

func (h *history) answer() string {
	var b strings.Builder
	b.WriteString(line("NAK\n") + line("\x02progress\n"))
	for chunk := range slices.Chunk(h.pack(), 60000) {
		b.WriteString(line("\x01%s", chunk))
	}
	return b.String() + "0000"
}

// ServeHTTP implements http.Handler: the repository is at every path.
func (h *history) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasSuffix(r.URL.Path, "/info/refs") && r.URL.RawQuery == "service=git-upload-pack":
		advertisement(w)
		_, _ = io.WriteString(w, line("# service=git-upload-pack\n")+"0000"+h.advertise())
	case strings.HasSuffix(r.URL.Path, "/git-upload-pack") && r.Method == http.MethodPost:
		result(w)
		_, _ = io.WriteString(w, h.answer())
	default:
		http.NotFound(w, r)
	}
}

func advertisement(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
}

func result(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
}

// serve returns the URL of a server.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// daemon serves a repository as git-daemon does and returns its URL.
func daemon(t *testing.T, h *history, paths chan<- string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // ends with the test
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 4096)
			n, _ := conn.Read(buf)
			paths <- string(buf[4:n])
			_, _ = io.WriteString(conn, h.advertise())
			for got := ""; !strings.HasSuffix(got, "0009done\n"); got += string(buf[:n]) {
				if n, err = conn.Read(buf); err != nil {
					break
				}
			}
			_, _ = io.WriteString(conn, h.answer())
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-ended })
	return "git://" + l.Addr().String()
}
