// Package podresources tells monitoring programs of the node what pods have been
// given for themselves: the kubelet's podresources API, v1 and v1alpha1, on
// <root>/pod-resources/kubelet.sock.
//
// Owns: the answers, the socket, and the counters of calls.
// Consumes: snapshots of pods (Views).
// Publishes: its counters, as a prometheus.Collector.
//
// This agent gives nobody CPUs, memory, devices or claims of his own, so that
// names are all there is to tell; it answers as a kubelet whose managers have the
// policy none.
package podresources
