// Package access decides who may call the node's API.
//
// Owns: the answers 401, 403 and 500 that a request gets before any handler, and
// the caches of what the API server said about tokens and users.
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
// Authentication is composed of the parts that k8s.io/apiserver publishes. Its
// ready-made factories are not used, because they link an expression language,
// a tunnel client and trace exporters that nothing here needs; the two calls to
// the API server are ours.
//
// A path is authorized as net/http's ServeMux routes it: by its escaped form,
// whose first segment alone chooses the subresource. What no route has asks for
// the most, nodes/proxy. So the filter has to stand before the mux with nothing
// between them that changes the URL, and no route may begin with a wildcard.
package access
