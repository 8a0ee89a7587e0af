package access

import (
	"net/http"
	"strings"
)

// maxCredentials is how many bytes of credentials a request may carry in its
// headers, encoded: tokens of service accounts have one or two thousand. What is
// longer would only make the node send it to the API server.
const maxCredentials = 16 << 10

const (
	authorizationHeader = "Authorization"
	protocolHeader      = "Sec-Websocket-Protocol"
	// bearerProtocol begins the websocket subprotocol in which browsers send a
	// token, as they cannot set headers.
	bearerProtocol = "base64url.bearer.authorization.k8s.io." //nolint:gosec // the name of a protocol, not a secret
)

// oversized reports whether the credentials in a header are too long to be any.
func oversized(h http.Header) bool {
	size := 0
	for _, v := range h[authorizationHeader] {
		size += len(v)
	}
	for _, v := range h[protocolHeader] {
		size += len(v)
	}
	return size > maxCredentials
}

// forget takes the credentials out of a header: neither a handler nor what it
// passes the request on to has a use for them.
func forget(h http.Header) {
	h.Del(authorizationHeader)
	var kept []string
	found := false
	for _, v := range h[protocolHeader] {
		for protocol := range strings.SplitSeq(v, ",") {
			protocol = strings.TrimSpace(protocol)
			if strings.HasPrefix(protocol, bearerProtocol) {
				found = true
				continue
			}
			kept = append(kept, protocol)
		}
	}
	switch {
	case !found:
	case len(kept) == 0:
		h.Del(protocolHeader)
	default:
		h.Set(protocolHeader, strings.Join(kept, ","))
	}
}
