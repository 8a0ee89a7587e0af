// Package cadvisor tests /metrics/cadvisor as monitoring sees it: families, labels,
// rows and timestamps as the upstream kubelet gives them, and figures that are those
// of the cgroups. The tests are built with -tags e2e and need root.
//
// Owns: what must hold for who scrapes the page.
// Consumes: test/bed; the recorded families of internal/stats/cadvisor.
// Publishes: nothing.
//
// Every test holds for the upstream kubelet, too: NODEAGENT_BED_AGENT=kubelet go test
// -tags e2e ./test/cadvisor. It collects every 10 to 15 seconds, nodeagent when it is
// asked: the tests wait for the kubelet.
package cadvisor
