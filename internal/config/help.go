package config

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// helpWidth is the column at which help text wraps, in characters.
const helpWidth = 100

var groupTitles = [...]string{
	groupMain:     "Most used",
	groupAuth:     "Server, authentication and certificates",
	groupNode:     "Node and API server",
	groupRuntime:  "Container runtime, images, cgroups and logs",
	groupNetwork:  "DNS, network and remote static pods",
	groupEviction: "Eviction and image clean-up",
	groupReserved: "Reserved resources",
	groupManagers: "CPU, memory and topology managers",
	groupTuning:   "Tuning",
	groupLogging:  "Logging",
	groupLegacy:   "Old flags, accepted for compatibility",
}

const helpHead = `nodeagent runs the pods of one Kubernetes node. It takes the kubelet's flags and config file.

Usage:
  nodeagent [flags]

The order of precedence is: defaults, the --config file, the --config-dir files, flags.
A flag followed by [field] sets that field of the --config file. Such flags are deprecated:
they work, but the value belongs in the file. In names '_' and '-' mean the same.
Defaults are those of a start without --config; (with --config: ...) is the default otherwise.
`

// helpText describes every flag of fs, group after group, with its default.
func helpText(fs *pflag.FlagSet, fileDefaults *pflag.FlagSet) string {
	var b strings.Builder
	b.WriteString(helpHead)
	last := flagGroup(-1)
	for _, def := range allFlags() {
		if def.group != last {
			last = def.group
			fmt.Fprintf(&b, "\n%s:\n", groupTitles[last])
		}
		writeFlag(&b, def, fs.Lookup(def.name), fileDefaults.Lookup(def.name).DefValue)
	}
	return b.String()
}

func writeFlag(b *strings.Builder, def flagDef, f *pflag.Flag, fileDefault string) {
	head := "  --" + def.name
	if def.short != "" {
		head = "  -" + def.short + ", --" + def.name
	}
	if f.Value.Type() != "bool" {
		head += " " + f.Value.Type()
	}
	text := def.usage + " " + showDefault(f.Value.Type(), f.DefValue)
	if fileDefault != f.DefValue {
		text += " (with --config: " + fileDefault + ")"
	}
	if def.deprecated() {
		text += " [" + def.field + "]"
	}
	b.WriteString(head + "\n")
	line := "      "
	for word := range strings.FieldsSeq(text) {
		if len(line)+len(word) > helpWidth && strings.TrimSpace(line) != "" {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line = "      "
		}
		line += word + " "
	}
	b.WriteString(strings.TrimRight(line, " ") + "\n")
}

func showDefault(kind, value string) string {
	switch {
	case value == "" || value == "[]":
		return "(default: none)"
	case kind == "string" || kind == "ip":
		return fmt.Sprintf("(default: %q)", value)
	default:
		return "(default: " + value + ")"
	}
}
