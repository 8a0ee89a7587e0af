package config

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/component-base/cli/flag"
	"k8s.io/kubelet/config/v1beta1"
)

// flagGroup is a section of the help text.
type flagGroup int

const (
	groupMain flagGroup = iota
	groupAuth
	groupNode
	groupRuntime
	groupNetwork
	groupEviction
	groupReserved
	groupManagers
	groupTuning
	groupLogging
	groupLegacy
)

// flagDef is one row of the flag tables. A row with a field sets that KubeletConfiguration
// field and is deprecated as a flag, unless keep says that Kubernetes keeps it.
type flagDef struct {
	name  string
	group flagGroup
	field string // path in KubeletConfiguration, "" for a flag without a field
	usage string
	bind  func(t *target) any // a pointer that addFlag knows, or a pflag.Value
	keep  bool                // has a field but is not deprecated
	short string              // one-letter form
}

// deprecated reports whether Kubernetes wants the value in the config file instead.
func (d flagDef) deprecated() bool { return d.field != "" && !d.keep }

// target is what one pass over the command line writes to.
type target struct {
	kc *v1beta1.KubeletConfiguration
	fl *flagValues
}

// flagValues are the flags that no KubeletConfiguration field stands for.
type flagValues struct {
	paths   pathFlags
	node    nodeFlags
	creds   credentialFlags
	lock    lockFlags
	legacy  legacyFlags
	version string
	help    bool
}

type pathFlags struct {
	config, configDir, kubeconfig, bootstrapKubeconfig, rootDir, certDir string
}

type nodeFlags struct {
	hostnameOverride, nodeIP, cloudProvider, runtimeCgroups string
	labels                                                  map[string]string
	seccompDefault, gitRepoVolumes                          bool
}

type credentialFlags struct{ config, binDir string }

type lockFlags struct {
	file             string
	exitOnContention bool
}

type legacyFlags struct {
	minimumContainerTTL       time.Duration
	deadPerContainer          int32
	dead                      int32
	mounterPath               string
	ignoreEviction            bool
	housekeeping              time.Duration
	podInfraImage, runtimeTyp string
}

func newFlagValues() *flagValues {
	return &flagValues{
		paths:   pathFlags{rootDir: defaultRootDir, certDir: defaultCertDir},
		node:    nodeFlags{labels: map[string]string{}},
		legacy:  legacyFlags{deadPerContainer: 1, dead: -1, housekeeping: 10 * time.Second},
		version: "false",
	}
}

// allFlags lists every flag, group after group.
func allFlags() []flagDef {
	var all []flagDef
	for _, table := range [][]flagDef{
		mainFlags, authFlags, nodeTableFlags, runtimeFlags, networkFlags,
		evictionFlags, reservedFlags, managerFlags, tuningFlags, loggingFlags, legacyTableFlags,
	} {
		all = append(all, table...)
	}
	return all
}

// fieldFlags maps a config field path to the flag that sets it.
func fieldFlags() map[string]string {
	names := map[string]string{}
	for _, def := range allFlags() {
		if def.field != "" {
			names[def.field] = def.name
		}
	}
	return names
}

// newFlagSet registers every flag onto t; the current values of t are the defaults.
func newFlagSet(t *target) (*pflag.FlagSet, error) {
	fs := pflag.NewFlagSet("nodeagent", pflag.ContinueOnError)
	fs.SetNormalizeFunc(flag.WordSepNormalizeFunc) // '_' and '-' mean the same
	fs.Usage = func() {}
	fs.SortFlags = false
	for _, def := range allFlags() {
		if err := addFlag(fs, def, def.bind(t)); err != nil {
			return nil, err
		}
	}
	fs.Lookup("version").NoOptDefVal = "true"
	return fs, nil
}

func addFlag(fs *pflag.FlagSet, def flagDef, ref any) error {
	switch p := ref.(type) {
	case *bool:
		fs.BoolVarP(p, def.name, def.short, *p, def.usage)
	case *int32:
		fs.Int32VarP(p, def.name, def.short, *p, def.usage)
	case *int64:
		fs.Int64VarP(p, def.name, def.short, *p, def.usage)
	case *string:
		fs.StringVarP(p, def.name, def.short, *p, def.usage)
	case *time.Duration:
		fs.DurationVarP(p, def.name, def.short, *p, def.usage)
	case *[]string:
		fs.StringSliceVarP(p, def.name, def.short, *p, def.usage)
	case pflag.Value:
		fs.VarP(p, def.name, def.short, def.usage)
	default:
		return fmt.Errorf("flag --%s is bound to %T, which no flag type stands for", def.name, ref)
	}
	return nil
}
