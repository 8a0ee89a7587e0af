package containerspec

import (
	"fmt"

	"nodeagent.dev/nodeagent/internal/pod"
)

// The reasons of what cannot be built (kubelet: container/sync_result.go,
// kuberuntime_container.go).
const (
	reasonSandbox = "CreatePodSandboxError"
)

// configFailure says that the runtime was not even asked: the spec cannot be
// turned into a container here and now.
func configFailure(format string, args ...any) error {
	return &pod.Failure{Reason: pod.ReasonContainerConfig, Message: fmt.Sprintf(format, args...)}
}

func sandboxFailure(format string, args ...any) error {
	return &pod.Failure{Reason: reasonSandbox, Message: fmt.Sprintf(format, args...)}
}
