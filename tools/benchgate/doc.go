// Command benchgate says whether Go benchmarks allocate more than they did.
//
// Owns: what counts as growth.
// Consumes: two files in Go's benchmark format, the baseline and what was measured
// now.
// Publishes: a verdict in words, and its exit code: 1 when something grew, or is in
// only one of the files; 2 when they cannot be compared.
//
//	benchgate BASELINE MEASURED
//
// Times are not looked at: a benchmark says what a machine did at the time.
// Allocations are the same on every machine of a kind, and what differs between
// runs all the same (hash seeds, pools, goroutines) is told from growth by a
// Mann-Whitney U test, as benchstat does.
package main
