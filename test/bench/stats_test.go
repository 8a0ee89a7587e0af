package bench

import (
	"testing"
	"time"
)

func TestSpread(t *testing.T) {
	t.Parallel()
	upTo := func(n int) []time.Duration {
		var all []time.Duration
		for i := n; i > 0; i-- {
			all = append(all, time.Duration(i)*time.Millisecond)
		}
		return all
	}
	for n, want := range map[int]string{
		0:   "not measured",
		1:   "1.0 / 1.0 / 1.0 / 1.0",
		2:   "1.0 / 1.0 / 2.0 / 2.0",
		50:  "1.0 / 25.0 / 50.0 / 50.0",
		200: "1.0 / 100.0 / 198.0 / 200.0",
	} {
		if got := spreadOf(upTo(n)).String(); got != want {
			t.Errorf("of 1 to %d ms: %s, want %s", n, got, want)
		}
	}
	if got := ratio(spreadOf(upTo(100)), spreadOf(upTo(50))); got != "2.0 / 2.0" {
		t.Errorf("ratio: %s", got)
	}
	if got := ratio(spread{}, spreadOf(upTo(50))); got != "-" {
		t.Errorf("ratio of nothing: %s", got)
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	got := table([][]string{{"", "one", "two"}, {"long name", "1"}, {"b", "22222", "x"}})
	want := "           one    two\nlong name  1\nb          22222  x\n"
	if got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
}
