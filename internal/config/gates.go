package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// stage is the maturity of a feature gate.
type stage int

const (
	stageAlpha stage = iota
	stageBeta
	stageGA
	stageDeprecated
)

// The two gates that set the default of a whole stage.
const (
	allAlpha = "AllAlpha"
	allBeta  = "AllBeta"
)

// gate is one row of gateTable.
type gate struct {
	name    string
	stage   stage
	enabled bool     // default
	locked  bool     // can not be set to anything but the default
	needs   []string // gates that must be on while this one is on
}

func findGate(name string) (gate, bool) {
	i, ok := slices.BinarySearchFunc(gateTable[:], name, func(g gate, n string) int { return cmp.Compare(g.name, n) })
	if !ok {
		return gate{}, false
	}
	return gateTable[i], true
}

// Features answers which feature gates of Kubernetes 1.37 are on. It is resolved once, from
// the defaults, the config file and --feature-gates. The zero value has every default.
type Features struct{ set map[string]bool }

// Enabled reports whether a gate is on. A name that Kubernetes 1.37 does not have is a mistake
// in the program and panics; names given by users are checked by Parse.
func (f Features) Enabled(name string) bool {
	if on, ok := f.set[name]; ok {
		return on
	}
	g, ok := findGate(name)
	if !ok {
		panic(fmt.Sprintf("feature gate %q does not exist in Kubernetes 1.37", name))
	}
	return g.enabled
}

// All returns the state of every gate, for metrics and support output.
func (f Features) All() map[string]bool {
	all := make(map[string]bool, len(gateTable))
	for _, g := range gateTable {
		all[g.name] = f.Enabled(g.name)
	}
	return all
}

// Each calls yield for every gate, with its stage as the metrics of Kubernetes name
// it ("ALPHA", "BETA", "DEPRECATED", and nothing for GA).
func (f Features) Each(yield func(name, stage string, on bool)) {
	for _, g := range gateTable {
		yield(g.name, g.stage.label(), f.Enabled(g.name))
	}
}

func (s stage) label() string {
	switch s {
	case stageAlpha:
		return "ALPHA"
	case stageBeta:
		return "BETA"
	case stageDeprecated:
		return "DEPRECATED"
	case stageGA:
	}
	return ""
}

// mergeGates returns base with the keys of over on top.
func mergeGates(base, over map[string]bool) map[string]bool {
	if len(base) == 0 {
		return over
	}
	merged := maps.Clone(base)
	maps.Copy(merged, over)
	return merged
}

// resolveGates turns the gates that users set into Features. AllAlpha and AllBeta change
// only gates that are not set by name.
func resolveGates(wanted map[string]bool) (Features, Problems) {
	var problems Problems
	set := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if name == allAlpha || name == allBeta {
			continue
		}
		g, known := findGate(name)
		switch {
		case !known:
			problems = append(problems, unknownGate(name))
		case g.locked && wanted[name] != g.enabled:
			problems = append(problems, gateProblem(name, wanted[name],
				fmt.Sprintf("this gate is locked to %t in Kubernetes 1.37", g.enabled), "remove it"))
		default:
			set[name] = wanted[name]
		}
	}
	for _, g := range gateTable {
		group := map[stage]string{stageAlpha: allAlpha, stageBeta: allBeta}[g.stage]
		value, given := wanted[group]
		if _, named := set[g.name]; given && !named && !g.locked {
			set[g.name] = value
		}
	}
	features := Features{set: set}
	if len(problems) == 0 {
		problems = missingNeeds(features, wanted)
	}
	return features, problems
}

// missingNeeds reports gates that are on while a gate they build on is off.
func missingNeeds(features Features, wanted map[string]bool) Problems {
	var problems Problems
	if len(wanted) == 0 {
		return nil
	}
	for _, g := range gateTable {
		if !features.Enabled(g.name) {
			continue
		}
		off := slices.DeleteFunc(slices.Clone(g.needs), features.Enabled)
		if len(off) > 0 {
			problems = append(problems, gateProblem(g.name, true,
				"it is on, but needs gates that are off: "+strings.Join(off, ", "), "turn those on or this one off"))
		}
	}
	return problems
}

func gateProblem(name string, value bool, reason, fix string) Problem {
	return Problem{Field: "featureGates." + name, Flag: "feature-gates", Value: fmt.Sprint(value), Reason: reason, Fix: fix}
}

func unknownGate(name string) Problem {
	names := []string{allAlpha, allBeta}
	for _, g := range gateTable {
		names = append(names, g.name)
	}
	p := Problem{Field: "featureGates." + name, Flag: "feature-gates",
		Reason: "unknown feature gate, Kubernetes 1.37 has no component with it", Fix: "remove it"}
	if near := nearest(name, names); near != "" {
		p.Fix = "did you mean " + near + "?"
	}
	return p
}

// gateWarnings names set gates that will disappear.
func gateWarnings(wanted map[string]bool) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if g, ok := findGate(name); ok && (g.stage == stageGA || g.stage == stageDeprecated) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return []string{"these feature gates are generally available or deprecated and will be removed, stop setting them: " + strings.Join(names, ", ")}
}
