// Package metrics is what /metrics and /metrics/probes show, under the kubelet's
// names.
//
// Owns: the families of the kubelet 1.37 with their labels and buckets, and what
// has been counted of them.
// Consumes: calls of those who do the work, through hooks that their packages
// declare (the wiring connects them); snapshots of pods ([pod.View]) at the time of
// a scrape; collectors of other packages, by [Metrics.Register]; the registry of
// k8s.io/component-base, where client-go and k8s.io/apiserver count requests, work
// queues, authentication and authorization.
// Publishes: [Metrics.Handler] and [Metrics.ProbesHandler].
//
// Nothing runs while nobody asks: what can be seen is looked at during a scrape,
// what happens is counted where it happens, without a goroutine of its own. The
// number of series is bounded whatever pods and clients do: labels that they could
// choose go through the lists in bounds.go.
//
// What the kubelet shows is recorded in testdata; a test compares it with what is
// shown here. testdata/missing.txt has what is left out, with a reason each.
package metrics
