//go:build volumeload

package volumes

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"nodeagent.dev/nodeagent/test/bed"
)

var (
	printOnly = flag.Bool("print", false, "judge no figure")
	updates   = flag.Int("updates", 200, "how many updates BenchmarkUpdates measures under nodeagent")
	rounds    = flag.Int("kubelet-rounds", 3, "how often BenchmarkUpdates changes everything under the kubelet")
	reads     = flag.Int("reads", 2000, "how many updates BenchmarkReaders makes")
	tries     = flag.Int("tries", 10000, "how many subPaths BenchmarkSubPathRace mounts")
	samples   = flag.Int("samples", 300, "how many pods BenchmarkHungMount starts each way")
	cycles    = flag.Int("cycles", 500, "how many pods BenchmarkCycles makes")
	kills     = flag.Int("kills", 50, "how often BenchmarkCycles kills the agent")
	seed      = flag.Int64("seed", 0, "decides the moments of the kills; 0 takes another one each time")
)

// agents are those that are compared: both, or that of the environment.
func agents() []string {
	if name := os.Getenv(bed.AgentEnv); name != "" {
		return []string{name}
	}
	return []string{bed.Kubelet, bed.Nodeagent}
}

// report tells the figures of many durations as a benchmark does, in milliseconds.
func report(bench *testing.B, all []time.Duration) {
	bench.Helper()
	bench.ReportMetric(0, "ns/op") // left out
	bench.ReportMetric(float64(len(all)), "samples")
	bench.ReportMetric(millis(rank(all, 50)), "p50-ms")
	bench.ReportMetric(millis(rank(all, 99)), "p99-ms")
	bench.ReportMetric(millis(rank(all, 100)), "max-ms")
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// rank is the nearest rank: of up to 100 durations p99 is the longest.
func rank(all []time.Duration, percent int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(all))[(len(all)*percent+99)/100-1]
}

// row is a line of a table of figures.
func row(what string, all []time.Duration) string {
	return fmt.Sprintf("%-44s %5d samples   p50 %9.1f ms   p99 %9.1f ms   max %9.1f ms",
		what, len(all), millis(rank(all, 50)), millis(rank(all, 99)), millis(rank(all, 100)))
}

func load() string {
	text, _ := os.ReadFile("/proc/loadavg")
	return strings.TrimSpace(string(text))
}
