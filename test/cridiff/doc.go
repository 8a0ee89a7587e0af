// Package cridiff compares what nodeagent and the upstream kubelet ask the
// runtime for: the same pods are given to each, in front of a runtime that
// writes down every request, and the requests are compared field by field.
//
//	testdata/{objects,pods}/*.yaml --> Run --> agent --> Recorder --> fakecri
//	                                                        |
//	  failed test <-- differences.txt <-- diff.Compare <-- Facts
//
// The runtime is the fake of package fakecri, in which every container runs at
// once, so that pods which could not run on the machine can be in the corpus.
// Containers whose names begin with "init" end by themselves, those called
// "crash" fail once. The API server, the node's folders and its cgroups are
// real.
//
// Facts of a pod are paths and values: "sandbox[0]" is its RunPodSandbox,
// "container[NAME/ATTEMPT]" its CreateContainer, "pull[IMAGE]", "image[IMAGE]"
// and "update[NAME]" are PullImage, ImageStatus and UpdateContainerResources.
// The second request of the same kind that says something else has "#2" behind
// it. What is random or depends on the node is replaced before facts are
// compared.
//
// Owns: the pods of testdata, and differences.txt, in which each accepted
// difference has a reason.
//
// Consumes: packages fakecri and diff; package bed in the test and the command.
//
// Publishes: [Record], [Load], [Target], [Judge]. The command in cmd/cridiff runs the
// corpus on a bed or on any node, for one agent, and compares kept results.
package cridiff
