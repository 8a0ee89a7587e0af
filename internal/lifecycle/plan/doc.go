// Package plan decides what to do next for one pod. It is pure: the same
// [pod.Input] always gives the same [Plan].
//
// Owns: the order in which a pod's sandbox, images, volumes and containers come
// up and go down, who waits for whom, and until when.
// Consumes: [pod.Input], nothing else: no clock, no context, no runtime.
// Publishes: [Plan]: actions that may start now, operations to cancel, when to
// look again, and the reasons, in words, for all of it; and [Probes]: what has to
// be asked of the containers now.
//
//	            Stop == nil                          Stop != nil
//	┌──────────────────────────────────┐   ┌─────────────────────────────────┐
//	│ syncing                          │   │ stopping                        │
//	│  volumes ┐                       │   │  preStop hooks                  │
//	│  sandbox ┴> init containers and  │   │   └> stop containers, sidecars  │
//	│             sidecars, in order   │   │       last, in reverse order    │
//	│              └> regular ones     │   │        └> stop sandbox          │
//	│  work done ──> wind down ────────┼─> │            └> volumes, cgroup,  │
//	│                                  │   │               logs ─> Released  │
//	│                                  │   │                └> what is dead  │
//	│                                  │   │                   ─> Done       │
//	└──────────────────────────────────┘   └─────────────────────────────────┘
//
// docs/lifecycle.md explains it all; testdata/ shows it at work.
//
// The actions of one plan may run at the same time: what has to wait for
// something is simply not in the plan yet. An action's [pod.Target] is busy
// while it runs, and a failed action leaves a [pod.Attempt] that says when the
// target may be tried again, so that no failure can make the loop spin.
package plan
