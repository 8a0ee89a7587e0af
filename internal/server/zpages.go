package server

import (
	"net/http"

	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/server/flagz"
	"k8s.io/apiserver/pkg/server/statusz"
	"k8s.io/component-base/compatibility"
)

// component is the name under which these pages are known.
const component = "kubelet"

// zPages adds the pages about the program itself.
// https://kubernetes.io/docs/reference/instrumentation/zpages/
func (s *Server) zPages(mux *http.ServeMux) {
	h := s.cfg.Handlers
	if h.Flagz {
		flagz.Install(mux, component, flags(s.from.Flags))
	}
	if h.Statusz {
		statusz.Install(mux, component, statusz.NewRegistry(effective(s.cfg.Version), statusz.WithListedPaths(s.listed())))
	}
}

// flags are the values of flags by name.
type flags map[string]string

// GetFlagz implements flagz.Reader.
func (f flags) GetFlagz() map[string]string { return f }

// listed are the paths that the kubelet names on its page: not those of pods.
func (s *Server) listed() []string {
	paths := []string{"/configz", "/debug", "/healthz", "/metrics"}
	if s.cfg.Handlers.Flagz {
		paths = append(paths, "/flagz")
	}
	if !s.cfg.Handlers.SystemLogs {
		paths = append(paths, "/logs")
	}
	return paths
}

// effective is the version of Kubernetes that a version of ours stands for; nil
// leaves it to the libraries.
func effective(text string) compatibility.EffectiveVersion {
	v, err := version.ParseSemantic(text)
	if err != nil {
		return nil
	}
	return compatibility.NewEffectiveVersionFromString(v.String(), "", "")
}
