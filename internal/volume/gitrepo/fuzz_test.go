package gitrepo

import (
	"bytes"
	"compress/zlib"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// small keeps what a run of the fuzzer can cost.
var small = Limits{
	Timeout: time.Second, Received: 1 << 16, Written: 1 << 16, Files: 100, Objects: 100, Object: 1 << 12, Unpacked: 1 << 16,
}

// FuzzPack: no pack makes its reader panic, hang or take more than the limits say,
// and what is found in one has a length as limited.
func FuzzPack(f *testing.F) {
	blob := deflate("hello, hello, hello")
	begin := "PACK\x00\x00\x00\x02\x00\x00\x00"
	f.Add([]byte(begin + "\x00"))
	f.Add([]byte(begin + "\x01" + "\xb3\x01" + blob))
	f.Add([]byte(begin + "\x01" + "\x93\x03" + deflate("tree 0000000000000000000000000000000000000001\n\n....")))
	// A delta that copies the blob's first five bytes, by its distance.
	f.Add([]byte(begin + "\x02" + "\xb3\x01" + blob + "\x64" + string(rune(2+len(blob))) + deflate("\x13\x05\x90\x05")))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := os.Create(filepath.Join(t.TempDir(), "pack"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		sum := plumbing.NewHasher(plumbing.BlobObject, 0)
		sum.Reset()
		_, _ = sum.Write(data)
		if _, err := file.Write(sum.Hash.Sum(data)); err != nil {
			t.Fatal(err)
		}
		p, err := openPack(t.Context(), file, small)
		if err != nil {
			return
		}
		r := &repository{packed: p}
		for name := range p.byName {
			o, err := p.find(name)
			if err != nil {
				t.Fatal(err)
			}
			content, err := p.read(name, o.kind)
			if err != nil || int64(len(content)) > small.Object || plumbing.ComputeHash(o.kind, content) != name {
				t.Errorf("object %s has %d bytes, %v", name, len(content), err)
			}
			_, _ = r.commitOf(name)
		}
	})
}

func deflate(s string) string {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	_, _ = w.Write([]byte(s))
	_ = w.Close()
	return b.String()
}

// FuzzAdvertisement: what a server says never panics, and no reference is accepted
// that could become a line or a path of its own.
func FuzzAdvertisement(f *testing.F) {
	title := packet("# service=git-upload-pack\n") + "0000"
	zero := "0000000000000000000000000000000000000001"
	f.Add([]byte(title + packet(zero+" HEAD\x00symref=HEAD:refs/heads/x side-band-64k\n") + packet(zero+" refs/heads/x\n") + packet("shallow "+zero) + "0000"))
	f.Add([]byte(title + packet("ERR x")))
	f.Fuzz(func(t *testing.T, data []byte) {
		adv, err := readAdvertisement(bytes.NewReader(data), true)
		if err != nil {
			return
		}
		for name := range adv.refs {
			if !validRef(name) || bytes.ContainsAny([]byte(name), "\n\x00 ") {
				t.Errorf("reference %q", name)
			}
		}
		adv.packRequest()
		newRepository(adv, nil)
	})
}

// FuzzTree: no entry has a name that leads anywhere else.
func FuzzTree(f *testing.F) {
	f.Add([]byte("100644 a\x0001234567890123456789"))
	f.Add([]byte("40000 ..\x0001234567890123456789"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for len(data) > 0 {
			e, rest, err := nextEntry(data)
			if err != nil {
				return
			}
			if len(rest) >= len(data) || !filepath.IsLocal(e.name) || filepath.Base(e.name) != e.name || e.name == ".git" {
				t.Fatalf("entry %q", e.name)
			}
			data = rest
		}
	})
}
