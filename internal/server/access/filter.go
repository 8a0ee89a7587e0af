package access

import (
	"context"
	"fmt"
	"net/http"

	"go.uber.org/zap"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/request"
)

// Filter calls next for requests that are allowed, with the user in the context
// (request.UserFrom) and without the credentials. Others are answered with the
// kubelet's codes and texts, which people and scripts look for:
//
//	401 Unauthorized
//	403 Forbidden (user=U, verb=V, resource=nodes, subresource(s)=[S ...])
//	500 Authorization error (user=U, verb=V, resource=nodes, subresource=S)
//
// next has to be the mux, or what leaves the URL as it is.
func (a *Access) Filter(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := a.authenticate(r)
		if who == nil {
			refuse(w, http.StatusUnauthorized, "Unauthorized")
			return
		}
		if code, text := a.authorize(r, who); code != http.StatusOK {
			refuse(w, code, text)
			return
		}
		forget(r.Header)
		next.ServeHTTP(w, r.WithContext(request.WithUser(r.Context(), who)))
	})
}

// authenticate returns the user of a request, nil when it has none. The log
// never gets a header.
func (a *Access) authenticate(r *http.Request) user.Info {
	if oversized(r.Header) {
		a.guests().Warn("refused a request whose credentials are longer than any token",
			zap.String("client", r.RemoteAddr), zap.Int("maxBytes", maxCredentials))
		return nil
	}
	found, ok, err := a.users.AuthenticateRequest(r)
	switch {
	case err != nil:
		a.guests().Warn("refused a request that could not be authenticated", zap.String("client", r.RemoteAddr), zap.Error(err))
		return nil
	case !ok:
		return nil
	}
	return found.User
}

// authorize returns 200, or the code and the text of the refusal.
func (a *Access) authorize(r *http.Request, who user.Info) (code int, text string) {
	ctx, cancel := context.WithTimeout(r.Context(), reviewTimeout)
	defer cancel()
	var tried, reasons []string
	all := asked(a.node, who, r.Method, r.URL)
	for _, what := range all {
		tried = append(tried, what.Subresource)
		// No part of the question; but the library does not remember the answer
		// when a path is long, and the caller chooses it.
		what.Path = ""
		decision, reason, err := a.review.Authorize(ctx, what)
		if err != nil {
			a.guests().Error("a request could not be authorized", zap.String("client", r.RemoteAddr),
				zap.String("user", who.GetName()), zap.String("verb", what.Verb),
				zap.String("subresource", what.Subresource), zap.Error(err))
			return http.StatusInternalServerError, fmt.Sprintf("Authorization error (user=%s, verb=%s, resource=%s, subresource=%s)",
				who.GetName(), what.Verb, what.Resource, what.Subresource)
		}
		if decision == authorizer.DecisionAllow {
			return http.StatusOK, ""
		}
		reasons = append(reasons, reason)
	}
	a.guests().Debug("refused a request that its user may not make", zap.String("client", r.RemoteAddr),
		zap.String("user", who.GetName()), zap.String("verb", all[0].Verb), zap.Strings("subresources", tried),
		zap.Strings("reasons", reasons))
	return http.StatusForbidden, fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=%s, subresource(s)=%v)\n",
		who.GetName(), all[0].Verb, all[0].Resource, tried)
}

// refuse writes an answer that browsers do not take for anything but text: user
// names are in it.
func refuse(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text))
}
