// Package diff compares nodeagent with the upstream kubelet: the same pods run
// on a bed (package bed) under each, and what can be seen of every pod
// afterwards is compared field by field.
//
//	testdata/pods/*.yaml --> Pods --> bed with the kubelet   --> Facts --+
//	                             \--> bed with nodeagent     --> Facts --+--> Compare
//	                                                                     |
//	         failed test <-- unknown, or listed but not seen <-- differences.txt
//
// Facts of a pod are paths and values: its status in the API, the runtime's
// sandboxes and containers with the configuration they were made from, its log
// directory and the links to it, its directory below the agent's root, its
// cgroups, and its events. What is random or depends on the bed is replaced
// before facts are compared: identities, addresses, times, folders, ports.
//
// The list of accepted differences is part of the product: each has a reason.
//
// Owns: the pods of testdata/pods, the rules what counts as equal, and
// differences.txt.
//
// Consumes: package bed (in tests with the tag e2e).
//
// Publishes: nothing but the verdict of its test. NODEAGENT_DIFF_PODS limits a
// run to the pods whose names match a pattern, NODEAGENT_DIFF_DIR keeps the
// facts as <agent>.json, and NODEAGENT_DIFF_REUSE names an agent whose kept
// facts are taken instead of running it.
//
// An unknown difference has to show in two runs: what shows once is the moment
// at which one of the two agents was looked at, and is only logged.
package diff
