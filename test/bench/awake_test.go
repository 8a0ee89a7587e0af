//go:build e2e

package bench

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// stayAwake keeps the processors from going idle until the test has ended, by loops that
// everything else goes before. The host of a virtual machine gives away a processor that
// goes idle, and how long it takes to come back is what others do there: measured at
// times, half of what somebody waits for.
func stayAwake(t *testing.T) {
	t.Helper()
	group, err := idleGroup()
	if err != nil {
		t.Logf("processors go idle, which the host of a virtual machine may use: %v", err)
		return
	}
	t.Cleanup(func() {
		if err := os.Remove(group); err != nil {
			t.Errorf("remove the cgroup of what keeps the processors awake: %v", err)
		}
	})
	for cpu := range runtime.NumCPU() {
		must(t, "keeping a processor awake", keepAwake(t, group, cpu))
	}
}

// keepAwake starts a loop on one processor. It ends with this process, whatever ends it.
func keepAwake(t *testing.T, group string, cpu int) error {
	t.Helper()
	loop := exec.Command("sh", "-c", "while kill -0 "+strconv.Itoa(os.Getpid())+"; do :; done") //nolint:noctx // ends with the test
	if err := loop.Start(); err != nil {
		return err
	}
	t.Cleanup(func() {
		_ = loop.Process.Kill()
		_ = loop.Wait()
	})
	pid := loop.Process.Pid
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
		return err
	}
	var only unix.CPUSet
	only.Set(cpu)
	return errors.Join(unix.SchedSetaffinity(pid, &only),
		unix.SchedSetAttr(pid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0))
}

// idleGroup makes a cgroup whose processes run when nobody else wants to.
func idleGroup() (string, error) {
	tried := errors.New("no cgroups of processors")
	for _, root := range []string{"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup"} {
		group := filepath.Join(root, "nodeagent-bench-awake-"+strconv.Itoa(os.Getpid()))
		err := os.Mkdir(group, 0o755)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(group, "cpu.idle"), []byte("1"), 0)
		}
		if err == nil {
			return group, nil
		}
		tried = fmt.Errorf("make a cgroup for what runs when nobody else wants to: %w", err)
		_ = os.Remove(group)
	}
	return "", tried
}
