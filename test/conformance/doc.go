// Package conformance runs upstream's own tests, e2e.test of Kubernetes, on a
// bed and says whether the node's agent does as well as the upstream kubelet.
//
//	focus.txt or FOCUS --> Suite.Run --> bed with the agent, ginkgo, e2e.test
//	                                 --> ginkgo.json --> ReadReport --> []Result
//	kubelet-baseline.txt, later.txt, []Result --> Judge --> []Verdict --> Print
//
// A test that the kubelet passes must pass, unless later.txt names it with the
// reason why it cannot yet. An entry whose test passes is an error, so the list
// only gets shorter. The baseline is what the kubelet does on a bed; where it
// fails there, it says what the bed or the machine lacks.
//
// Owns: which tests are run, the baseline, the list of exceptions, and the
// verdict.
//
// Consumes: package bed, the programs e2e.test and ginkgo from package build,
// images from package images.
//
// Publishes: a verdict, and in its output folder upstream's JUnit report, its
// log and the logs of the agent and the runtime.
package conformance
