package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"image/color"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
)

// bench is a bench.json of two rounds: one figure a hundred times as long for one
// agent as for the other, one that is not, and pods that come each second.
func bench(t *testing.T) string {
	t.Helper()
	round := func(by float64) map[string][]float64 {
		r := map[string][]float64{"far apart": {10 * by, 11 * by, 30 * by}, "near": {50 + by, 60 + by}, "once in a round": {7}, "memory": {1, 2}}
		for i := range 10 {
			r[lineReady] = append(r[lineReady], 1000*float64(i+1)*(1+by/1000))
			r[lineGone] = append(r[lineGone], 100*float64(10-i))
		}
		return r
	}
	raw, err := json.Marshal(map[string]any{
		"machine": "one of ours", "date": "2026-01-02",
		"rows": []map[string]any{{"name": "far apart", "unit": "ms"}, {"name": "near", "unit": "ms"},
			{"name": "once in a round", "unit": "ms"}, {"name": "memory", "unit": "MiB"}, {"name": "not measured", "unit": "ms"}},
		"kubelet": []any{round(100), round(101)}, "nodeagent": []any{round(1), round(1)}, "floor": []any{map[string][]float64{"near": {49}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "bench.json")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPictures(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "made")
	if err := run([]string{bench(t), dir}, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"latency":  {"far apart", "near", "milliseconds, logarithmic", "milliseconds", "% of samples", "upstream kubelet", "nodeagent", "without an agent", "2026-01-02", "rounds of each: 2"},
		"timeline": {"10 pods at once: Ready after", "10 pods at once: gone after", "seconds", "pods Ready", "upstream kubelet", "nodeagent"},
	} {
		for _, suffix := range []string{"", "-dark"} {
			texts := textsOf(t, filepath.Join(dir, name+suffix+".svg"))
			for _, text := range want {
				if !strings.Contains(texts, text) {
					t.Errorf("%s%s.svg has no %q:\n%s", name, suffix, text, texts)
				}
			}
			for _, text := range []string{"once in a round", "memory", "not measured"} {
				if strings.Contains(texts, text) {
					t.Errorf("%s%s.svg has %q", name, suffix, text)
				}
			}
			drawn(t, filepath.Join(dir, name+suffix+".png"), map[string]theme{"": light(), "-dark": dark()}[suffix])
		}
	}
}

// textsOf are the words of a picture, which has to be XML.
func textsOf(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(raw, []byte("Arial")) {
		t.Errorf("%s names one font only", path)
	}
	var texts strings.Builder
	for d := xml.NewDecoder(bytes.NewReader(raw)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return texts.String()
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if words, ok := token.(xml.CharData); ok && len(bytes.TrimSpace(words)) > 0 {
			fmt.Fprintf(&texts, "%s\n", words)
		}
	}
}

// drawn checks that a picture has its theme's paper and the colours of both agents.
func drawn(t *testing.T, path string, th theme) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	count := map[color.Color]int{}
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			count[color.NRGBAModel.Convert(img.At(x, y))]++
		}
	}
	if all := img.Bounds().Dx() * img.Bounds().Dy(); count[color.NRGBAModel.Convert(th.paper)] < all/2 {
		t.Errorf("%s: less than half of %d points are paper", path, all)
	}
	for _, side := range th.sides[:2] {
		if n := count[side]; n < 100 {
			t.Errorf("%s: %d points have the colour %v", path, n, side)
		}
	}
}

func TestWhatCannotBeDrawn(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "bench.json")
	if err := os.WriteFile(empty, []byte(`{"rows":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"usage":               {"one"},
		"make bench OUT=DIR ": {"/does/not/exist", t.TempDir()},
		"nothing to draw":     {empty, t.TempDir()},
		`"bmp" is not known`:  {"-formats", "bmp", bench(t), t.TempDir()},
	} {
		if err := run(args, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}

func TestLatencies(t *testing.T) {
	t.Parallel()
	m, err := readMeasured(bench(t))
	if err != nil {
		t.Fatal(err)
	}
	panels := latencies(m)
	if len(panels) != 2 || !panels[0].log || panels[0].least != 10 || panels[1].log || len(panels[1].lines) != 3 {
		t.Errorf("%+v", panels)
	}
	if got, want := shares([]float64{1, 2}), (plotter.XYs{{X: 1, Y: 0}, {X: 1, Y: 50}, {X: 2, Y: 50}, {X: 2, Y: 100}}); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got, want := typical([][]float64{{1, 5, 9}, {2, 4}, {3, 9, 9}}), []float64{2, 5}; !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestTicks(t *testing.T) {
	t.Parallel()
	labels := func(ticks []plot.Tick) (all []string) {
		for _, tick := range ticks {
			if tick.Label != "" {
				all = append(all, tick.Label)
			}
		}
		return all
	}
	for _, c := range []struct {
		got  []plot.Tick
		want string
	}{
		{even(0, 100), "0 20 40 60 80 100"},
		{even(0, 29.3), "0 5 10 15 20 25"},
		{even(0, 0), ""},
		{decades(10, 700), "10 20 50 100 200 500"},
		{decades(0.5, 100000), "1 10 100 1000 10000 100000"},
	} {
		if got := strings.Join(labels(c.got), " "); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
	for f, want := range map[float64][2]float64{1: {1, 1}, 3: {2, 5}, 0.07: {0.05, 0.1}, 5000: {5000, 5000}} {
		if low, high := floor125(f), ceil125(f); fmt.Sprintf("%.4g %.4g", low, high) != fmt.Sprintf("%.4g %.4g", want[0], want[1]) {
			t.Errorf("%g is between %g and %g, want %v", f, low, high, want)
		}
	}
}
