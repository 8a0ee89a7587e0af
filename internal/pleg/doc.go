// Package pleg notices that something happened to a pod in the runtime.
//
// Owns: the runtime's event stream, the periodic list that audits it, and the
// answer to whether the runtime still answers.
// Consumes: a list of all pods and a stream of events (package cri).
// Publishes: hints per pod, and the full list whenever the set of pods changed.
//
// An event is a hint and never the truth: whoever gets one looks at the pod
// itself. Events of one pod that nobody has taken yet become one hint. While
// events flow the list runs every half minute; without them, every second, as
// in the kubelet. After a break of the stream it runs at once, because what
// happened meanwhile told nobody.
//
//	event stream ──> hints ─┬─> one hint per pod ──> supervisor
//	       │ broken, opened │
//	       v                │
//	     relist ── changed ─┘
//	       └────── set of pods changed ──> listing ──> supervisor (orphans)
package pleg
