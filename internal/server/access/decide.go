package access

import (
	"net/url"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// verb returns what Kubernetes calls an HTTP method; "" for a method that it has
// no name for, which only a rule for all verbs allows.
// https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/
func verb(method string) string {
	switch method {
	case "GET":
		return "get"
	case "POST":
		return "create"
	case "PUT":
		return "update"
	case "PATCH":
		return "patch"
	case "DELETE":
		return "delete"
	}
	return ""
}

// subresources returns what of the node a path is about, to be tried in order:
// any that is allowed is enough. The path is in its escaped form
// (url.URL.EscapedPath).
// https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/
func subresources(escapedPath string) []string {
	switch firstSegment(escapedPath) {
	case "allocatedPods", "pods", "runningpods":
		return []string{"pods", "proxy"}
	case "healthz":
		return []string{"healthz", "proxy"}
	case "configz":
		return []string{"configz", "proxy"}
	case "stats":
		return []string{"stats"}
	case "metrics":
		return []string{"metrics"}
	case "logs":
		return []string{"log"}
	case "checkpoint":
		return []string{"checkpoint"}
	case "statusz":
		return []string{"statusz"}
	case "flagz":
		return []string{"configz"}
	}
	return []string{"proxy"}
}

// firstSegment returns what a mux compares with the first segment of its
// patterns: an escaped slash does not end it.
func firstSegment(escapedPath string) string {
	rest, ok := strings.CutPrefix(escapedPath, "/")
	if !ok {
		return ""
	}
	segment, _, _ := strings.Cut(rest, "/")
	plain, err := url.PathUnescape(segment)
	if err != nil {
		return ""
	}
	return plain
}

// asked is a request in the words of Kubernetes authorization, once for each
// subresource to try.
func asked(node string, who user.Info, method string, u *url.URL) []authorizer.AttributesRecord {
	var all []authorizer.AttributesRecord
	for _, sub := range subresources(u.EscapedPath()) {
		all = append(all, authorizer.AttributesRecord{
			User: who, Verb: verb(method), APIVersion: "v1", Resource: "nodes", Subresource: sub, Name: node,
			ResourceRequest: true, Path: u.Path,
		})
	}
	return all
}
