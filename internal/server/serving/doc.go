// Package serving has the TLS side of the node's API: which certificate is
// shown, and what is agreed on with clients.
//
// Owns: kubelet.crt and kubelet.key in the certificate directory, when no files
// are given.
// Consumes: certificate files of others, or a function that has the pair; the
// client CA (package access).
// Publishes: a tls.Config whose handshakes always use the newest of these.
//
// Certificates are read again by k8s.io/apiserver's dynamiccertificates. It
// notices files that are written, renamed over or removed, and with that mounted
// secrets. A link that is swapped while its old target stays is found by reading
// the files once a minute. Goroutines of the library are told to end when Run
// returns, and may take a moment.
//
// Client certificates are asked for, never required: package access verifies
// them for each request, so that a new client CA counts on old connections too.
package serving
