package bed

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"nodeagent.dev/nodeagent/test/bed/keeper"
)

const (
	subnets   = 64
	firstPort = 20000
	ports     = 10000
)

// Base is the folder of all beds of this machine.
func Base() string {
	if base := os.Getenv(BaseEnv); base != "" {
		return filepath.Clean(base)
	}
	return "/tmp/nab"
}

// prepareBase makes the folder of all beds; in a public place it must be ours.
func prepareBase() (string, error) {
	base := Base()
	if err := os.Mkdir(base, 0o711); err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("create the folder of beds (set %s to put it elsewhere): %w", BaseEnv, err)
	}
	info, err := os.Lstat(base)
	if err != nil {
		return "", fmt.Errorf("look at the folder of beds: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || int(stat.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return "", fmt.Errorf("the folder of beds %s belongs to or is writable by somebody else; remove it or set %s", base, BaseEnv)
	}
	return base, nil
}

// allocate makes the folder of a new bed and decides on everything of it that
// must not be that of another bed.
func allocate(ctx context.Context, o Options) (*keeper.Spec, error) {
	base, err := prepareBase()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(base, o.Name)
	if err := clearOld(ctx, dir); err != nil {
		return nil, err
	}
	if err := clearAbandoned(ctx, base); err != nil {
		return nil, err
	}
	unlock, err := keeper.LockBase(ctx, base)
	if err != nil {
		return nil, err
	}
	defer unlock()
	others, _, err := keeper.All(base)
	if err != nil {
		return nil, err
	}
	index, err := freeIndex(others)
	if err != nil {
		return nil, err
	}
	chosen, err := freePorts(ctx, others, "etcd", "etcd-peer", "apiserver", "controller-manager", "scheduler", "kubelet", "healthz", "registry")
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o711); err != nil {
		return nil, fmt.Errorf("create the bed's folder (is another start of bed %s under way?): %w", o.Name, err)
	}
	s := &keeper.Spec{
		Name: o.Name, Dir: dir, Index: index, Ports: chosen,
		CgroupRoot: "/nab-" + o.Name, Bridge: fmt.Sprintf("nab%d", index), Network: "nab_" + o.Name + "_net",
		Gateway: subnetAddress(index, 1), Subnet: subnetAddress(index, 0) + "/22",
		Before: keeper.Survey(ctx, others), Starter: keeper.Self(),
		Info: map[string]string{
			"agent": o.Agent, "nodeName": o.NodeName, "rootDir": filepath.Join(dir, "agent"),
			"standalone": fmt.Sprint(o.Standalone), "temporary": fmt.Sprint(o.temporary),
		},
	}
	return s, s.Save()
}

// clearOld removes what a bed of the same name left, unless it is alive.
func clearOld(ctx context.Context, dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if s, err := keeper.Load(dir); err == nil && keeper.NewClient(s).Alive(ctx) {
		return fmt.Errorf("bed %s is up already: use it, stop it with `bed down --name %s`, or take another name", s.Name, s.Name)
	}
	left, err := keeper.Clean(ctx, dir)
	if err != nil {
		return fmt.Errorf("clean up after an earlier bed: %w", err)
	}
	if len(left) > 0 {
		return fmt.Errorf("clean up after an earlier bed in %s: these stay: %v", dir, left)
	}
	return nil
}

// clearAbandoned removes beds of tests that ended so suddenly that not even
// their keeper could tidy up. Named beds wait for whoever named them.
func clearAbandoned(ctx context.Context, base string) error {
	others, _, err := keeper.All(base)
	if err != nil {
		return err
	}
	for _, s := range others {
		if s.Info["temporary"] != "true" || s.Starter.Alive() || keeper.NewClient(s).Alive(ctx) {
			continue
		}
		if _, err := keeper.Clean(ctx, s.Dir); err != nil {
			return fmt.Errorf("clean up after an abandoned bed: %w", err)
		}
	}
	return nil
}

func subnetAddress(index, host int) string { return fmt.Sprintf("10.213.%d.%d", index*4, host) }

func freeIndex(others []*keeper.Spec) (int, error) {
	used := map[int]bool{}
	for _, o := range others {
		used[o.Index] = true
	}
	devices, err := net.Interfaces()
	if err != nil {
		return 0, fmt.Errorf("list network devices: %w", err)
	}
	for _, d := range devices {
		var index int
		if n, _ := fmt.Sscanf(d.Name, "nab%d", &index); n == 1 {
			used[index] = true
		}
	}
	start := rand.IntN(subnets)
	for i := range subnets {
		if index := (start + i) % subnets; !used[index] {
			return index, nil
		}
	}
	return 0, fmt.Errorf("all %d subnets for beds are in use: stop some with `bed down --all`", subnets)
}

// freePorts takes ports below those the kernel gives to outgoing connections,
// so that they stay free until the components listen.
func freePorts(ctx context.Context, others []*keeper.Spec, uses ...string) (map[string]int, error) {
	used := map[int]bool{}
	for _, o := range others {
		for _, p := range o.Ports {
			used[p] = true
		}
	}
	chosen := map[string]int{}
	for _, use := range uses {
		for try := 0; chosen[use] == 0; try++ {
			if try > 1000 {
				return nil, fmt.Errorf("no free port for %s between %d and %d", use, firstPort, firstPort+ports-1)
			}
			port := firstPort + rand.IntN(ports)
			if !used[port] && canListen(ctx, port) {
				used[port], chosen[use] = true, port
			}
		}
	}
	return chosen, nil
}

func canListen(ctx context.Context, port int) bool {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
