package pod

import corev1 "k8s.io/api/core/v1"

func QOS(p *corev1.Pod) corev1.PodQOSClass { return corev1.PodQOSBestEffort }
