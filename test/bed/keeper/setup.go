package keeper

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// setup makes what components expect on the machine: the bridge with the
// node's address, the cgroup root, and mounts that propagate.
func setup(s *Spec) error {
	if err := setupBridge(s); err != nil {
		return err
	}
	if err := setupCgroups(s); err != nil {
		return err
	}
	// Bidirectional mount propagation needs a shared mount below the agent.
	agent := s.Info["rootDir"]
	if agent == "" {
		return nil
	}
	if err := os.MkdirAll(agent, 0o750); err != nil {
		return fmt.Errorf("create the agent's folder: %w", err)
	}
	if err := unix.Mount(agent, agent, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind mount %s on itself: %w", agent, err)
	}
	if err := unix.Mount("", agent, "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make mounts below %s shared: %w", agent, err)
	}
	return nil
}

func setupBridge(s *Spec) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = s.Bridge
	bridge := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(bridge); err != nil {
		return fmt.Errorf("create the network bridge %s (the kernel needs bridge support, and this needs root): %w", s.Bridge, err)
	}
	_, subnet, err := net.ParseCIDR(s.Subnet)
	if err != nil {
		return fmt.Errorf("parse the bed's subnet: %w", err)
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(s.Gateway), Mask: subnet.Mask}}
	if err := netlink.AddrAdd(bridge, addr); err != nil {
		return fmt.Errorf("give bridge %s the address %s: %w", s.Bridge, addr, err)
	}
	if err := netlink.LinkSetUp(bridge); err != nil {
		return fmt.Errorf("set bridge %s up: %w", s.Bridge, err)
	}
	// Pods reach each other's host ports through the bridge; forwarding is
	// switched on for this device only, never for the machine.
	forwarding := filepath.Join("/proc/sys/net/ipv4/conf", s.Bridge, "forwarding")
	if err := os.WriteFile(forwarding, []byte("1"), 0o644); err != nil {
		return fmt.Errorf("let bridge %s forward: %w", s.Bridge, err)
	}
	return nil
}

func setupCgroups(s *Spec) error {
	mounts, err := cgroupMounts()
	if err != nil {
		return err
	}
	for _, m := range mounts {
		dir := filepath.Join(m, s.CgroupRoot)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("create the bed's cgroup: %w", err)
		}
		// A new cpuset of cgroup v1 is empty and takes no process.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if _, err := os.Stat(filepath.Join(dir, "cpuset.effective_cpus")); err != nil {
				break
			}
			value, err := os.ReadFile(filepath.Join(m, file))
			if err != nil {
				return fmt.Errorf("read the machine's %s: %w", file, err)
			}
			if err := os.WriteFile(filepath.Join(dir, file), value, 0o644); err != nil {
				return fmt.Errorf("set %s of the bed's cgroup: %w", file, err)
			}
		}
	}
	return nil
}

// mountEntry is one line of mountinfo.
type mountEntry struct{ point, kind string }

func mounts() ([]mountEntry, error) {
	content, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	return parseMounts(string(content)), nil
}

func parseMounts(content string) []mountEntry {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var list []mountEntry
	for line := range strings.Lines(content) {
		left, right, ok := strings.Cut(line, " - ")
		fields, kind := strings.Fields(left), strings.Fields(right)
		if !ok || len(fields) < 5 || len(kind) < 1 {
			continue
		}
		list = append(list, mountEntry{point: unescape.Replace(fields[4]), kind: kind[0]})
	}
	return list
}

// cgroupMounts lists the roots of all cgroup hierarchies.
func cgroupMounts() ([]string, error) {
	all, err := mounts()
	if err != nil {
		return nil, err
	}
	var list []string
	for _, m := range all {
		if m.kind == "cgroup" || m.kind == "cgroup2" {
			list = append(list, m.point)
		}
	}
	return list, nil
}
