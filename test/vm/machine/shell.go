package machine

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// shellTry bounds one try to log in.
const shellTry = 30 * time.Second

// sshArgs are the options of every call. The first makes a connection that the
// later ones use: an exchange of keys takes a second in the machine.
func (m *Machine) sshArgs() []string {
	return []string{
		"-F", "none", "-i", m.image.path(keyFile), "-p", strconv.Itoa(m.port), "-S", filepath.Join(m.options.Dir, controlFile),
		"-o", "ControlMaster=auto", "-o", "ControlPersist=yes", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes",
		"-o", "ConnectTimeout=25", "-o", "ServerAliveInterval=20", "-o", "ServerAliveCountMax=9", "root@127.0.0.1",
	}
}

// Run runs a script in the machine and returns what it wrote to its output.
func (m *Machine) Run(ctx context.Context, script string) (string, error) {
	return m.run(ctx, script, nil)
}

func (m *Machine) run(ctx context.Context, script string, stdin io.Reader) (string, error) {
	cmd := exec.CommandContext(ctx, "ssh", append(m.sshArgs(), script)...)
	// Files, not pipes: the shared connection's process keeps them open.
	out, err := os.CreateTemp(m.options.Dir, "out-")
	if err != nil {
		return "", fmt.Errorf("run a command in the machine: %w", err)
	}
	defer os.Remove(out.Name())
	defer out.Close()
	said, err := os.CreateTemp(m.options.Dir, "err-")
	if err != nil {
		return "", fmt.Errorf("run a command in the machine: %w", err)
	}
	defer os.Remove(said.Name())
	defer said.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, out, said
	err = cmd.Run()
	output, readErr := os.ReadFile(out.Name())
	text := strings.TrimRight(string(output), "\n")
	if err == nil && readErr == nil {
		return text, nil
	}
	why, _ := os.ReadFile(said.Name())
	return text, fmt.Errorf("in the machine: %s: %w: %s", firstLine(script), errors.Join(err, readErr, m.process.why()), end(string(why)+"\n"+text, 2000))
}

func firstLine(script string) string {
	line, more, _ := strings.Cut(strings.TrimSpace(script), "\n")
	if more != "" {
		line += " ..."
	}
	return line
}

// File is one to be put into the machine.
type File struct {
	// Path is where it goes, absolute.
	Path string
	// Content is what is in it, unless From names a file of the host.
	Content, From string
	// Mode is its rights.
	Mode int64
}

// Put writes files into the machine.
func (m *Machine) Put(ctx context.Context, files ...File) error {
	archive, err := os.CreateTemp(m.options.Dir, "put-")
	if err != nil {
		return fmt.Errorf("put files into the machine: %w", err)
	}
	defer os.Remove(archive.Name())
	defer archive.Close()
	w := tar.NewWriter(archive)
	for _, f := range files {
		content := []byte(f.Content)
		if f.From != "" {
			if content, err = os.ReadFile(f.From); err != nil {
				return fmt.Errorf("put %s into the machine: %w", f.Path, err)
			}
		}
		header := &tar.Header{Name: strings.TrimPrefix(f.Path, "/"), Mode: f.Mode, Size: int64(len(content)), ModTime: time.Now()}
		if err := w.WriteHeader(header); err != nil {
			return fmt.Errorf("put %s into the machine: %w", f.Path, err)
		}
		if _, err := io.Copy(w, bytes.NewReader(content)); err != nil {
			return fmt.Errorf("put %s into the machine: %w", f.Path, err)
		}
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("put files into the machine: %w", err)
	}
	if _, err := archive.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("put files into the machine: %w", err)
	}
	// Unlinked first, so that a program that runs can be replaced.
	if _, err := m.run(ctx, "tar --unlink-first --no-same-owner -x -C /", archive); err != nil {
		return fmt.Errorf("put files into the machine: %w", err)
	}
	return nil
}

// waitShell returns when commands can be run.
func (m *Machine) waitShell(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		try, stop := context.WithTimeout(ctx, shellTry)
		_, err := m.Run(try, "true")
		stop()
		if err == nil {
			return nil
		}
		if why := m.process.why(); why != nil {
			return why
		}
		if waitErr := pause(ctx, 200*time.Millisecond); waitErr != nil {
			return fmt.Errorf("log into the machine: %w; the end of its console:\n%s", errors.Join(waitErr, err), end(m.Console(), 1500))
		}
	}
}

// disconnect ends the shared connection; the next command makes another.
func (m *Machine) disconnect() {
	if _, err := os.Stat(filepath.Join(m.options.Dir, controlFile)); err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), shellTry)
	defer cancel()
	_ = exec.CommandContext(ctx, "ssh", append([]string{"-O", "exit"}, m.sshArgs()...)...).Run()
}

// ShellCommand is what people type to log in.
func (m *Machine) ShellCommand() string { return "ssh " + strings.Join(m.sshArgs(), " ") }
