// Package statsdiff compares what nodeagent tells monitoring with what the
// upstream kubelet tells: the same pods run on a bed (package bed) under each, and
// everything that Prometheus and metrics-server would fetch is fetched through the
// API server.
//
//	testdata/*.yaml --> Cases --> bed with either agent, exec, logs, resizes ...
//	                                    |
//	   /metrics, /metrics/{cadvisor,resource,probes,slis}, /stats/summary
//	                                    |
//	  failed test <-- differences.txt <-- diff.Compare <-- facts
//
// The facts of an endpoint ("metrics", "cadvisor", "resource", "probes", "slis",
// "summary", "summary-short") are, of each family F,
//
//	F type               counter, gauge, histogram ...
//	F labels             the keys of its labels
//	F timestamps         whether its samples have some
//	F buckets            of histograms, F quantiles of summaries
//	F on ROW {k:v}       a row about a pod or a group of pods: "two/a" is container
//	                     a of pod two, "two/(sandbox)", "two/(pod)", "id /"; its
//	                     value are the other labels, with identities and places
//	                     replaced, and the sample where that must be the same
//	F {k:v}              another label that has that value in some row
//
// and of the summary the paths of its JSON with their types, "pods[two].cpu.time":
// elements are called by their names. What an endpoint answers to which Accept is
// there as "(plain) status", "(prometheus) content-type".
//
// TestValues lets containers burn a share of the processors and hold memory, and
// compares what an agent says about a minute with what the kernel counted in it.
//
// Owns: the pods of testdata, and differences.txt, in which each accepted
// difference has a reason. A line that nothing needs fails the test.
//
// Consumes: package diff for comparing; package bed in the tests, with the tag
// e2e.
//
// Publishes: the verdict of its tests. NODEAGENT_STATSDIFF_DIR keeps what was
// fetched and the facts of each agent, NODEAGENT_STATSDIFF_REUSE names an agent
// whose kept facts are taken instead of running it, and NODEAGENT_STATSDIFF_AGENT
// is who is compared with the kubelet: "kubelet" shows what differs by chance.
package statsdiff
