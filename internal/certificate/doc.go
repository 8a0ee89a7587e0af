// Package certificate has the node's own certificates: the one it shows to the
// API server, and the one it is served with if the cluster signs it.
//
// Owns: kubelet-client-*.pem, kubelet-client.key.tmp and kubelet-server-*.pem in
// the certificate directory, and the kubeconfig when it is made from a bootstrap
// kubeconfig. All are written as the kubelet writes them, so that either agent
// takes over the other's.
// Consumes: the kubeconfig, the bootstrap kubeconfig, and
// CertificateSigningRequests of the API server.
// Publishes: [Client.RESTConfig], a way to the API server that always uses the
// newest credential; [Serving.GetCertificate] for TLS servers; figures for
// /metrics; [Inspect], what the files say, for people.
//
//	kubeconfig ──────────┐
//	client-current.pem ──┼─ every 5 s, or told ─> decide (pure) ─┬─> Switch: generation of connections
//	bootstrap kubeconfig ┘                                       ├─> certificate.Manager (rotation, CSRs)
//	verdicts (401) ──────┘                                       └─> one line that says what is wrong
//
// Requests, keys, waits and files are those of k8s.io/client-go/util/certificate.
// That library reads its files once; here they are read again, and the Manager is
// made anew when somebody else has changed them. So every credential counts as
// soon as it is there, also when the agent has been running without any.
//
// A certificate that has expired ends nothing: pods go on, calls wait a while
// for a better credential and are then tried with what there is, since the
// server's clock decides (docs/adr/0015).
//
// A rotation lets calls in flight end on the connection they began on. Watches
// are ended as if the server had closed them; their clients go on from where
// they were, on a new connection. When nothing is in flight any more, or after a
// minute, the old connections are closed.
//
// Goroutines of the library are told to end when a Run returns, and may take a
// moment.
package certificate
