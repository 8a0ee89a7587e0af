package conformance

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"nodeagent.dev/nodeagent/test/bed"
)

// endGrace is how long ginkgo may take to end after an interrupt.
const endGrace = 30 * time.Second

// ginkgo runs tests. That some fail is no error; that there is no report is.
func (s Suite) ginkgo(ctx context.Context, b *bed.Bed, programs map[string]string, run invocation) ([]Result, error) {
	log, err := os.Create(filepath.Join(s.Out, run.name+".log"))
	if err != nil {
		return nil, fmt.Errorf("create the log of the tests: %w", err)
	}
	defer log.Close()
	fmt.Fprintf(s.Progress, "running upstream's tests (%s), %d at a time; everything they say is in %s\n", run.name, run.procs, log.Name())
	exit := s.execute(ctx, b, programs["ginkgo"], s.arguments(b, programs["e2e.test"], run), log)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("the tests were interrupted: %w", ctx.Err())
	}
	report := filepath.Join(s.Out, run.name+".json")
	if _, err := os.Stat(report); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("ginkgo wrote no report (%w); see %s", errors.Join(exit, err), log.Name())
	}
	return ReadReport(report)
}

// execute runs ginkgo until it ends or ctx does.
func (s Suite) execute(ctx context.Context, b *bed.Bed, program string, args []string, log io.Writer) error {
	tmp := filepath.Join(b.Dir, "tmp")
	// Its processes are a group, so that they end together; and they end with us.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command(program, args...) //nolint:noctx // ended by end, as a group
	cmd.Env = []string{
		"PATH=" + b.BinDir + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + tmp, "TMPDIR=" + tmp, "LC_ALL=C.UTF-8",
	}
	cmd.Dir = tmp
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGINT}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("make a pipe from ginkgo: %w", err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start ginkgo: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { end(cmd.Process.Pid) })
	defer stop()
	progress(io.TeeReader(out, log), s.Progress)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("run ginkgo: %w", err)
	}
	return nil
}

// end ends a group of processes, at first politely.
func end(group int) {
	if syscall.Kill(-group, syscall.SIGINT) != nil {
		return
	}
	for wait := time.Duration(0); wait < endGrace; wait += 100 * time.Millisecond {
		time.Sleep(100 * time.Millisecond)
		if syscall.Kill(-group, 0) != nil {
			return
		}
	}
	_ = syscall.Kill(-group, syscall.SIGKILL)
}

var (
	willRun  = regexp.MustCompile(`^Will run (\d+) of \d+ specs`)
	finished = regexp.MustCompile(`^(•|S|P)(?: \[([A-Z !-]+)\])? \[(\d+\.\d)\d* seconds\]`)
	labels   = regexp.MustCompile(` \[[^\[\]]*\]$`)
	node     = regexp.MustCompile(`\[(?:It|[A-Za-z]*(?:Before|After)Each|DeferCleanup \(Each\))\] `) // where it failed
)

// progress reads what ginkgo says and writes a line for every finished test.
func progress(from io.Reader, to io.Writer) {
	lines := bufio.NewReader(from)
	total, done := "?", 0
	var last []string
	for {
		line, err := lines.ReadString('\n')
		line = strings.TrimRight(line, "\r\n")
		if last != nil && line != "" {
			done++
			word := map[string]string{"•": "PASS", "S": "SKIP", "P": "SKIP"}[last[1]]
			if last[1] == "•" && last[2] != "" {
				word = "FAIL"
			}
			name := node.ReplaceAllString(labels.ReplaceAllString(line, ""), "")
			fmt.Fprintf(to, "%3d/%s %s %6ss  %s\n", done, total, word, last[3], name)
			last = nil
		}
		if m := willRun.FindStringSubmatch(line); m != nil {
			total = m[1]
		}
		if m := finished.FindStringSubmatch(line); m != nil {
			last = m
		}
		if err != nil {
			return
		}
	}
}
