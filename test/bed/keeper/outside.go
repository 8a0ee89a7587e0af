package keeper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sharedChains are the chains of table nat that the portmap plugin makes once
// for all networks.
func sharedChains() []string {
	return []string{"CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-SETMARK", "CNI-HOSTPORT-MASQ"}
}

// sharedPaths are folders outside the bed that its components make; each is
// removed at the end only when it did not exist before and is empty.
func sharedPaths() []string {
	list := []string{
		"/run/containerd", "/run/netns", "/var/run/nri", "/var/lib/kubelet", "/var/log/containers", "/var/log/pods",
		"/var/lib/cni", "/etc/cni", "/opt/cni", "/opt/containerd", "/usr/libexec/kubernetes",
	}
	hierarchies, _ := cgroupMounts()
	for _, h := range hierarchies {
		list = append(list, filepath.Join(h, "k8s.io"))
	}
	return list
}

// agentFiles are what an agent leaves in the folder fixed for device plugins.
func agentFiles() []string {
	const dir = "/var/lib/kubelet/device-plugins/"
	return []string{dir + "kubelet.sock", dir + "kubelet_internal_checkpoint", dir + "DEPRECATION"}
}

// sharedSysctls are the kernel settings that an agent sets for the machine.
func sharedSysctls() []string {
	return []string{
		"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
		"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
	}
}

// Survey records what exists on the machine before a bed. Beds that run
// already remember what was there before them.
func Survey(ctx context.Context, others []*Spec) Before {
	if len(others) > 0 {
		return others[0].Before
	}
	before := Before{Sysctls: map[string]string{}}
	for _, path := range append(sharedPaths(), agentFiles()...) {
		if _, err := os.Lstat(path); err == nil {
			before.Paths = append(before.Paths, path)
		}
	}
	rules, _ := execute(ctx, "iptables", "-w", "5", "-t", "nat", "-S")
	for _, chain := range sharedChains() {
		if strings.Contains(rules, "-N "+chain+"\n") {
			before.Chains = append(before.Chains, chain)
		}
	}
	for _, name := range sharedSysctls() {
		if value, err := os.ReadFile(filepath.Join("/proc/sys", name)); err == nil {
			before.Sysctls[name] = strings.TrimSpace(string(value))
		}
	}
	return before
}

// removeOutside removes what components made outside the bed's folder. What
// beds share goes with the last of them.
func removeOutside(ctx context.Context, s *Spec, run runner) error {
	var errs []error
	for _, file := range outsideFiles(s) {
		errs = append(errs, os.Remove(file))
	}
	others, _, err := All(filepath.Dir(s.Dir))
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	if slices.ContainsFunc(others, func(o *Spec) bool { return o.Name != s.Name }) {
		return errors.Join(errs...)
	}
	errs = append(errs, removeSharedChains(ctx, s, run))
	for _, path := range agentFiles() {
		if !slices.Contains(s.Before.Paths, path) {
			_ = os.Remove(path)
		}
	}
	for _, path := range sharedPaths() {
		if !slices.Contains(s.Before.Paths, path) {
			removeEmpty(path)
		}
	}
	for name, value := range s.Before.Sysctls {
		path := filepath.Join("/proc/sys", name)
		now, err := os.ReadFile(path)
		if err == nil && strings.TrimSpace(string(now)) != value && slices.Contains(sharedSysctls(), name) {
			errs = append(errs, os.WriteFile(path, []byte(value), 0o644))
		}
	}
	return errors.Join(errs...)
}

// removeEmpty removes a folder and those below it as far as they are empty.
func removeEmpty(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, entry := range entries {
		if entry.IsDir() {
			removeEmpty(filepath.Join(dir, entry.Name()))
		}
	}
	_ = unix.Rmdir(dir)
}

// outsideFiles are what components keep of this bed in folders that are fixed
// for all: links to its logs and the results of its network plugins.
func outsideFiles(s *Spec) []string {
	list, _ := filepath.Glob("/var/lib/cni/results/" + s.Network + "-*")
	for _, id := range containerIDs(s) {
		loopback, _ := filepath.Glob("/var/lib/cni/results/cni-loopback-" + id + "-*")
		list = append(list, loopback...)
	}
	names, _ := filepath.Glob("/var/log/containers/*")
	for _, name := range names {
		if target, err := os.Readlink(name); err == nil && strings.HasPrefix(target, s.Dir+"/") {
			list = append(list, name)
		}
	}
	return list
}

