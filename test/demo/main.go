package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"nodeagent.dev/nodeagent/test/bed"
)

const usage = `demo runs the pods of deploy/demo on this machine with containerd and nodeagent,
without a cluster. It needs root.

Usage:
  demo up [flags]    start it, or show it when it runs already
  demo down          stop it; nothing of it is left

Flags:
  --name N           the bed's name (default "demo")
  --manifests DIR    run the pods of these manifests instead (up)
  --timeout D        how long the pods may take to become ready (up; default 2m)
`

// settings are what the flags say.
type settings struct {
	name      string
	manifests string
	timeout   time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "demo:", err)
		}
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		fmt.Print(usage)
		return flag.ErrHelp
	}
	var s settings
	set := flag.NewFlagSet("demo "+args[0], flag.ContinueOnError)
	set.Usage = func() { fmt.Fprint(set.Output(), usage) }
	set.StringVar(&s.name, "name", "demo", "")
	set.StringVar(&s.manifests, "manifests", "", "")
	set.DurationVar(&s.timeout, "timeout", 2*time.Minute, "")
	if err := set.Parse(args[1:]); err != nil {
		return fmt.Errorf("%w (see demo --help)", err)
	}
	if set.NArg() > 0 {
		return fmt.Errorf("do not know what to do with %q; see demo --help", set.Args())
	}
	switch args[0] {
	case "help", "-h", "--help":
		fmt.Print(usage)
		return nil
	case "up", "down":
	default:
		return fmt.Errorf("there is no command %q; see demo --help", args[0])
	}
	if os.Geteuid() != 0 {
		return errors.New("the demo needs root, since containers need mounts, cgroups and network devices; " +
			"run it as root or with sudo, in a virtual machine if you like (make demo-down takes everything away again)")
	}
	if args[0] == "down" {
		return down(ctx, s)
	}
	return up(ctx, s)
}

func down(ctx context.Context, s settings) error {
	if err := bed.Down(ctx, s.name); err != nil {
		return fmt.Errorf("stop the demo: %w", err)
	}
	fmt.Println("the demo is down, nothing of it is left")
	return nil
}
