//go:build e2e

package cadvisor

import (
	"bytes"
	"compress/gzip"
	"flag"
	"io"
	"net/http"
	"os"
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
	// patience bounds what takes as long as the machine is slow.
	patience = 2 * time.Minute
	// pause is how long to wait before the page is looked at again.
	pause = 500 * time.Millisecond
)

var shared = bedtest.Shared{Options: bed.Options{UsualSocket: true}}

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("4") // the tests wait more than they compute
	}
	os.Exit(shared.Run(m))
}

// page is one scrape.
type page map[string]*dto.MetricFamily

// scrape gets the page. It fails the test if Prometheus would not take all of it.
func scrape(t *testing.T, b *bed.Bed) page {
	t.Helper()
	body, header := fetch(t, b, "")
	if got := header.Get("Content-Type"); got != "text/plain; version=0.0.4; charset=utf-8; escaping=underscores" {
		t.Errorf("the page is %q", got)
	}
	return parse(t, body)
}

func fetch(t *testing.T, b *bed.Bed, encoding string) ([]byte, http.Header) {
	t.Helper()
	client, err := b.AgentClient()
	bedtest.Must(t, "making a client", err)
	client.Transport.(*http.Transport).DisableCompression = true
	client.Timeout = patience
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.AgentURL()+"/metrics/cadvisor", http.NoBody)
	bedtest.Must(t, "making a request", err)
	if encoding != "" {
		r.Header.Set("Accept-Encoding", encoding)
	}
	resp, err := client.Do(r)
	bedtest.Must(t, "scraping", err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	bedtest.Must(t, "reading the page", err)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("got %s: %.300s", resp.Status, body)
	}
	return body, resp.Header
}

func parse(t *testing.T, body []byte) page {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	bedtest.Must(t, "parsing the page", err)
	for name, f := range families {
		seen := map[string]bool{}
		for _, m := range f.GetMetric() {
			var key strings.Builder
			for _, l := range m.GetLabel() {
				key.WriteString(l.String())
			}
			if seen[key.String()] {
				t.Errorf("%s is there twice: %v", name, m)
			}
			seen[key.String()] = true
		}
	}
	return families
}

// labels are those of a line.
func labels(m *dto.Metric) map[string]string {
	all := map[string]string{}
	for _, l := range m.GetLabel() {
		all[l.GetName()] = l.GetValue()
	}
	return all
}

// value is the figure of a line, whatever its type.
func value(m *dto.Metric) float64 {
	if m.GetCounter() != nil {
		return m.GetCounter().GetValue()
	}
	return m.GetGauge().GetValue()
}

// line finds the line of a family that has the labels, or nil.
func (p page) line(family string, want map[string]string) *dto.Metric {
	for _, m := range p[family].GetMetric() {
		have, all := labels(m), true
		for k, v := range want {
			all = all && have[k] == v
		}
		if all {
			return m
		}
	}
	return nil
}

// awaitPage scrapes until the page is as done wants it.
func awaitPage(t *testing.T, b *bed.Bed, what string, done func(page) bool) page {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		p := scrape(t, b)
		if done(p) {
			return p
		}
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s", what, patience)
		}
		select {
		case <-t.Context().Done():
		case <-time.After(pause):
		}
	}
}

func unzip(t *testing.T, body []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(body))
	bedtest.Must(t, "opening gzip", err)
	content, err := io.ReadAll(z)
	bedtest.Must(t, "reading gzip", err)
	return content
}
