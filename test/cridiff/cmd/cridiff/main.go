package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/cridiff"
	"nodeagent.dev/nodeagent/test/diff"
)

const usage = `cridiff writes down what an agent asks its runtime for, and compares two agents.

On a bed, with an agent of its own (root):
  cridiff --agent kubelet --out kubelet.json [--driver cgroupfs|systemd]
  cridiff --agent nodeagent --out nodeagent.json

On another node: this command is the runtime. Start it, then the agent, whose
containerRuntimeEndpoint is unix://SOCKET; empty the node before the next agent.
  cridiff --agent kubelet --out kubelet.json --socket SOCKET --kubeconfig ADMIN \
          --node NAME --manifests STATICPODPATH [--host FOLDER] [--driver systemd] \
          [--replace TEXT=NAME]...   (the root folder, the node's address ...) \
          [--slowness N] [--memory 700Mi] [--every N --whole PREFIX,PREFIX]

Then:
  cridiff --compare kubelet.json,nodeagent.json

Flags:
`

// flags are the command line.
type flags struct {
	agent, out, driver                        string
	socket, kubeconfig, node, manifests, host string
	compare                                   string
	replace                                   []string
	whole                                     string
	slowness, every                           int
	memory                                    resource.Quantity
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "cridiff:", err)
		}
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func run(ctx context.Context, args []string) error {
	var f flags
	set := flag.NewFlagSet("cridiff", flag.ContinueOnError)
	set.Usage = func() {
		fmt.Fprint(os.Stderr, usage)
		set.PrintDefaults()
	}
	set.StringVar(&f.agent, "agent", "", "nodeagent or kubelet")
	set.StringVar(&f.out, "out", "", "the `file` that takes the result")
	set.StringVar(&f.driver, "driver", "cgroupfs", "the cgroup driver that the runtime names")
	set.StringVar(&f.socket, "socket", "", "be the runtime of an agent started by others, at this `path`")
	set.StringVar(&f.kubeconfig, "kubeconfig", "", "the administrator's kubeconfig `file`")
	set.StringVar(&f.node, "node", "", "the node's `name`")
	set.StringVar(&f.manifests, "manifests", "", "the agent's staticPodPath")
	set.StringVar(&f.host, "host", "/var/lib/cridiff", "a `folder` that hostPath volumes may use")
	set.StringVar(&f.compare, "compare", "", "two results, `KUBELET,NODEAGENT`")
	set.IntVar(&f.slowness, "slowness", 1, "how many times slower than a usual machine the node is")
	set.IntVar(&f.every, "every", 1, "run one in `N` of the pods")
	set.StringVar(&f.whole, "whole", "", "prefixes of the names of pods that all are run, with commas between")
	set.Func("memory", "leave out pods that request more than `AMOUNT` of memory, which the node does not have", func(s string) (err error) {
		f.memory, err = resource.ParseQuantity(s)
		return err //nolint:wrapcheck // flag says what was parsed
	})
	set.Func("replace", "`TEXT=NAME`: what differs between nodes", func(s string) error {
		f.replace = append(f.replace, s)
		return nil
	})
	if err := set.Parse(args); err != nil {
		return err //nolint:wrapcheck // flag has said it already
	}
	if f.compare != "" {
		return compare(f.compare)
	}
	if !slices.Contains([]string{bed.Kubelet, bed.Nodeagent}, f.agent) || f.out == "" {
		set.Usage()
		return errors.New("--agent and --out are needed")
	}
	record := onBed
	if f.socket != "" {
		record = onNode
	}
	result, err := record(ctx, &f)
	if err != nil {
		return err
	}
	for _, missing := range result.Missing {
		fmt.Fprintln(os.Stderr, "cridiff: not made in time:", missing)
	}
	raw, err := json.MarshalIndent(result, "", " ")
	if err != nil {
		return fmt.Errorf("encode the result: %w", err)
	}
	if err := os.WriteFile(f.out, raw, 0o600); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// onBed runs the corpus on a bed of its own.
func onBed(ctx context.Context, f *flags) (result *cridiff.Result, err error) {
	o := cridiff.BedOptions(f.driver)
	o.Output = os.Stderr
	b, err := bed.New(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	target, corpus, done, err := cridiff.OnBed(b, f.driver)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	if err := target.Prepare(ctx, corpus); err != nil {
		return nil, err
	}
	return cridiff.RunOnBed(ctx, b, target, corpus, f.agent)
}

// onNode is the runtime of an agent that somebody else starts.
func onNode(ctx context.Context, f *flags) (result *cridiff.Result, err error) {
	config, err := clientcmd.BuildConfigFromFlags("", f.kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	config.QPS, config.Burst, config.WarningHandlerWithContext = 200, 400, rest.NoWarnings{}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	places := &diff.Normaliser{}
	places.Name(f.node, "$NODE")
	for _, r := range f.replace {
		from, to, ok := strings.Cut(r, "=")
		if !ok {
			return nil, fmt.Errorf("--replace %q: want TEXT=NAME", r)
		}
		if net.ParseIP(from) != nil {
			places.Word(from, to) // not in the middle of another address
			continue
		}
		places.Name(from, to)
	}
	target := &cridiff.Target{
		Client: client, Node: f.node, Manifests: f.manifests, Socket: f.socket, CgroupDriver: f.driver, Places: places,
		Slowness: f.slowness,
	}
	done, err := cridiff.HostFolder(f.host)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	corpus, err := cridiff.Load(map[string]string{"HOST": f.host})
	if err != nil {
		return nil, err
	}
	if f.every > 1 {
		corpus = corpus.Sample(f.every, strings.FieldsFunc(f.whole, func(r rune) bool { return r == ',' })...)
	}
	if !f.memory.IsZero() {
		var large []string
		corpus, large = corpus.Below(f.memory.Value())
		fmt.Fprintf(os.Stderr, "%d pods; left out, as they request more than %s of memory: %s\n", len(corpus.Pods), f.memory.String(), strings.Join(large, " "))
	}
	if err := target.Prepare(ctx, corpus); err != nil {
		return nil, err
	}
	session, err := target.Open(corpus)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	fmt.Fprintf(os.Stderr, "start the agent now; its runtime is unix://%s\n", f.socket)
	if err := target.WaitReady(ctx, time.Second); err != nil {
		return nil, err
	}
	result, err = session.Run(ctx, f.agent)
	fmt.Fprintln(os.Stderr, "stop the agent now; its pods are taken away")
	return result, errors.Join(err, target.Clear(ctx, corpus))
}

// compare tells what differs and fails where it must not.
func compare(files string) error {
	names := strings.Split(files, ",")
	if len(names) != 2 {
		return fmt.Errorf("--compare %q: want KUBELET,NODEAGENT", files)
	}
	var results [2]cridiff.Result
	for i, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("read a result: %w", err)
		}
		if err := json.Unmarshal(raw, &results[i]); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
	}
	list, err := cridiff.Accepted()
	if err != nil {
		return err
	}
	verdict := cridiff.Judge(&results[0], &results[1], list)
	fmt.Print(verdict.Summary())
	pods, stale := verdict.Problems()
	for pod, lines := range pods {
		fmt.Printf("%s differs:\n%s", pod, lines)
	}
	for _, line := range stale {
		fmt.Println(line)
	}
	if len(pods)+len(stale) > 0 {
		return fmt.Errorf("%d pods differ, %d lines are stale", len(pods), len(stale))
	}
	return nil
}
