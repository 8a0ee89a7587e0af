package config

import (
	"errors"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// ownFlags are those that the kubelet does not have.
var ownFlags = map[string]string{"enable-git-repo-volumes": "bool"}

// TestFlagsGolden compares the flag tables with the flags of the 1.37 kubelet, and our own.
func TestFlagsGolden(t *testing.T) {
	golden, err := os.ReadFile("testdata/flags.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := maps.Clone(ownFlags)
	for line := range strings.Lines(string(golden)) {
		name, kind, _ := strings.Cut(strings.TrimSpace(line), " ")
		want[name] = kind
	}
	fs, err := newFlagSet(&target{kc: legacyDefaults(nil), fl: newFlagValues()})
	if err != nil {
		t.Fatal(err)
	}
	fs.VisitAll(func(f *pflag.Flag) {
		if kind, ok := want[f.Name]; !ok || kind != f.Value.Type() {
			t.Errorf("--%s has type %q, the kubelet has %q", f.Name, f.Value.Type(), kind)
		}
		delete(want, f.Name)
	})
	for name := range want {
		t.Errorf("--%s is missing", name)
	}
}

// TestEveryFlagSetsItsField gives every flag that has a field a new value and looks at the field.
func TestEveryFlagSetsItsField(t *testing.T) {
	sample := map[string]string{
		"duration": "123s", "int32": "7", "int64": "7", "string": "sample", "stringSlice": "a,b",
		"ip": "127.0.0.9", "mapStringString": "a=b", "mapStringBool": "QOSReserved=true", "quantity": "3Ki", "Level": "3",
		"pattern=N,...": "x=2", "colonSeparatedMultimapStringString": "a:b", "[]v1.Taint": "a=b:NoSchedule", "reserved-memory": "0:memory=1Gi",
	}
	for _, def := range allFlags() {
		if def.field == "" {
			continue
		}
		kc := legacyDefaults(nil)
		before := flatten(kc)
		fs, err := newFlagSet(&target{kc: kc, fl: newFlagValues()})
		if err != nil {
			t.Fatal(err)
		}
		f := fs.Lookup(def.name)
		value := sample[f.Value.Type()]
		switch {
		case f.Value.Type() == "bool":
			value = map[string]string{"true": "false", "false": "true"}[f.DefValue]
		case strings.HasPrefix(def.name, "eviction-hard") || def.name == "eviction-soft":
			value = "memory.available<1Gi"
		}
		if err := parseArgs(fs, []string{"--" + strings.ReplaceAll(def.name, "-", "_") + "=" + value}); err != nil {
			t.Errorf("--%s=%s: %v", def.name, value, err)
			continue
		}
		after := flatten(kc)
		for path := range after {
			if (path == def.field) == (after[path] == before[path]) {
				t.Errorf("--%s: field %s is %s, was %s", def.name, path, after[path], before[path])
			}
		}
	}
}

func TestCommandLineErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want []string
	}{
		"close name":  {[]string{"--kubeconfg=/k"}, []string{"command line: --kubeconfg: unknown flag", "did you mean --kubeconfig?"}},
		"all of them": {[]string{"--nonsense-xyzzy", "--v", "2", "--max-podz=3"}, []string{"2 problems", "--nonsense-xyzzy: unknown flag", "did you mean --max-pods?"}},
		"removed":     {[]string{"--storage_driver_host=x"}, []string{"no longer exists", "cAdvisor"}},
		"positional":  {[]string{"--v=2", "run"}, []string{`unknown command "run"`}},
		"bad value":   {[]string{"--max-pods=many"}, []string{"maxPods (--max-pods) = many", "int32", "correct the value"}},
		"bad ip":      {[]string{"--address=localhost"}, []string{"address (--address) = localhost", "not an IP address"}},
		"no value":    {[]string{"--node-ip"}, []string{"--node-ip: a value is missing"}},
		"bad taint":   {[]string{"--register-with-taints=a=b"}, []string{"has no effect", "key=value:effect"}},
		"lock":        {[]string{"--exit-on-lock-contention"}, []string{"set --lock-file"}},
		"cloud":       {[]string{"--cloud-provider=aws"}, []string{"--cloud-provider = aws", "external"}},
	} {
		t.Run(name, func(t *testing.T) { wantText(t, refused(t, machine(nil), tc.args...), tc.want...) })
	}
}

func TestValueOfAFlagIsNotAFlag(t *testing.T) {
	cfg := mustParse(t, nil, "--provider-id", "--max-podz", "-v", "3")
	if cfg.ProviderID != "--max-podz" || cfg.Logging.Verbosity != 3 {
		t.Errorf("provider id %q, verbosity %d", cfg.ProviderID, cfg.Logging.Verbosity)
	}
}

func TestHelp(t *testing.T) {
	_, err := Parse([]string{"-h"}, machine(nil))
	var help HelpRequest
	if !errors.As(err, &help) {
		t.Fatalf("--help gives %v", err)
	}
	for _, def := range allFlags() {
		wantText(t, help.Text, "--"+def.name)
	}
	wantText(t, strings.Join(strings.Fields(help.Text), " "), "Most used:", "(default: true) (with --config: false) [authentication.anonymous.enabled]",
		`(default: "/var/lib/kubelet")`, "deprecated")
	for line := range strings.Lines(help.Text) {
		if len(line) > helpWidth+30 {
			t.Errorf("long line: %s", line)
		}
	}
}

func TestVersion(t *testing.T) {
	for arg, raw := range map[string]bool{"--version": false, "--version=true": false, "--version=raw": true} {
		_, err := Parse([]string{arg}, machine(nil))
		var version VersionRequest
		if !errors.As(err, &version) || version.Raw != raw {
			t.Errorf("%s gives %#v", arg, err)
		}
	}
	mustParse(t, nil, "--version=false")
}

func TestOldFlagsWarn(t *testing.T) {
	cfg := mustParse(t, nil, "--pod-infra-container-image=registry.k8s.io/pause:3.9", "--container-runtime=remote", "--max-pods=50")
	all := strings.Join(cfg.Warnings, "\n")
	wantText(t, all, "--pod-infra-container-image was removed", "--container-runtime was removed", "--max-pods (maxPods)")
	for _, name := range cfg.Inert() {
		if strings.Contains(name, "pod-infra") {
			t.Errorf("%s is reported twice", name)
		}
	}
}

// TestFlagsAreShown: what the command line says, and not what the file does.
func TestFlagsAreShown(t *testing.T) {
	files := map[string]string{"/c.yaml": "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPods: 7\nregistryBurst: 9\n"}
	cfg := mustParse(t, files, "--config=/c.yaml", "--registry-burst=8", "--pod-infra-container-image=old")
	for name, want := range map[string]string{"config": "/c.yaml", "max-pods": "110", "registry-burst": "8", "kubeconfig": ""} {
		if got, ok := cfg.Flags[name]; got != want || !ok {
			t.Errorf("--%s is %q (%v), want %q", name, got, ok, want)
		}
	}
	if got, ok := cfg.Flags["pod-infra-container-image"]; ok {
		t.Errorf("a flag that is gone is %q", got)
	}
}
