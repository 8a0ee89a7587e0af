package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const qemu = "qemu-system-x86_64"

// machineArgs describe the machine. A state can only be resumed by the machine
// that it was saved of. The processor is an old one: without KVM, wider vectors
// and deeper page tables cost a third more.
func machineArgs() []string {
	return []string{
		"-nodefaults", "-no-user-config", "-machine", "q35", "-accel", "tcg,thread=multi,tb-size=256", "-cpu", "Westmere",
		"-smp", "2", "-m", "4096", "-display", "none",
		"-append", "root=/dev/vda rw console=ttyS0 net.ifnames=0 mitigations=off tsc=reliable no_timer_check " +
			"random.trust_cpu=on systemd.unified_cgroup_hierarchy=1 hugepages=16 panic=1 quiet",
	}
}

func qemuVersion(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, qemu, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask QEMU for its version: %w", err)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line, nil
}

// process is a running QEMU.
type process struct {
	pid   int
	ended chan struct{} // closed when QEMU has ended
	err   error         // how, once ended is closed
	log   *bytes.Buffer // what QEMU itself said, once ended is closed
}

// niceness is by how much QEMU has to be nicer than this process to leave others
// the processors, and no nicer: at 19 it would be starved.
func niceness() int {
	const wanted = 10
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		return wanted
	}
	return max(wanted-(20-raw), 0)
}

// launch starts QEMU. It ends with this process, however that ends, and takes
// only the processor time that others leave.
func launch(image Image, o Options, shellPort int, resume bool) (*process, error) {
	network := []string{"user,id=n0", fmt.Sprintf("hostfwd=tcp:127.0.0.1:%d-:22", shellPort)}
	for _, port := range o.Ports {
		network = append(network, fmt.Sprintf("hostfwd=tcp:127.0.0.1:%d-:%d", port, port))
	}
	snapshot := "off"
	if resume {
		snapshot = "on" // what is written goes to a file without a name
	}
	args := append([]string{"-n", strconv.Itoa(niceness()), qemu}, machineArgs()...)
	args = append(args, "-kernel", image.path(kernelFile), "-initrd", image.path(initrdFile),
		"-drive", "if=none,id=d0,format=raw,cache=unsafe,snapshot="+snapshot+",file="+image.path(diskFile), "-device", "virtio-blk-pci,drive=d0",
		"-netdev", strings.Join(network, ","), "-device", "virtio-net-pci,netdev=n0", "-device", "virtio-rng-pci",
		"-serial", "file:"+filepath.Join(o.Dir, consoleFile), "-qmp", "unix:"+filepath.Join(o.Dir, monitorFile)+",server=on,wait=off")
	if resume {
		args = append(args, "-incoming", "exec:cat '"+image.path(stateFile)+"'")
	}
	p := &process{ended: make(chan struct{}), log: &bytes.Buffer{}}
	started := make(chan error)
	go func() {
		// The kernel ends QEMU when the thread that started it ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd := exec.Command("nice", args...) //nolint:noctx // ended by end
		cmd.Env = append(os.Environ(), "TMPDIR="+o.Dir)
		cmd.Stdout, cmd.Stderr = p.log, p.log
		// A group of its own: Ctrl-C is for us, we end it in order.
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.pid = cmd.Process.Pid
		started <- nil
		p.err = cmd.Wait()
		close(p.ended)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	return p, nil
}

// end kills QEMU, unless it has ended, and returns when it is gone.
func (p *process) end() {
	select {
	case <-p.ended:
	default:
		_ = syscall.Kill(p.pid, syscall.SIGKILL) // it is not reaped before ended is closed
		<-p.ended
	}
}

// why tells why QEMU has ended, nil while it runs.
func (p *process) why() error {
	select {
	case <-p.ended:
		return errors.Join(fmt.Errorf("QEMU has ended: %s", end(p.log.String(), 1000)), p.err)
	default:
		return nil
	}
}
