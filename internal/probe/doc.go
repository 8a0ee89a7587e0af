// Package probe asks containers how they are, on time.
//
// Owns: the schedule of all probes of the node, the runs in progress, and what
// the answers of each probe come to.
// Consumes: the probes each pod wants run now, as [pod.ProbeTarget]s; commands in
// containers, through [Exec]; the network.
// Publishes: [Prober.Verdicts]; a call of [Deps.Changed] when one of a pod's
// verdicts is another; events about answers that are not good, in the kubelet's
// words; every run, to [Deps.Observe].
//
// One heap and one timer hold all probes: an idle probe costs memory, no
// goroutine. A goroutine exists while a probe runs, one per probe at most, so
// that a target that hangs holds up nobody else. What the answers come to is
// decided in decide.go, without a clock.
//
//	Watch ──> heap by due time ──timer──> goroutine: up to 3 attempts
//	            ^                           │  handler: exec, http, tcp, grpc
//	            └── next due time <── tally <┘
//	                                    └──> verdict ──> Changed
package probe
