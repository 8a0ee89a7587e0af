package statsdiff

import (
	"regexp"
	"strings"

	"nodeagent.dev/nodeagent/test/diff"
)

// What is random and no normaliser knows.
var (
	accountVolume = regexp.MustCompile(`kube-api-access-[a-z0-9]{5}\b`)
	bridge        = regexp.MustCompile(`^(nab|veth)[0-9a-f]+$`)
)

// Places replaces what is special about a run: the bed's places, identities of
// pods, containers and sandboxes.
type Places struct {
	names *diff.Normaliser
	base  string
}

// NewPlaces knows the identities that names has been told. Below the folder base
// are the beds of the machine, of which others may run.
func NewPlaces(names *diff.Normaliser, base string) *Places {
	return &Places{names: names, base: base}
}

// Text replaces in one text.
func (p *Places) Text(s string) string {
	if bridge.MatchString(s) {
		return "$BRIDGE" // any bed's: this one's is always there
	}
	return accountVolume.ReplaceAllString(p.names.Text(s), "kube-api-access-$$RANDOM")
}

// Skip says which rows are about other beds or chance: what happened to be mounted
// when the agent started, as root file systems of containers are, and how many
// containers were seen between their creation and their start.
func (p *Places) Skip(family string, labels map[string]string) bool {
	return family == "kubelet_running_containers" && labels["container_state"] == "created" ||
		strings.HasPrefix(labels["device"], p.base+"/") || strings.HasPrefix(labels["device"], "overlay_")
}
