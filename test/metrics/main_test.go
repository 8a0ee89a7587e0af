//go:build e2e

package metrics

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

const (
	// patience bounds what takes as long as the machine is slow, and a back-off.
	patience = 2 * time.Minute
	// again is how often a node is scraped by who waits for a figure.
	again = 500 * time.Millisecond
)

var (
	shared bedtest.Shared
	must   = bedtest.Must
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(shared.Run(m))
}

// scrape is what a node shows at a moment: families by name.
type scrape map[string]*dto.MetricFamily

// get scrapes the node through the API server.
func get(ctx context.Context, b *bed.Bed, path string) (scrape, error) {
	text, err := b.Kubectl(ctx, "get", "--raw", "/api/v1/nodes/"+b.NodeName+"/proxy/"+path)
	if err != nil {
		return nil, fmt.Errorf("scraping %s: %w", path, err)
	}
	p := expfmt.NewTextParser(model.LegacyValidation)
	got, err := p.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return got, nil
}

// scraped is get for who cannot go on without.
func scraped(t *testing.T, b *bed.Bed, path string) scrape {
	t.Helper()
	got, err := get(t.Context(), b, path)
	must(t, "scraping", err)
	return got
}

// sum adds up the rows of a family that have these labels ("k=v,k=v"); of
// histograms the counts.
func (s scrape) sum(family, labels string) (total float64, rows int) {
	wanted := map[string]string{}
	for pair := range strings.SplitSeq(labels, ",") {
		if k, v, ok := strings.Cut(pair, "="); ok {
			wanted[k] = v
		}
	}
	for _, m := range s[family].GetMetric() {
		has := map[string]string{}
		for _, l := range m.GetLabel() {
			has[l.GetName()] = l.GetValue()
		}
		matches := true
		for k, v := range wanted {
			matches = matches && has[k] == v
		}
		if matches {
			rows++
			total += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return total, rows
}

// step is how much a figure has to move: by no less than min and, if max is not
// zero, no more.
type step struct {
	family, labels string
	min, max       float64
}

// once is a step by exactly n, more one by n at least.
func once(family, labels string, n float64) step { return step{family, labels, n, n} }
func more(family, labels string, n float64) step { return step{family, labels, n, 0} }

// wrong says what of the steps was not taken between two scrapes.
func wrong(steps []step, before, now scrape) (all []string) {
	for _, s := range steps {
		was, _ := before.sum(s.family, s.labels)
		is, _ := now.sum(s.family, s.labels)
		if moved := is - was; moved < s.min || s.max != 0 && moved > s.max {
			all = append(all, fmt.Sprintf("%s{%s} moved by %v from %v, want %v to %v", s.family, s.labels, moved, was, s.min, s.max))
		}
	}
	return all
}

// await scrapes until ask says nothing more, and fails with what it says at last.
func await(t *testing.T, b *bed.Bed, path string, ask func(scrape) []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(again)
	defer tick.Stop()
	var last []string
	for {
		got, err := get(ctx, b, path)
		if err == nil {
			if last = ask(got); len(last) == 0 {
				return
			}
		} else {
			last = []string{err.Error()}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("after %s:\n%s", patience, strings.Join(last, "\n"))
		}
	}
}

// labelKeys are the keys of a family's rows, without those that the format needs.
func labelKeys(f *dto.MetricFamily) string {
	keys := map[string]bool{}
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			keys[l.GetName()] = true
		}
	}
	if len(keys) == 0 {
		return "-"
	}
	return strings.Join(slices.Sorted(maps.Keys(keys)), ",")
}
