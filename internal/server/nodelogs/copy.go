package nodelogs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"time"
)

const (
	// limit ends whatever a query has begun (kubelet: the same).
	limit = 30 * time.Second
	// journal is looked for in PATH.
	journal = "journalctl"
	// maxUnit is the longest line of the journal's list of units that is read, in
	// bytes; systemd's names have 255 at most.
	maxUnit = 4096
)

// Files opens files below the log directory. The name is of the kind that fs.FS
// takes.
type Files func(name string) (fs.File, error)

// Copy writes what the services of the query have logged. What goes wrong is
// told in the text, since the answer has begun.
func (q *Query) Copy(ctx context.Context, w io.Writer, files Files) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	units := knownUnits(ctx, q.Services)
	var inJournal, inFiles []string
	for _, name := range q.Services {
		if units[name] {
			inJournal = append(inJournal, name)
		} else {
			inFiles = append(inFiles, name)
		}
	}
	if len(inJournal) > 0 {
		q.copyJournal(ctx, w, inJournal)
	}
	switch {
	case len(inFiles) > 0 && q.given():
		say(w, "\noptions present and query resolved to log files for %v\ntry without specifying options\n", inFiles)
	case len(inFiles) > 0 && ctx.Err() != nil:
		say(w, "\ncontext error: %v\n", ctx.Err())
	default:
		for _, name := range inFiles {
			copyFiles(ctx, w, files, name)
		}
	}
}

func say(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }

// knownUnits returns which of the services the journal has heard of. Like the
// kubelet's it also finds the end of a unit's name.
func knownUnits(ctx context.Context, names []string) map[string]bool {
	known := map[string]bool{}
	var found map[string]bool
	err := run(ctx, []string{"--field", "_SYSTEMD_UNIT"}, func(out io.Reader) {
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, maxUnit)
		for lines.Scan() {
			for _, name := range names {
				if bytes.Contains(lines.Bytes(), []byte(name+".service")) {
					known[name] = true
				}
			}
		}
		found = known
	})
	if err != nil {
		return nil // no journal, or a broken one: then there may be files
	}
	return found
}

func (q *Query) copyJournal(ctx context.Context, w io.Writer, services []string) {
	err := run(ctx, q.arguments(services), func(out io.Reader) { _, _ = io.Copy(w, out) })
	var ended *exec.ExitError
	// What journalctl itself has to say is in its output.
	if err != nil && !errors.As(err, &ended) && (q.boot == nil || *q.boot == 0) {
		say(w, "\nerror: journal output not available\n")
	}
}

// run starts journalctl and lets read have its output and its complaints. Both
// end with ctx, and journalctl when it writes to nobody.
func run(ctx context.Context, args []string, read func(io.Reader)) error {
	out, in, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("making a pipe for %s: %w", journal, err)
	}
	defer out.Close()
	cmd := exec.CommandContext(ctx, journal, args...)
	cmd.Stdout, cmd.Stderr = in, in
	// With a child that it may have, which would keep the pipe open.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err = cmd.Start()
	_ = in.Close()
	if err != nil {
		return fmt.Errorf("starting %s: %w", journal, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = out.Close() })
	defer stop()
	read(out)
	_ = out.Close() // journalctl ends when nobody reads on
	return cmd.Wait()
}

// copyFiles writes the first there is of the files that a service may log to.
func copyFiles(ctx context.Context, w io.Writer, files Files, service string) {
	for _, name := range []string{service, service + ".log", service + "/" + service + ".log"} {
		err := copyFile(ctx, w, files, name)
		switch {
		case err == nil:
			return
		case !errors.Is(err, fs.ErrNotExist):
			say(w, "\nerror getting log for %s: %v\n", service, err)
			return
		}
	}
	say(w, "\nlog not found for %s\n", service)
}

func copyFile(ctx context.Context, w io.Writer, files Files, name string) error {
	f, err := files(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("looking at a log: %w", err)
	}
	if info.IsDir() {
		return fs.ErrNotExist
	}
	_, err = io.Copy(w, reader(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return f.Read(p)
	}))
	return err
}

// reader is a function as an io.Reader.
type reader func([]byte) (int, error)

// Read implements io.Reader.
func (r reader) Read(p []byte) (int, error) { return r(p) }
