package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// removedFlags had a meaning in older kubelets; the value says what to do now.
var removedFlags = map[string]string{
	"cloud-config":                      "remove it, in-tree cloud providers are gone",
	"network-plugin":                    "remove it, the container runtime sets up pod networks",
	"cni-bin-dir":                       "remove it and configure the container runtime instead",
	"cni-conf-dir":                      "remove it and configure the container runtime instead",
	"docker-endpoint":                   "use --container-runtime-endpoint",
	"image-pull-progress-deadline":      "remove it",
	"non-masquerade-cidr":               "remove it",
	"keep-terminated-pod-volumes":       "remove it",
	"master-service-namespace":          "remove it",
	"node-status-report-frequency":      "set nodeStatusReportFrequency in the config file",
	"dynamic-config-dir":                "remove it, use --config",
	"experimental-bootstrap-kubeconfig": "use --bootstrap-kubeconfig",
	"iptables-masquerade-bit":           "set iptablesMasqueradeBit in the config file",
	"iptables-drop-bit":                 "set iptablesDropBit in the config file",
	"log-dir":                           "remove it and redirect the output",
	"log-file":                          "remove it and redirect the output",
	"logtostderr":                       "remove it, logs always go to stderr or stdout",
	"alsologtostderr":                   "remove it, logs always go to stderr or stdout",
	"stderrthreshold":                   "remove it",
	"add-dir-header":                    "remove it",
	"application-metrics-count-limit":   removedCadvisor,
	"boot-id-file":                      removedCadvisor,
	"container-hints":                   removedCadvisor,
	"containerd":                        removedCadvisor,
	"containerd-namespace":              removedCadvisor,
	"enable-load-reader":                removedCadvisor,
	"event-storage-age-limit":           removedCadvisor,
	"event-storage-event-limit":         removedCadvisor,
	"global-housekeeping-interval":      removedCadvisor,
	"log-cadvisor-usage":                removedCadvisor,
	"machine-id-file":                   removedCadvisor,
	"storage-driver-user":               removedCadvisor,
	"storage-driver-password":           removedCadvisor,
	"storage-driver-host":               removedCadvisor,
	"storage-driver-db":                 removedCadvisor,
	"storage-driver-table":              removedCadvisor,
	"storage-driver-secure":             removedCadvisor,
	"storage-driver-buffer-duration":    removedCadvisor,
}

const removedCadvisor = "remove it, it went with cAdvisor's flags in Kubernetes 1.37"

// parseArgs applies args to fs. Every unknown flag is reported, not only the first.
func parseArgs(fs *pflag.FlagSet, args []string) error {
	if problems := unknownFlags(fs, args); len(problems) > 0 {
		return problems
	}
	if err := fs.Parse(args); err != nil {
		return flagError(fs, err)
	}
	if rest := fs.Args(); len(rest) > 0 {
		return fmt.Errorf("unknown command %q: only flags are accepted here; see nodeagent --help", rest[0])
	}
	return nil
}

// unknownFlags walks args as pflag does: a flag without '=' takes the next argument, unless
// it is one that may stand alone.
func unknownFlags(fs *pflag.FlagSet, args []string) Problems {
	var found Problems
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			break
		}
		name, isLong := strings.CutPrefix(arg, "--")
		if !isLong || name == "" {
			if len(arg) == 2 && arg[0] == '-' && arg[1] == 'v' {
				i++
			}
			continue
		}
		name, _, hasValue := strings.Cut(name, "=")
		known := fs.Lookup(name)
		switch {
		case known == nil:
			found = append(found, unknownFlag(fs, name))
		case !hasValue && known.NoOptDefVal == "":
			i++
		}
	}
	return found
}

func unknownFlag(fs *pflag.FlagSet, name string) Problem {
	p := Problem{Source: commandLine, Flag: name, Reason: "unknown flag", Fix: "remove it, or see nodeagent --help for the known flags"}
	normal := strings.ReplaceAll(name, "_", "-")
	if todo, gone := removedFlags[normal]; gone {
		p.Reason, p.Fix = "this flag no longer exists", todo
		return p
	}
	var names []string
	fs.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if near := nearest(normal, names); near != "" {
		p.Fix = "did you mean --" + near + "?"
	}
	return p
}

// flagError names the flag, the value, what is allowed and what to do.
func flagError(fs *pflag.FlagSet, err error) error {
	p := Problem{Source: commandLine, Reason: err.Error(), Fix: "see nodeagent --help"}
	var invalid *pflag.InvalidValueError
	var missing *pflag.ValueRequiredError
	var syntax *pflag.InvalidSyntaxError
	var unknown *pflag.NotExistError
	switch {
	case errors.As(err, &invalid):
		f := invalid.GetFlag()
		p.Flag, p.Field, p.Value = f.Name, fieldOf(f.Name), invalid.GetValue()
		p.Reason = fmt.Sprintf("not a valid value of type %s (%v)", f.Value.Type(), errors.Unwrap(invalid))
		p.Fix = "correct the value; " + fs.Lookup(f.Name).Usage
	case errors.As(err, &missing):
		p.Flag, p.Reason, p.Fix = missing.GetFlag().Name, "a value is missing", "write --"+missing.GetFlag().Name+"=VALUE"
	case errors.As(err, &unknown):
		p.Reason = fmt.Sprintf("unknown flag -%s", unknown.GetSpecifiedName())
	case errors.As(err, &syntax):
		p.Reason = fmt.Sprintf("%q is not a flag", syntax.GetSpecifiedFlag())
	}
	return Problems{p}
}

func fieldOf(name string) string {
	all := allFlags()
	if i := slices.IndexFunc(all, func(d flagDef) bool { return d.name == name }); i >= 0 {
		return all[i].field
	}
	return ""
}

// cmdlineWarnings tells which given flags should move or go.
func cmdlineWarnings(fs *pflag.FlagSet) []string {
	var moved, warnings []string
	for _, def := range allFlags() {
		if !fs.Changed(def.name) {
			continue
		}
		if def.deprecated() {
			moved = append(moved, fmt.Sprintf("--%s (%s)", def.name, def.field))
		}
		switch {
		case def.name == "pod-infra-container-image" || def.name == "container-runtime":
			warnings = append(warnings, fmt.Sprintf("--%s was removed from Kubernetes and is ignored; remove it from the command line (often in /var/lib/kubelet/kubeadm-flags.env)", def.name))
		case def.group == groupLegacy && def.name != "housekeeping-interval":
			warnings = append(warnings, fmt.Sprintf("--%s is deprecated without a replacement field; remove it from the command line", def.name))
		}
	}
	if len(moved) > 0 {
		warnings = append(warnings, "these flags are deprecated, set the field in brackets in the --config file instead: "+strings.Join(moved, ", "))
	}
	return warnings
}
