package containerspec

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// apiService is the service that every container is told of, from namespace
// default: clients in the cluster find the API server by its variables.
const apiService = "kubernetes"

// serviceVariables are the variables that tell a container of namespace of the
// services: always that of the API server, and with links all of the namespace,
// where one of the API server's name stands in for it. Services without an
// address of their own are left out.
//
// Variables of two services can have the same name (A_SERVICE_PORT is the port
// of "a" and the link of "a-service"). The service whose name sorts first has
// it; with the kubelet this is left to chance.
func serviceVariables(services []*corev1.Service, namespace string, links bool) *variables {
	chosen := map[string]*corev1.Service{}
	for _, s := range services {
		if s.Spec.ClusterIP == "" || s.Spec.ClusterIP == corev1.ClusterIPNone {
			continue
		}
		switch {
		case s.Namespace == corev1.NamespaceDefault && s.Name == apiService:
			if chosen[s.Name] == nil {
				chosen[s.Name] = s
			}
		case s.Namespace == namespace && links:
			chosen[s.Name] = s
		}
	}
	names := make([]string, 0, len(chosen))
	for name := range chosen {
		names = append(names, name)
	}
	slices.Sort(names)
	all := newVariables()
	for _, name := range names {
		describe(chosen[name], func(name, value string) {
			if _, taken := all.values[name]; !taken {
				all.set(name, value)
			}
		})
	}
	return all
}

// describe adds the variables of a service: its host and ports, and for each
// port what Docker's links had.
func describe(s *corev1.Service, add func(name, value string)) {
	ip, prefix := s.Spec.ClusterIP, variableName(s.Name)
	add(prefix+"_SERVICE_HOST", ip)
	for i, port := range s.Spec.Ports {
		number := strconv.Itoa(int(port.Port))
		if i == 0 {
			add(prefix+"_SERVICE_PORT", number)
		}
		if port.Name != "" {
			add(prefix+"_SERVICE_PORT_"+variableName(port.Name), number)
		}
	}
	host := ip
	if strings.Contains(ip, ":") {
		host = "[" + ip + "]"
	}
	for i, port := range s.Spec.Ports {
		protocol, number := string(port.Protocol), strconv.Itoa(int(port.Port))
		if protocol == "" {
			protocol = string(corev1.ProtocolTCP)
		}
		scheme := strings.ToLower(protocol)
		url := scheme + "://" + host + ":" + number
		if i == 0 {
			add(prefix+"_PORT", url)
		}
		link := prefix + "_PORT_" + number + "_" + strings.ToUpper(protocol)
		add(link, url)
		add(link+"_PROTO", scheme)
		add(link+"_PORT", number)
		add(link+"_ADDR", ip)
	}
}

func variableName(s string) string {
	return strings.ToUpper(strings.ReplaceAll(s, "-", "_"))
}
