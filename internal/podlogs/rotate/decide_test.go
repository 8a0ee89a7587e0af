package rotate

import (
	"math"
	"testing"
	"time"
)

func TestNamesAreInOrder(t *testing.T) {
	now := time.Date(2026, 10, 25, 2, 59, 59, 0, time.UTC)
	for name, c := range map[string]struct{ newest, want string }{
		"first":         {"", "20261025-025959"},
		"later":         {"20261025-025958_017", "20261025-025959"},
		"same second":   {"20261025-025959", "20261025-025959_001"},
		"same again":    {"20261025-025959_001", "20261025-025959_002"},
		"the last":      {"20261025-025959_998", "20261025-025959_999"},
		"full":          {"20261025-025959_999", "20261025-030000"},
		"clock is back": {"20261025-031500", "20261025-031500_001"},
		"end of year":   {"20261231-235959_999", "20270101-000000"},
	} {
		got := next(now, c.newest)
		if got != c.want || got <= c.newest {
			t.Errorf("%s: %q after %q, want %q", name, got, c.newest, c.want)
		}
		if at, _, ok := Parse("0.log", "0.log."+got+".gz"); !ok || at != got {
			t.Errorf("%s: %q is not understood", name, got)
		}
	}
}

func TestParse(t *testing.T) {
	for name, want := range map[string]string{
		"0.log.20260102-030405": "20260102-030405", "0.log.20260102-030405.gz": "20260102-030405", "0.log.20260102-030405_001.gz": "20260102-030405_001",
		"0.log": "", "0.log.20260102-030405.tmp": "", "1.log.20260102-030405": "", "0.log.20260102-030405_1": "", "0.log.20260102-030405.gz.gz": "",
	} {
		if at, _, _ := Parse("0.log", name); at != want {
			t.Errorf("%s: %q, want %q", name, at, want)
		}
	}
}

func TestExcess(t *testing.T) {
	kept := []file{{size: 10}, {size: 20}, {size: 30}}
	for _, c := range []struct {
		count  int
		budget int64
		want   int
	}{{3, 100, 0}, {2, 100, 1}, {0, 100, 3}, {-1, 100, 3}, {3, 60, 0}, {3, 59, 1}, {3, 49, 2}, {3, 29, 3}, {3, -1, 3}, {2, 30, 2}} {
		if got := excess(kept, c.count, c.budget); got != c.want {
			t.Errorf("%d files, %d bytes: %d have to go, want %d", c.count, c.budget, got, c.want)
		}
	}
}

func TestLimitsOfLargeLogs(t *testing.T) {
	if got := limit(math.MaxInt64, math.MaxInt32); got <= 0 {
		t.Errorf("the limit is %d", got)
	}
	if got := spell(math.MaxInt64, math.MaxInt32, time.Hour); got != latest {
		t.Errorf("a look each %s", got)
	}
	if got := spell(1, 2, time.Hour); got != soonest {
		t.Errorf("a look each %s", got)
	}
	if got := spell(10<<20, 5, 10*time.Second); got < 150*time.Millisecond || got > 250*time.Millisecond {
		t.Errorf("by default a look each %s", got)
	}
	if got := fullIn(0, 100, 50, time.Second); got != 2*time.Second {
		t.Errorf("full in %s", got)
	}
	if got := fullIn(0, math.MaxInt64, 1, time.Second); got != farAway {
		t.Errorf("full in %s", got)
	}
}
