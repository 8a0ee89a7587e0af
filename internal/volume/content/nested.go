package content

import (
	"fmt"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// mountPoints are the directories that have to be in a volume because containers of
// the pod mount other volumes there: a runtime cannot make them in what it mounts
// read-only. What lies in another one of them is left out, it is in that volume.
func mountPoints(p *corev1.Pod, volume string) ([]string, error) {
	var points []string
	for _, c := range pod.Containers(p) {
		for i := range c.VolumeMounts {
			if c.VolumeMounts[i].Name != volume {
				continue
			}
			at := path.Clean(c.VolumeMounts[i].MountPath)
			if strings.HasPrefix(at, "../") {
				return nil, fmt.Errorf("invalid container mount point %v", at)
			}
			points = append(points, nestedIn(at, c.VolumeMounts)...)
		}
	}
	for _, point := range points {
		if strings.HasPrefix(point, "..") {
			return nil, fmt.Errorf("unable to create nested volume mountpoints: %q: names that begin with '..' are the volume's own", point)
		}
	}
	return points, nil
}

// nestedIn returns the mounts below a path, relative to it, without those that are
// below one of them.
func nestedIn(at string, mounts []corev1.VolumeMount) []string {
	var found []string
	below := strings.TrimSuffix(at, "/") + "/"
	for i := range mounts {
		if inner, is := strings.CutPrefix(path.Clean(mounts[i].MountPath), below); is && inner != "" {
			found = append(found, inner)
		}
	}
	var nearest []string
	for _, inner := range found {
		deeper := false
		for _, other := range found {
			deeper = deeper || strings.HasPrefix(inner, other+"/")
		}
		if !deeper {
			nearest = append(nearest, inner)
		}
	}
	return nearest
}
