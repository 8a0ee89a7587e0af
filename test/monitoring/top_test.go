//go:build e2e

package monitoring

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

const (
	// millis of a CPU are what burners may have, at most.
	millis = 100
	mebi   = 1 << 20
	// hogged is the size of a hog in bytes.
	hogged = 96 * mebi
	// A window of metrics-server begins and ends with a sample: metrics-server asks
	// every 10 s, the kubelet looks at a container about as often.
	longestWindow, oldest = 60 * time.Second, 60 * time.Second
)

// TestTop compares what kubectl top shows with what containers are known to use.
func TestTop(t *testing.T) {
	t.Parallel()
	b := shared.Bed(t)
	pod := bedtest.NewPod("used", 1, burns, fmt.Sprintf(hogs, hogged), bedtest.Obeys)
	pod.Spec.Containers[0].Resources = limited(fmt.Sprintf("%dm", millis), "32Mi")
	pod.Spec.Containers[1].Resources = limited("50m", "192Mi")
	folder(t, b, "x-used", &pod.Spec)
	start(t, b, pod)
	useMetricsServer(t, b)

	until(t, "kubectl top pod --containers", func(ctx context.Context) error {
		rows, err := top(ctx, b, 2, "pod", pod.Name, "--containers")
		if err != nil {
			return err
		}
		if len(rows) != 3 {
			return fmt.Errorf("%d containers, want 3: %v", len(rows), rows)
		}
		var wrong []error
		for _, r := range rows {
			switch r.name {
			case "a":
				wrong = append(wrong, within("CPU of the burner", r.cpu, 0.6*millis, 1.15*millis), within("its memory", r.memory, 0, 32*mebi))
			case "b":
				wrong = append(wrong, within("memory of the hog", r.memory, hogged, 1.1*hogged), within("its CPU", r.cpu, 0, 10))
			default:
				wrong = append(wrong, within("CPU of the idle", r.cpu, 0, 30), within("its memory", r.memory, 0, 32*mebi))
			}
		}
		return errors.Join(wrong...)
	})
	until(t, "kubectl top pod", func(ctx context.Context) error {
		rows, err := top(ctx, b, 1, "pod", pod.Name)
		if err != nil {
			return err
		}
		return errors.Join(within("CPU of the pod", rows[0].cpu, 0.6*millis, 1.15*millis+40), within("its memory", rows[0].memory, hogged, 1.1*hogged+16*mebi))
	})
	until(t, "the age of the figures", func(ctx context.Context) error { return fresh(ctx, b, "namespaces/"+namespace+"/pods/"+pod.Name) })
	until(t, "kubectl top node", func(ctx context.Context) error {
		rows, err := top(ctx, b, 1, "node", b.NodeName)
		if err != nil {
			return err
		}
		most := 1000 * float64(runtime.NumCPU())
		return errors.Join(within("CPU of the node", rows[0].cpu, 0.6*millis, 1.15*most), within("its memory", rows[0].memory, hogged, memory(t)))
	})
	until(t, "the age of the node's figures", func(ctx context.Context) error { return fresh(ctx, b, "nodes/"+b.NodeName) })
	if out := kubectl(t, b, "top", "node"); !strings.Contains(out, "%") || strings.Contains(out, "unknown") {
		t.Errorf("kubectl top node shows no shares:\n%s", out)
	}
}

// usage is a row of kubectl top: CPU in thousandths, memory in bytes.
type usage struct {
	name        string
	cpu, memory float64
}

// top calls kubectl top. The name is in the given column, counted from 1.
func top(ctx context.Context, b *bed.Bed, column int, args ...string) ([]usage, error) {
	out, err := b.Kubectl(ctx, append(append([]string{"top"}, args...), "--no-headers")...)
	if err != nil {
		return nil, err
	}
	var rows []usage
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) < column+2 {
			return nil, fmt.Errorf("kubectl top shows %q", line)
		}
		row, figures := usage{name: fields[column-1]}, fields[column:]
		if args[0] == "node" { // there is a share between them
			figures = append(figures[:1:1], figures[2:]...)
		}
		for i, to := range []*float64{&row.cpu, &row.memory} {
			q, err := resource.ParseQuantity(figures[i])
			if err != nil {
				return nil, fmt.Errorf("kubectl top shows %q: %w", line, err)
			}
			*to = q.AsApproximateFloat64()
		}
		row.cpu *= 1000
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		return nil, errors.New("kubectl top shows nothing")
	}
	return rows, nil
}

// fresh is an error when metrics-server's figures of something are of long ago, or
// over a time that is none.
func fresh(ctx context.Context, b *bed.Bed, of string) error {
	out, err := b.Kubectl(ctx, "get", "--raw", "/apis/metrics.k8s.io/v1beta1/"+of)
	if err != nil {
		return err
	}
	var got struct {
		Timestamp time.Time `json:"timestamp"`
		Window    string    `json:"window"`
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		return fmt.Errorf("metrics of %s: %w", of, err)
	}
	window, err := time.ParseDuration(got.Window)
	if err != nil {
		return fmt.Errorf("metrics of %s: %w", of, err)
	}
	return errors.Join(
		within("age in seconds of the metrics of "+of, time.Since(got.Timestamp).Seconds(), -2, oldest.Seconds()),
		within("seconds they are about", window.Seconds(), 1, longestWindow.Seconds()))
}
