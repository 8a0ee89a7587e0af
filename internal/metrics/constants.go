package metrics

// constants shows the families whose figures are known beforehand, as they are for
// a kubelet with the default policies: dashboards and alerts that ask for them find
// what is true here too.
func constants(f factory) {
	for name, help := range map[string]string{
		"kubelet_cpu_manager_pinning_requests_total":         "Containers that asked for CPUs of their own; they get none here.",
		"kubelet_cpu_manager_pinning_errors_total":           "Containers that could not get CPUs of their own.",
		"kubelet_memory_manager_pinning_requests_total":      "Containers that asked for NUMA nodes of their own; they get none here.",
		"kubelet_memory_manager_pinning_errors_total":        "Containers that could not get NUMA nodes of their own.",
		"kubelet_topology_manager_admission_errors_total":    "Pods that were refused for want of aligned resources.",
		"kubelet_pleg_discard_events":                        "Events of the runtime that were dropped: none is.",
		"reconstruct_volume_operations_total":                "Volumes that had to be rebuilt after a start: the disk is asked each time.",
		"reconstruct_volume_operations_errors_total":         "Volumes that could not be rebuilt after a start.",
		"force_cleaned_failed_volume_operations_total":       "Volumes that were taken away by force after a start.",
		"force_cleaned_failed_volume_operation_errors_total": "Volumes that could not be taken away by force.",
	} {
		f.counter(name, help)
	}
	for name, help := range map[string]string{
		"kubelet_cpu_manager_shared_pool_size_millicores":           "CPUs that pods share, in thousandths, where some have CPUs of their own.",
		"kubelet_cpu_manager_exclusive_cpu_allocation_count":        "CPUs that containers have for themselves.",
		"kubelet_mirror_pods":                                       "Static pods that have an object at the API server.",
		"kubelet_graceful_shutdown_start_time_seconds":              "When the last graceful shutdown began, in Unix seconds.",
		"kubelet_graceful_shutdown_end_time_seconds":                "When the last graceful shutdown ended, in Unix seconds.",
		"kubelet_orphan_pod_cleaned_volumes":                        "Orphans whose volumes were taken away by a sweep: each is taken away by its worker.",
		"kubelet_orphan_pod_cleaned_volumes_errors":                 "Orphans whose volumes could not be taken away by a sweep.",
		"kubelet_imagemanager_inmemory_pulledrecords_usage_percent": "How full the cache of pulled images is: there is none.",
		"kubelet_imagemanager_inmemory_pullintents_usage_percent":   "How full the cache of begun pulls is: there is none.",
	} {
		f.gauge(name, help)
	}
	restarted := f.counters("kubelet_restarted_pods_total", "Pods that came again with the same UID: they are new pods here.", "static")
	restarted.WithLabelValues("")
	restarted.WithLabelValues("true")
	f.gauges("dra_resource_claims_in_use", "Resource claims in use on the node, by driver.", "driver_name").WithLabelValues("<any>")
}
