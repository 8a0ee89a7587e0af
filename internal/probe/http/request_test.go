package http

import (
	"net/http"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestURL(t *testing.T) {
	t.Parallel()
	c := &corev1.Container{Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 8080}}}
	eighty := intstr.FromInt32(80)
	for want, a := range map[string]corev1.HTTPGetAction{
		"http://10.0.0.1:80":                   {Port: eighty},
		"http://10.0.0.1:80/":                  {Port: eighty, Path: "/", Scheme: corev1.URISchemeHTTP},
		"https://10.0.0.1:8080/a?b=c&d":        {Port: intstr.FromString("web"), Path: "/a?b=c&d", Scheme: corev1.URISchemeHTTPS},
		"http://example.com:80/relative":       {Port: eighty, Path: "relative", Host: "example.com"},
		"http://[fd00::2]:80/":                 {Port: eighty, Path: "/", Host: "fd00::2"},
		"http://10.0.0.1:80/%25zz":             {Port: eighty, Path: "/%zz"},
		"http://10.0.0.1:80/x":                 {Port: eighty, Path: "ftp://elsewhere/x"},
		"http://10.0.0.1:80?only=query":        {Port: eighty, Path: "?only=query"},
		"http://10.0.0.1:80/sp%20ace/%C3%A4":   {Port: eighty, Path: "/sp ace/ä"},
		"http://10.0.0.1:80/quoted%2Fslash%3F": {Port: eighty, Path: "/quoted%2Fslash%3F"},
	} {
		req, err := request(t.Context(), &a, c, "10.0.0.1", agent)
		if err != nil || req.URL.String() != want || req.Method != http.MethodGet {
			t.Errorf("%+v: %v, %v; want GET %s", a, req, err, want)
		}
	}
}

// What arrives, with what the library adds.
func TestHeaders(t *testing.T) {
	t.Parallel()
	var got http.Header
	var host string
	at := serve(t, func(_ http.ResponseWriter, r *http.Request) { got, host = r.Header, r.Host })
	type lines = []corev1.HTTPHeader
	own := "127.0.0.1:" + at("").Port.String()
	for name, c := range map[string]struct {
		in   lines
		want http.Header
		host string
	}{
		"none": {nil, http.Header{"User-Agent": {agent}, "Accept": {"*/*"}}, own},
		"own": {
			lines{{Name: "user-agent", Value: "me"}, {Name: "ACCEPT", Value: "text/html"}, {Name: "x-a", Value: "1"}, {Name: "X-A", Value: "2"}},
			http.Header{"User-Agent": {"me"}, "Accept": {"text/html"}, "X-A": {"1", "2"}}, own,
		},
		"taken away": {lines{{Name: "User-Agent"}, {Name: "Accept"}}, http.Header{}, own},
		"host":       {lines{{Name: "Host", Value: "example.com"}}, http.Header{"User-Agent": {agent}, "Accept": {"*/*"}}, "example.com"},
	} {
		a := at("/")
		a.HTTPHeaders = c.in
		if r := probe(t, a); r != success {
			t.Fatalf("%s: %+v", name, r)
		}
		got.Del("Connection")
		if !reflect.DeepEqual(got, c.want) || host != c.host {
			t.Errorf("%s: %v to %q, want %v to %q", name, got, host, c.want, c.host)
		}
	}
}
