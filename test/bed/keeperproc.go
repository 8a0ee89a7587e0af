package bed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"nodeagent.dev/nodeagent/test/bed/keeper"
)

// startKeeper starts the process that owns the bed. It ends when the pipe
// whose other end is held here closes, however this process ends.
func (b *Bed) startKeeper(ctx context.Context) error {
	log, err := os.OpenFile(b.logPath("keeper"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the keeper's log: %w", err)
	}
	defer log.Close()
	holdRead, holdWrite, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe to the keeper: %w", err)
	}
	defer holdRead.Close()
	readyRead, readyWrite, err := os.Pipe()
	if err != nil {
		return errors.Join(fmt.Errorf("make a pipe from the keeper: %w", err), holdWrite.Close())
	}
	defer readyRead.Close()
	// The keeper outlives ctx: it must end by the pipe, never halfway.
	cmd := exec.Command(b.programs.bed, "keeper", b.Dir) //nolint:noctx // our own program
	cmd.Env = append(b.environment(), keeper.EnvMark+"="+b.Dir)
	cmd.Dir = filepath.Dir(b.Dir)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{holdRead, readyWrite}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	_ = readyWrite.Close()
	if err != nil {
		return errors.Join(fmt.Errorf("start the keeper %s: %w", b.programs.bed, err), holdWrite.Close())
	}
	b.hold, b.ended = holdWrite, make(chan struct{})
	go func() {
		defer close(b.ended)
		_ = cmd.Wait()
	}()
	stop := context.AfterFunc(ctx, func() { _ = readyRead.SetReadDeadline(time.Now()) })
	defer stop()
	line, err := bufio.NewReader(readyRead).ReadString('\n')
	if line = strings.TrimSpace(line); line != "ok" {
		return fmt.Errorf("the keeper did not start: %s: %w; its log:\n%s", line, errors.Join(err, ctx.Err()), tail(b.Component("keeper").Log(), 10))
	}
	return nil
}
