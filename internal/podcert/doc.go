// Package podcert has certificates made for pods that show them in podCertificate
// volumes, and renews them.
//
// Owns: the private keys, in memory only, and the PodCertificateRequests of this node.
// Consumes: the PodCertificateRequest API, through the port [Client]; pods, as their
// volumes ask for certificates.
// Publishes: [Manager.Certificate], [Deps.Changed] when there is another one, and
// events about what keeps one away.
//
//	Certificate, Drop ─> records ─> Run ─> a goroutine for each certificate: request, wait, renew
//	                                  └──> one watch of the node's requests while one is open
//
// A certificate that is to be renewed stays in use until the new one is there. One
// that was denied or has failed is not asked for again. Nothing is kept over a
// restart: then every certificate is made anew, as by the kubelet. No key appears in
// a log line or an error.
package podcert