// bedRules are the rules and chains in table nat that belong to the bed's
// network, as "-A CHAIN ..." and "-N CHAIN".
func bedRules(ctx context.Context, s *Spec, run runner) ([]string, error) {
	rules, err := run(ctx, "iptables", "-w", "5", "-t", "nat", "-S")
	if err != nil {
		return nil, fmt.Errorf("list iptables rules: %w", err)
	}
	return selectRules(rules, s.Network), nil
}

func selectRules(rules, network string) []string {
	var list []string
	for line := range strings.Lines(rules) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "-A CNI-HOSTPORT-DNAT ") || !strings.Contains(line, `name: \"`+network+`\"`) {
			continue
		}
		list = append(list, line)
		if _, chain, ok := strings.Cut(line, " -j "); ok && strings.HasPrefix(chain, "CNI-DN-") {
			// A pod with TCP and UDP ports has two rules that lead to one chain.
			if made := "-N " + strings.Fields(chain)[0]; !slices.Contains(list, made) {
				list = append(list, made)
			}
		}
	}
	return list
}

func removeRules(ctx context.Context, s *Spec, run runner) error {
	rules, err := bedRules(ctx, s, run)
	if err != nil || len(rules) == 0 {
		return err
	}
	return restore(ctx, run, undo(rules))
}

// undo turns listed rules and chains into the lines that remove them.
func undo(rules []string) []string {
	var first, last []string
	for _, rule := range rules {
		if chain, ok := strings.CutPrefix(rule, "-N "); ok {
			last = append(last, "-F "+chain, "-X "+chain)
		} else if tail, ok := strings.CutPrefix(rule, "-A "); ok {
			first = append(first, "-D "+tail)
		}
	}
	return append(first, last...)
}

// removeSharedChains removes the plugin's own chains when no network uses
// them any more and they were not there before the first bed.
func removeSharedChains(ctx context.Context, s *Spec, run runner) error {
	rules, err := run(ctx, "iptables", "-w", "5", "-t", "nat", "-S")
	if err != nil {
		return fmt.Errorf("list iptables rules: %w", err)
	}
	if strings.Contains(rules, "-A CNI-HOSTPORT-DNAT ") {
		return nil
	}
	var mine []string
	for line := range strings.Lines(rules) {
		line = strings.TrimSpace(line)
		for _, chain := range sharedChains() {
			if slices.Contains(s.Before.Chains, chain) {
				continue
			}
			if line == "-N "+chain || (strings.HasSuffix(line, " -j "+chain) && strings.HasPrefix(line, "-A ")) {
				mine = append(mine, line)
			}
		}
	}
	if len(mine) == 0 {
		return nil
	}
	return restore(ctx, run, undo(mine))
}

func restore(ctx context.Context, run runner, lines []string) error {
	f, err := os.CreateTemp("", "bed-rules-")
	if err != nil {
		return fmt.Errorf("write iptables changes: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := fmt.Fprintf(f, "*nat\n%s\nCOMMIT\n", strings.Join(lines, "\n")); err != nil {
		return fmt.Errorf("write iptables changes: %w", err)
	}
	if _, err := run(ctx, "iptables-restore", "-w", "5", "--noflush", f.Name()); err != nil {
		return fmt.Errorf("remove the bed's iptables rules: %w", err)
	}
	return nil
}

// execute runs a program in a process that has no reaper of its own.
func execute(ctx context.Context, argv ...string) (string, error) {
	path, err := findTool(argv[0])
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, argv[1:]...)
	cmd.Env = toolEnv()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

const toolPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func toolEnv() []string { return []string{"PATH=" + toolPath, "LC_ALL=C"} }

func findTool(name string) (string, error) {
	for dir := range strings.SplitSeq(toolPath, ":") {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			return path, nil
		}
	}
	return "", fmt.Errorf("program %s is not installed (looked in %s)", name, toolPath)
}
