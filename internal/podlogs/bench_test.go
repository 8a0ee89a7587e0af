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

// BenchmarkRead reads a log of 50 MB with lines of about 100 bytes.
func BenchmarkRead(b *testing.B) {
	const size = 50 << 20
	pods := b.TempDir()
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
