package podresources

import "github.com/prometheus/client_golang/prometheus"

// counts are the kubelet's counters of this API (pkg/kubelet/metrics). Those of
// failed lists never count, since lists do not fail.
type counts struct {
	total, list, allocatable, get            *prometheus.CounterVec
	listErrors, allocatableErrors, getErrors *prometheus.CounterVec
}

func newCounts() counts {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "kubelet", Subsystem: "pod_resources_endpoint", Name: name, Help: help,
		}, []string{"server_api_version"})
	}
	return counts{
		total:             counter("requests_total", "Calls of the podresources API."),
		list:              counter("requests_list", "Calls of the podresources API's List."),
		allocatable:       counter("requests_get_allocatable", "Calls of the podresources API's GetAllocatableResources."),
		get:               counter("requests_get", "Calls of the podresources API's Get."),
		listErrors:        counter("errors_list", "Failed calls of the podresources API's List."),
		allocatableErrors: counter("errors_get_allocatable", "Failed calls of the podresources API's GetAllocatableResources."),
		getErrors:         counter("errors_get", "Failed calls of the podresources API's Get."),
	}
}

func (c counts) all() []prometheus.Collector {
	return []prometheus.Collector{c.total, c.list, c.allocatable, c.get, c.listErrors, c.allocatableErrors, c.getErrors}
}
