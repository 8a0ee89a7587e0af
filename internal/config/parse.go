package config

import (
	"fmt"
	"slices"

	"github.com/spf13/pflag"
	"k8s.io/kubelet/config/v1beta1"
)

// HelpRequest is returned by Parse as an error when --help is given. Main prints Text to
// standard output and exits with 0.
type HelpRequest struct{ Text string }

// Error makes HelpRequest an error.
func (HelpRequest) Error() string { return "help requested" }

// VersionRequest is returned by Parse as an error when --version is given. Main prints the
// version to standard output and exits with 0.
type VersionRequest struct{ Raw bool } // Raw: all build details (--version=raw)

// Error makes VersionRequest an error.
func (VersionRequest) Error() string { return "version requested" }

// Parse turns the command line (without the program name) and the files it names into one
// checked configuration. The order of precedence is defaults, --config, --config-dir, flags.
// The error is HelpRequest, VersionRequest, Problems, or an unexpected failure.
func Parse(args []string, env Environment) (*Config, error) {
	first := &target{kc: legacyDefaults(nil), fl: newFlagValues()}
	fs, err := newFlagSet(first)
	if err != nil {
		return nil, err
	}
	if err := parseArgs(fs, args); err != nil {
		return nil, err
	}
	values := flagValuesOf(fs)
	switch {
	case first.fl.help:
		return nil, help()
	case first.fl.version == "true" || first.fl.version == "raw":
		return nil, VersionRequest{Raw: first.fl.version == "raw"}
	}
	fl := absolutePaths(first.fl, env)
	flagGates := first.kc.FeatureGates
	kc, base := first.kc, legacyDefaults(flagGates)
	if fl.paths.config != "" || fl.paths.configDir != "" {
		if kc, base, err = fromFiles(fl.paths, env, flagGates); err != nil {
			return nil, err
		}
		if err := overlayFlags(kc, args); err != nil {
			return nil, err
		}
	}
	features, problems := resolveGates(kc.FeatureGates)
	problems = append(problems, validate(kc, fl, features, env)...)
	cfg, more := build(kc, fl, features, env)
	if err := append(problems, more...).asError(); err != nil {
		return nil, err
	}
	cfg.inert = inert(kc, base, fs)
	cfg.Flags = values
	cfg.Warnings = append(startWarnings(fs, fl, kc), cfg.Warnings...)
	return cfg, nil
}

// flagValuesOf returns all flags with their values, but those that are only there to be told
// that they are gone.
func flagValuesOf(fs *pflag.FlagSet) map[string]string {
	values := map[string]string{}
	fs.VisitAll(func(f *pflag.Flag) {
		if !slices.Contains(reportedFlags, f.Name) {
			values[f.Name] = f.Value.String()
		}
	})
	return values
}

func help() error {
	var sets [2]*pflag.FlagSet
	for i, kc := range []*v1beta1.KubeletConfiguration{legacyDefaults(nil), fileDefaults(nil)} {
		fs, err := newFlagSet(&target{kc: kc, fl: newFlagValues()})
		if err != nil {
			return err
		}
		sets[i] = fs
	}
	return HelpRequest{Text: helpText(sets[0], sets[1])}
}

func absolutePaths(fl *flagValues, env Environment) *flagValues {
	for _, p := range []*string{
		&fl.paths.config, &fl.paths.configDir, &fl.paths.kubeconfig, &fl.paths.bootstrapKubeconfig,
		&fl.paths.rootDir, &fl.paths.certDir,
	} {
		*p = env.abs(*p)
	}
	return fl
}

// fromFiles returns the configuration of the files and the defaults it started from.
func fromFiles(paths pathFlags, env Environment, flagGates map[string]bool) (kc, base *v1beta1.KubeletConfiguration, err error) {
	kc, base = legacyDefaults(flagGates), legacyDefaults(flagGates)
	if paths.config != "" {
		base = fileDefaults(flagGates)
		if kc, err = loadFile(env, paths.config, flagGates); err != nil {
			return nil, nil, err
		}
	}
	if paths.configDir != "" {
		if kc, err = mergeDropIns(env, kc, paths.configDir, flagGates); err != nil {
			return nil, nil, err
		}
	}
	return kc, base, nil
}

// overlayFlags parses args once more, now onto the values of the files. Maps given as flags
// replace those of the files, except feature gates, which are merged by name.
func overlayFlags(kc *v1beta1.KubeletConfiguration, args []string) error {
	fileGates := kc.FeatureGates
	fs, err := newFlagSet(&target{kc: kc, fl: newFlagValues()})
	if err != nil {
		return err
	}
	if err := parseArgs(fs, args); err != nil {
		return fmt.Errorf("apply flags over the config file: %w", err)
	}
	kc.FeatureGates = mergeGates(fileGates, kc.FeatureGates)
	return nil
}

func startWarnings(fs *pflag.FlagSet, fl *flagValues, kc *v1beta1.KubeletConfiguration) []string {
	warnings := cmdlineWarnings(fs)
	if fl.paths.config == "" {
		warnings = append(warnings, "started without --config: the kubelet's flag-only defaults apply (anonymous requests and AlwaysAllow authorization unless set otherwise, read-only port 10255, no hard eviction); use a config file")
	}
	if fl.paths.kubeconfig == "" && fl.paths.bootstrapKubeconfig != "" {
		warnings = append(warnings, "--bootstrap-kubeconfig has no effect without --kubeconfig; the agent runs static pods only")
	}
	return append(warnings, gateWarnings(kc.FeatureGates)...)
}
