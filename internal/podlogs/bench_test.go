package podlogs

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
)

type nowhere struct{ io.Writer }

func (nowhere) Flush() error { return nil }

// BenchmarkRead reads a log of 50 MB, or of 64 kB with -short, with lines of about
// 100 bytes.
func BenchmarkRead(b *testing.B) {
	size := 50 << 20
	if testing.Short() {
		size = 64 << 10
	}
	// How often a path is allocated depends on its length; that of TempDir varies.
	pods := filepath.Join(b.TempDir(), "as-long-as-those-of-nodes", "pods")
	path := filepath.Join(pods, "ns_web_uid-1", "app", "0.log")
	put(b, path, "")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	var all []byte
	for n := 0; len(all) < size; n++ {
		all = append(all, entry(fmt.Sprintf("%08d a line of the length that lines often have", n))...)
	}
	if _, err := f.Write(all); err != nil {
		b.Fatal(err)
	}
	f.Close()
	r := newReader(b, pods)
	for _, stamps := range []bool{false, true} {
		opts := both()
		opts.Timestamps = stamps
		read := map[string]func() error{
			"ours":    func() error { return r.Read(b.Context(), nowhere{io.Discard}, path, opts, nil) },
			"library": func() error { return readWithLibrary(b.Context(), path, opts, io.Discard) },
		}
		for _, name := range []string{"ours", "library"} {
			b.Run(fmt.Sprintf("timestamps=%v/%s", stamps, name), func(b *testing.B) {
				if name == "library" && testing.Short() {
					b.Skip("it is not ours to watch")
				}
				if err := read[name](); err != nil { // it fills its pools
					b.Fatal(err)
				}
				b.SetBytes(int64(len(all)))
				b.ReportAllocs()
				for b.Loop() {
					if err := read[name](); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkParse takes a line apart.
func BenchmarkParse(b *testing.B) {
	line := []byte(entry("a line of the length that lines often have"))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := parse(line); !ok {
			b.Fatalf("%q was not understood", line)
		}
	}
}
