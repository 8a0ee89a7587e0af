// Package bench measures what an agent takes: time, processors, memory, requests;
// nodeagent and the upstream kubelet in turn in one run, from outside, and what
// the same calls to the runtime take without an agent. The tests are built with
// -tags e2e and need root.
//
// Owns: the figures, their targets, and the limits of nodeagent's delays.
// Consumes: test/bed, test/fakecri.
// Publishes: a table, and the same as JSON.
//
// Four tests, each with a make target:
//
//	make bench        TestBench: every figure of docs/performance.md, A B A B
//	make bench-scale  TestScale: how figures grow from 10 to 1,000 pods
//	make latency      TestLatency: how soon the API knows of exits and probes
//	make probeload    TestProbeLoad: what many probes cost
//
// Without -compare they are short, run on the agent of beds only
// (NODEAGENT_BED_AGENT) and judge nothing; nor do they with -print. What another
// program does on the machine at the time is in the figures of both agents.
//
// TestScale runs both agents with the flags and the configuration of all beds, but
// for maxPods; only what listens on the runtime's socket is a fake, in this
// process, which answers at once. Pods are bound to the node and have one
// container, no volumes and real cgroups of their own; every tenth has an exec
// readiness probe. For each number of pods, one after the other on one bed:
//
//	start   The agent is stopped, containers of ten pods end, it is started again:
//	        until the API shows these ends, and until every probe was asked.
//	idle    It is left alone, then watched: processor time, memory, goroutines,
//	        calls to the runtime, and requests by the API server's audit log.
//	exits   Containers of pods beside the others end, half of them to be
//	        restarted, at moments evenly spread over a second.
//
// Containers have no cgroups here and lists cost the runtime nothing: what grows
// with either on a real node is not in the figures, which favours the agent that
// asks more.
package bench
