package containerspec

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func service(namespace, name, ip string, ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: ports},
	}
}

func TestServiceVariables(t *testing.T) {
	got := serviceVariables([]*corev1.Service{
		service("shop", "db-main", "fd00::1",
			corev1.ServicePort{Name: "sql-tls", Port: 5432}, corev1.ServicePort{Name: "metrics", Port: 9187, Protocol: corev1.ProtocolUDP}),
		service("shop", "cache", "10.0.0.2", corev1.ServicePort{Port: 6379, Protocol: corev1.ProtocolTCP}),
	}, "shop", true)
	want := [][2]string{
		{"CACHE_SERVICE_HOST", "10.0.0.2"},
		{"CACHE_SERVICE_PORT", "6379"},
		{"CACHE_PORT", "tcp://10.0.0.2:6379"},
		{"CACHE_PORT_6379_TCP", "tcp://10.0.0.2:6379"},
		{"CACHE_PORT_6379_TCP_PROTO", "tcp"},
		{"CACHE_PORT_6379_TCP_PORT", "6379"},
		{"CACHE_PORT_6379_TCP_ADDR", "10.0.0.2"},
		{"DB_MAIN_SERVICE_HOST", "fd00::1"},
		{"DB_MAIN_SERVICE_PORT", "5432"},
		{"DB_MAIN_SERVICE_PORT_SQL_TLS", "5432"},
		{"DB_MAIN_SERVICE_PORT_METRICS", "9187"},
		{"DB_MAIN_PORT", "tcp://[fd00::1]:5432"},
		{"DB_MAIN_PORT_5432_TCP", "tcp://[fd00::1]:5432"},
		{"DB_MAIN_PORT_5432_TCP_PROTO", "tcp"},
		{"DB_MAIN_PORT_5432_TCP_PORT", "5432"},
		{"DB_MAIN_PORT_5432_TCP_ADDR", "fd00::1"},
		{"DB_MAIN_PORT_9187_UDP", "udp://[fd00::1]:9187"},
		{"DB_MAIN_PORT_9187_UDP_PROTO", "udp"},
		{"DB_MAIN_PORT_9187_UDP_PORT", "9187"},
		{"DB_MAIN_PORT_9187_UDP_ADDR", "fd00::1"},
	}
	var have [][2]string
	for _, name := range got.names {
		have = append(have, [2]string{name, got.values[name]})
	}
	if d := cmp.Diff(want, have); d != "" {
		t.Error(d)
	}
}

func TestWhichServicesAContainerIsToldOf(t *testing.T) {
	port := corev1.ServicePort{Port: 1}
	api := service("default", "kubernetes", "10.0.0.1", port)
	all := []*corev1.Service{
		service("shop", "a", "10.0.1.1", port), service("shop", "headless", "None", port), service("shop", "external", ""),
		api, service("default", "b", "10.0.0.2", port), service("other", "c", "10.0.2.1", port),
	}
	own := append(slices.Clone(all), service("shop", "kubernetes", "10.0.1.2", port))
	none := append(slices.Clone(all), service("shop", "kubernetes", "None", port))
	for _, c := range []struct {
		name      string
		services  []*corev1.Service
		namespace string
		links     bool
		want      map[string]string
	}{
		{"no links", all, "shop", false, map[string]string{"KUBERNETES": "10.0.0.1"}},
		{"links", all, "shop", true, map[string]string{"KUBERNETES": "10.0.0.1", "A": "10.0.1.1"}},
		{"in default without links", all, "default", false, map[string]string{"KUBERNETES": "10.0.0.1"}},
		{"in default", all, "default", true, map[string]string{"KUBERNETES": "10.0.0.1", "B": "10.0.0.2"}},
		{"own kubernetes without links", own, "shop", false, map[string]string{"KUBERNETES": "10.0.0.1"}},
		{"own kubernetes", own, "shop", true, map[string]string{"KUBERNETES": "10.0.1.2", "A": "10.0.1.1"}},
		{"own headless kubernetes", none, "shop", true, map[string]string{"KUBERNETES": "10.0.0.1", "A": "10.0.1.1"}},
		{"none", nil, "shop", true, map[string]string{}},
	} {
		for _, backwards := range []bool{false, true} {
			services := slices.Clone(c.services)
			if backwards {
				slices.Reverse(services)
			}
			got := map[string]string{}
			vars := serviceVariables(services, c.namespace, c.links)
			for _, name := range vars.names {
				if host, ok := strings.CutSuffix(name, "_SERVICE_HOST"); ok {
					got[host] = vars.values[name]
				}
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("%s: %s", c.name, d)
			}
		}
	}
}

func TestServicesWithVariablesOfOneName(t *testing.T) {
	a, link := service("n", "a", "10.0.0.1", corev1.ServicePort{Port: 80}), service("n", "a-service", "10.0.0.2", corev1.ServicePort{Port: 81})
	for _, services := range [][]*corev1.Service{{a, link}, {link, a}} {
		got := serviceVariables(services, "n", true)
		if got.values["A_SERVICE_PORT"] != "80" || got.values["A_SERVICE_SERVICE_PORT"] != "81" {
			t.Error(got.values)
		}
	}
}
