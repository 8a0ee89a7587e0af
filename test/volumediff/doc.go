// Package volumediff compares what containers see of their volumes under
// nodeagent and under the upstream kubelet: the same pods run on a bed (package
// bed) under each, and every container tells all that it finds.
//
//	testdata/{objects,pods}/*.yaml --> Load --> bed with either agent
//	                                               |
//	  program look in every container, the runtime, status and events
//	                                               |
//	  failed test <-- differences.txt <-- diff.Compare <-- facts
//
// The facts of a pod are paths and values. "c: entry[/v/conf/key]" is what
// container c says of a file: type, mode, owner, content; "c: mount[/v/conf].*"
// are the options of a mount point and "c: writable[/v/conf]" whether the
// container may write there (see command look). "c: asked[/v/conf].*" is what the
// agent asked the runtime for, which has the flag for SELinux. "c: state",
// "phase" and "events[REASON VOLUME]" are what users are told; events are compared
// of pods that cannot run. What is random or depends on the bed is replaced first.
//
// Pods whose names begin with "no-" must not run. All others end by themselves
// once their containers have looked. What the machine does not have is told as
// such: huge pages, NFS, and SELinux, without which no agent asks for labels.
//
// Owns: the pods and objects of testdata, and differences.txt, in which each
// accepted difference has a reason. A line that nothing needs fails the test.
//
// Consumes: package diff for comparing; package bed in the test, with the tag
// e2e.
//
// Publishes: the verdict of its test. NODEAGENT_VOLUMEDIFF_PODS limits a run to
// the pods whose names match a pattern, NODEAGENT_VOLUMEDIFF_DIR keeps the facts
// as <agent>.json, NODEAGENT_VOLUMEDIFF_REUSE names an agent whose kept facts
// are taken instead of running it, and NODEAGENT_VOLUMEDIFF_AGENT is who is
// compared with the kubelet: "kubelet" shows what differs by chance.
package volumediff
