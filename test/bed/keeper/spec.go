package keeper

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// EnvMark is the environment variable that marks every process of a bed; its
// value is the bed's folder.
const EnvMark = "NODEAGENT_BED_DIR"

// Spec is what a bed makes on the machine and so what has to be removed.
type Spec struct {
	// Name is the bed's name, unique on the machine.
	Name string `json:"name"`
	// Dir holds everything the bed writes.
	Dir string `json:"dir"`
	// Index is the number of the bed's subnet.
	Index int `json:"index"`
	// CgroupRoot is the bed's cgroup in every hierarchy, like /nab-NAME.
	CgroupRoot string `json:"cgroupRoot"`
	// Bridge is the network device that connects the bed's pods.
	Bridge string `json:"bridge"`
	// Gateway is the bridge's address, also the node's.
	Gateway string `json:"gateway"`
	// Subnet is the network of the pods.
	Subnet string `json:"subnet"`
	// Network is the name of the CNI network.
	Network string `json:"network"`
	// Ports are those given to this bed, by use.
	Ports map[string]int `json:"ports"`
	// Info is what the owner wants to find again.
	Info map[string]string `json:"info,omitempty"`
	// Starter is the process that asked for the bed.
	Starter Identity `json:"starter"`
	// Before records what existed on the machine before the bed.
	Before Before `json:"before"`
}

// Before is what existed on the machine before any bed, so that it is left
// alone although a component of the bed uses it too.
type Before struct {
	// Paths are folders outside the bed which its components fill.
	Paths []string `json:"paths,omitempty"`
	// Chains are iptables chains (of table nat) that CNI plugins share.
	Chains []string `json:"chains,omitempty"`
	// Sysctls are kernel settings that an agent may change.
	Sysctls map[string]string `json:"sysctls,omitempty"`
}

// Socket is the path of the keeper's control socket.
func (s *Spec) Socket() string { return filepath.Join(s.Dir, "keeper.sock") }

// LogDir holds one log for each component.
func (s *Spec) LogDir() string { return filepath.Join(s.Dir, "logs") }

// StateDir is containerd's state folder.
func (s *Spec) StateDir() string { return filepath.Join(s.Dir, "state") }

// Save writes the spec where Load finds it.
func (s *Spec) Save() error {
	content, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the description of bed %s: %w", s.Name, err)
	}
	tmp := filepath.Join(s.Dir, ".bed.json")
	if err := os.WriteFile(tmp, content, 0o600); err != nil {
		return fmt.Errorf("write the description of bed %s: %w", s.Name, err)
	}
	if err := os.Rename(tmp, specPath(s.Dir)); err != nil {
		return fmt.Errorf("write the description of bed %s: %w", s.Name, err)
	}
	return nil
}

// Load reads the spec of the bed in dir.
func Load(dir string) (*Spec, error) {
	content, err := os.ReadFile(specPath(dir))
	if err != nil {
		return nil, fmt.Errorf("read the description of the bed in %s: %w", dir, err)
	}
	var s Spec
	if err := json.Unmarshal(content, &s); err != nil {
		return nil, fmt.Errorf("read the description of the bed in %s: %w", dir, err)
	}
	if err := s.validate(dir); err != nil {
		return nil, err
	}
	return &s, nil
}

// validate keeps a damaged description from removing what is not the bed's.
func (s *Spec) validate(dir string) error {
	switch {
	case s.Dir != dir:
		return fmt.Errorf("the description in %s is of a bed in %q", dir, s.Dir)
	case s.Name == "" || s.Network == "":
		return fmt.Errorf("the description in %s names no bed", dir)
	case !strings.HasPrefix(s.CgroupRoot, "/nab-") || strings.Contains(s.CgroupRoot, ".."):
		return fmt.Errorf("the description in %s has a cgroup root %q that is not of a bed", dir, s.CgroupRoot)
	case !strings.HasPrefix(s.Bridge, "nab"):
		return fmt.Errorf("the description in %s has a bridge %q that is not of a bed", dir, s.Bridge)
	}
	return nil
}

func specPath(dir string) string { return filepath.Join(dir, "bed.json") }

// All loads the specs of every bed below base; folders without one (a start
// that was interrupted very early) come back by path only.
func All(base string) (specs []*Spec, bare []string, err error) {
	entries, err := os.ReadDir(base)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("list the beds of this machine: %w", err)
	}
	for _, entry := range entries {
		if !entry.IsDir() || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		dir := filepath.Join(base, entry.Name())
		spec, err := Load(dir)
		if err != nil {
			bare = append(bare, dir)
			continue
		}
		specs = append(specs, spec)
	}
	return specs, bare, nil
}
