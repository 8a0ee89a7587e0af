package containerspec

import (
	"path/filepath"
	"strconv"

	"k8s.io/apimachinery/pkg/types"
)

// LogDirectory is where a pod's logs live: <root>/<namespace>_<name>_<uid>.
// Log shippers read the pod off this path.
func LogDirectory(root, namespace, name string, uid types.UID) string {
	if root == "" {
		return ""
	}
	return filepath.Join(root, namespace+"_"+name+"_"+string(uid))
}

// LogPath is a container instance's log below the pod's log directory:
// <container>/<attempt>.log.
func LogPath(container string, attempt int) string {
	return filepath.Join(container, strconv.Itoa(attempt)+".log")
}
