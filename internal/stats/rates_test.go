package stats

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestRates(t *testing.T) {
	begin := time.Unix(1_000_000, 0)
	type read struct {
		at    time.Duration
		total uint64
	}
	for name, c := range map[string]struct {
		reads []read
		want  uint64
		known bool
	}{
		"none":                    {},
		"one":                     {[]read{{0, 5}}, 0, false},
		"two":                     {[]read{{0, 0}, {10 * time.Second, 5e9}}, 500_000_000, true},
		"the last two":            {[]read{{0, 0}, {10 * time.Second, 5e9}, {20 * time.Second, 6e9}}, 100_000_000, true},
		"an old one":              {[]read{{0, 0}, {oldest + time.Second, 5e9}}, 0, false},
		"one too soon":            {[]read{{0, 0}, {time.Millisecond, 5e9}}, 0, false},
		"one too soon, later":     {[]read{{0, 0}, {10 * time.Second, 5e9}, {10*time.Second + time.Millisecond, 5e9}}, 499950004, true},
		"another cgroup":          {[]read{{0, 7e9}, {10 * time.Second, 5e9}}, 0, false},
		"another cgroup, in time": {[]read{{0, 7e9}, {10 * time.Second, 5e9}, {11 * time.Second, 6e9}}, 1_000_000_000, true},
	} {
		var r rates
		for _, x := range c.reads {
			r.note([]Row{{Group: Group{Path: "/a"}, Sample: Sample{At: begin.Add(x.at), CPU: &CPU{Total: x.total}}}})
		}
		if got, known := r.of("/a"); got != c.want || known != c.known {
			t.Errorf("%s: %d, %t; want %d, %t", name, got, known, c.want, c.known)
		}
		r.note(nil)
		if len(r.last) != 0 {
			t.Errorf("%s: what is gone is remembered", name)
		}
	}
}

// TestFirstRate: who was never read before is read twice, and nobody else.
func TestFirstRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin, reads := time.Now(), map[string]int{}
		one := make(chan struct{}, 1) // guards reads
		r := simple(t, func(_ *scratch, g Group, _ Need) (Sample, error) {
			one <- struct{}{}
			reads[g.Path]++
			<-one
			return Sample{At: time.Now(), CPU: &CPU{Total: uint64(time.Since(begin)) / 4}}, nil // a quarter of a CPU
		})
		rows, err := r.Rows(t.Context(), NeedCPU)
		must(t, err)
		must(t, r.ensureRates(t.Context(), rows))
		if took := time.Since(begin); took != pause {
			t.Errorf("it took %v", took)
		}
		for _, row := range rows {
			if rate, ok := r.rates.of(row.Path); !ok || rate != 250_000_000 || reads[row.Path] != 2 {
				t.Errorf("%s: %d, %t after %d reads", row.Path, rate, ok, reads[row.Path])
			}
		}
		time.Sleep(15 * time.Second)
		rows, err = r.Rows(t.Context(), NeedCPU)
		must(t, err)
		must(t, r.ensureRates(t.Context(), rows))
		if reads["/"] != 3 {
			t.Errorf("%d reads", reads["/"])
		}
		time.Sleep(oldest + time.Second)
		rows, err = r.Rows(t.Context(), NeedCPU)
		must(t, err)
		must(t, r.ensureRates(t.Context(), rows))
		if reads["/"] != 5 {
			t.Errorf("%d reads after a long time", reads["/"])
		}
		time.Sleep(shared)
	})
}
