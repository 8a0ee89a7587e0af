package agent

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/podlogs/rotate"
)

// newRotator returns what rotates the logs of running containers.
func (p *parts) newRotator() (*rotate.Rotator, error) {
	logs := p.cfg.Logs
	return rotate.New(rotate.Config{
		PodsDir: p.cfg.PodLogsDir, MaxSize: logs.MaxSize, MaxFiles: logs.MaxFiles, Workers: logs.MaxWorkers, MonitorInterval: logs.MonitorInterval,
	}, rotate.Deps{Runtime: p.runtime, Readers: p.logs, Log: p.log.Named("logs")})
}

// rotates tells the rotator which containers of a pod run, and then others what they
// want to hear; others may be nil.
func (p *parts) rotates(r *rotate.Rotator, others func(types.UID)) func(types.UID) {
	return func(uid types.UID) {
		var running []string
		if v := p.View(uid); v != nil {
			running = runningIDs(&v.Status)
		}
		r.Follow(uid, running)
		if others != nil {
			others(uid)
		}
	}
}

// runningIDs are the runtime's IDs of the containers that run.
func runningIDs(status *corev1.PodStatus) (ids []string) {
	for _, list := range [][]corev1.ContainerStatus{status.InitContainerStatuses, status.ContainerStatuses, status.EphemeralContainerStatuses} {
		for i := range list {
			if _, id, ok := strings.Cut(list[i].ContainerID, "://"); ok && list[i].State.Running != nil {
				ids = append(ids, id)
			}
		}
	}
	return ids
}
