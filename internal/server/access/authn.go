package access

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/websocket"
	"k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/token/cache"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
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

// newUsers returns what finds the user of a request: a client certificate, then
// a token, both of which get system:authenticated, then nobody, if anonymous.
// Wrong credentials are an error, also when anonymous. tokens may be nil.
func newUsers(ca dynamiccertificates.CAContentProvider, tokens authenticator.Token, nobody bool) authenticator.Request {
	ways := []authenticator.Request{x509.NewDynamic(ca.VerifyOptions, x509.CommonNameUserConversion)}
	if tokens != nil {
		ways = append(ways, bearertoken.New(tokens), websocket.NewProtocolAuthenticator(tokens))
	}
	known := group.NewAuthenticatedGroupAdder(union.New(ways...))
	if !nobody {
		return known
	}
	return union.NewFailOnError(known, anonymous.NewAuthenticator(nil))
}

// tokens asks the API server whose token it is.
type tokens struct {
	reviews authenticationclient.TokenReviewInterface
}

// newTokens returns tokens behind a cache, which knows them by a keyed hash,
// asks once for callers that come together, and gives up after 30 s.
func newTokens(reviews authenticationclient.TokenReviewInterface, ttl time.Duration) authenticator.Token {
	const cacheErrors = false
	return cache.New(tokens{reviews}, cacheErrors, ttl, ttl)
}

// AuthenticateToken implements authenticator.Token.
func (t tokens) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	asked := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
	var answer *authenticationv1.TokenReview
	err := retry(ctx, func() (err error) {
		answer, err = t.reviews.Create(ctx, asked, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return nil, false, err
	}
	if !answer.Status.Authenticated {
		if text := answer.Status.Error; text != "" {
			return nil, false, errors.New(text)
		}
		return nil, false, nil
	}
	who := answer.Status.User
	extra := make(map[string][]string, len(who.Extra))
	for k, v := range who.Extra {
		extra[k] = v
	}
	return &authenticator.Response{
		User: &user.DefaultInfo{Name: who.Username, UID: who.UID, Groups: who.Groups, Extra: extra},
	}, true, nil
}

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
