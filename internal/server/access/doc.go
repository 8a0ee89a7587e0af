// Package access decides who may call the node's API.
//
// Owns: the answers 401, 403 and 500 that a request gets before any handler.
// Consumes: client certificates and tokens of requests, the file with the
// client CA, and the API server's TokenReview and SubjectAccessReview.
// Publishes: the user of a request, in the request's context
// (k8s.io/apiserver/pkg/endpoints/request.UserFrom), and the client CA, for the
// TLS handshake.
//
//	client certificate ─┐
//	bearer token ───────┼─> user ─> subresources of the path ─> AlwaysAllow or
//	(anonymous) ────────┘           (decide.go)                SubjectAccessReview
//
// Who somebody is and what he may do is decided by k8s.io/apiserver's delegating
// authenticator and authorizer, with their caches and retries, and its reader of
// CA files. That one notices a file that is written, renamed over or removed, and
// with it a mounted secret. A link that is swapped while its old target stays is
// found by reading the file once a minute. Goroutines of the library are told to
// end when Run returns, and may take a moment.
//
// A path is authorized as net/http's ServeMux routes it: by its escaped form,
// whose first segment alone chooses the subresource. What no route has asks for
// the most, nodes/proxy. So the filter has to stand before the mux with nothing
// between them that changes the URL, and no route may begin with a wildcard.
package access
