// Package server is the node's HTTP API, as the API server, kubectl and
// monitoring know it from the kubelet: logs, exec, attach, port-forward, pods,
// health, metrics and the debug endpoints.
//
// Owns: the listeners of the node's port and of the read-only port, the routes,
// and every limit on what a client can make the agent hold.
// Consumes: snapshots of pods (Pods), the addresses of the runtime's streaming
// server (Runtime), container logs (Logs), and a Guard that lets a request
// through or answers it (package access).
// Publishes: nothing inside the agent.
//
//	TLS ─> limits ─> Guard (401, 403) ─> mux ─> handler ─┬─> snapshot of a pod
//	                                                     ├─> log file
//	                                                     └─> runtime's streaming server
//
// Streams are never redirected: they pass through the agent, so that the
// runtime's streaming server stays on the node. A request is authorized for the
// path that is served: net/http's mux redirects every path that is not clean,
// and a redirected client has to ask, and be authorized, again.
package server
