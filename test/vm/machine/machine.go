package machine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Files in the folder of a running machine.
const (
	consoleFile, monitorFile, controlFile = "console.log", "monitor", "shell"
)

// Without KVM a second of the machine is long, and longer where others work, too.
const (
	bootTimeout   = 10 * time.Minute
	resumeTimeout = 5 * time.Minute
)

// HostAddress is the host as the machine sees it: what listens on the host's
// loopback address answers there.
const HostAddress = "10.0.2.2"

// Options say how a machine runs.
type Options struct {
	// Dir takes the sockets and the console's log; paths of sockets are limited
	// to 108 bytes.
	Dir string
	// Ports of the machine can be reached at the same ports of the host's
	// loopback address.
	Ports []int
}

// Machine is a machine that runs. Close ends it.
type Machine struct {
	image   Image
	options Options
	port    int // of the shell
	process *process
	monitor *monitor
}

// Resume starts a machine in the state in which its image was saved, with the
// time of the host.
func Resume(ctx context.Context, image Image, o Options) (*Machine, error) {
	m, err := start(ctx, image, o, true)
	if err != nil {
		return nil, err
	}
	if err := m.proceed(ctx); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

func (m *Machine) proceed(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, resumeTimeout)
	defer cancel()
	if err := m.monitor.waitStatus(wait, "query-status", "paused"); err != nil {
		return err
	}
	if err := m.monitor.do("cont", nil, nil); err != nil {
		return err
	}
	if err := m.waitShell(ctx, resumeTimeout); err != nil {
		return err
	}
	return m.SetClock(ctx)
}

// start launches QEMU; a machine that resumes is paused when it is loaded.
func start(ctx context.Context, image Image, o Options, resume bool) (*Machine, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	_ = os.Remove(filepath.Join(o.Dir, monitorFile))
	p, err := launch(image, o, port, resume)
	if err != nil {
		return nil, err
	}
	m := &Machine{image: image, options: o, port: port, process: p}
	if m.monitor, err = dialMonitor(ctx, filepath.Join(o.Dir, monitorFile), p); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// save writes the machine's state to a file and ends it.
func (m *Machine) save(ctx context.Context, path string) error {
	m.disconnect()
	if err := m.monitor.do("stop", nil, nil); err != nil {
		return err
	}
	// Named last: a state that is there is whole.
	part := path + ".part"
	if err := m.monitor.do("migrate", map[string]any{"uri": "exec:cat > '" + part + "'"}, nil); err != nil {
		return err
	}
	if err := m.monitor.waitStatus(ctx, "query-migrate", "completed"); err != nil {
		return err
	}
	if err := m.monitor.do("quit", nil, nil); err != nil {
		return err
	}
	<-m.process.ended
	if err := os.Rename(part, path); err != nil {
		return fmt.Errorf("save the machine's state: %w", err)
	}
	return nil
}

// SetClock gives the machine the host's time.
func (m *Machine) SetClock(ctx context.Context) error {
	_, err := m.Run(ctx, fmt.Sprintf("date -s @%.3f >/dev/null", float64(time.Now().UnixMilli())/1000))
	if err != nil {
		return fmt.Errorf("set the machine's clock: %w", err)
	}
	return nil
}

// PID is QEMU's process id.
func (m *Machine) PID() int { return m.process.pid }

// Console is what the machine wrote to its console.
func (m *Machine) Console() string {
	content, _ := os.ReadFile(filepath.Join(m.options.Dir, consoleFile))
	return string(content)
}

// Crash reboots the machine as if its power had failed for a moment, after what
// was written so far has reached the disk, and returns when it can be used again.
func (m *Machine) Crash(ctx context.Context) error {
	before, err := m.Run(ctx, bootID+"; sync")
	if err != nil {
		return fmt.Errorf("prepare the reboot: %w", err)
	}
	// The shell must be told goodbye first: it would wait for the dead machine.
	if _, err := m.Run(ctx, "(sleep 1; sync; echo b > /proc/sysrq-trigger) >/dev/null 2>&1 </dev/null &"); err != nil {
		return fmt.Errorf("reboot the machine: %w", err)
	}
	m.disconnect()
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	for {
		if err := m.waitShell(ctx, bootTimeout); err != nil {
			return fmt.Errorf("wait for the machine to reboot: %w", err)
		}
		if now, err := m.Run(ctx, bootID); err == nil && now != before {
			return m.SetClock(ctx)
		}
		m.disconnect()
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return fmt.Errorf("wait for the machine to reboot: %w", err)
		}
	}
}

const bootID = "cat /proc/sys/kernel/random/boot_id"

// Close ends the machine at once; nothing of it stays but its console's log.
func (m *Machine) Close() error {
	m.disconnect()
	if m.monitor != nil {
		_ = m.monitor.conn.Close()
	}
	m.process.end()
	return nil
}

func freePort(ctx context.Context) (int, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	return strconv.Atoi(port) //nolint:wrapcheck // a port is a number
}
