package containerspec

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/dump"
)

// Hash is the value of [AnnotationHash]: what of a container's spec cannot
// change while it runs, its name and image. The kubelet hashes the dump of the
// JSON bytes, not the bytes; anything else here would restart every container
// of a node that changes agents.
func Hash(c *corev1.Container) string {
	raw, err := json.Marshal(map[string]string{"name": c.Name, "image": c.Image})
	if err != nil {
		return "" // strings always marshal
	}
	h := fnv.New32a()
	_, _ = fmt.Fprintf(h, "%v", dump.ForHash(raw))
	return strconv.FormatUint(uint64(h.Sum32()), 16)
}
