// Package serving has the TLS side of the node's API: which certificate is
// shown, and what is agreed on with clients.
//
// Owns: kubelet.crt and kubelet.key in the certificate directory, when no files
// are given; the goroutine that reads certificates again.
// Consumes: certificate files of others, or certificates that somebody obtains
// from the API server; the client CA (package access).
// Publishes: a tls.Config whose handshakes always use the newest of these.
//
// Client certificates are asked for, never required: package access verifies
// them for each request, so that a new client CA counts on old connections too.
package serving
