package podlogs

import (
	"fmt"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Pods names every pod that has a log directory. What does not look like one is
// passed over.
func (l *Logs) Pods() ([]pod.Ref, error) {
	entries, err := os.ReadDir(l.pods)
	if err != nil {
		return nil, fmt.Errorf("read log directory: %w", err)
	}
	var refs []pod.Ref
	for _, e := range entries {
		part := strings.Split(e.Name(), "_")
		if !e.IsDir() || len(part) != 3 {
			continue
		}
		ref := pod.Ref{Namespace: part[0], Name: part[1], UID: types.UID(part[2])}
		if valid(ref, "") == nil {
			refs = append(refs, ref)
		}
	}
	return refs, nil
}
