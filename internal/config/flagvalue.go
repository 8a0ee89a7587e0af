package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/kubelet/config/v1beta1"
)

// stringerValue is a string flag over a named string type.
type stringerValue v1beta1.KubeletAuthorizationMode

func (v *stringerValue) Set(s string) error { *v = stringerValue(s); return nil }
func (v *stringerValue) String() string     { return string(*v) }
func (*stringerValue) Type() string         { return "string" }

// ipValue is one IP address; the empty string leaves the value as it is.
type ipValue struct{ s *string }

func (v *ipValue) Set(s string) error {
	if s == "" {
		return nil
	}
	if _, err := netip.ParseAddr(s); err != nil {
		return fmt.Errorf("%q is not an IP address", s)
	}
	*v.s = s
	return nil
}

func (v *ipValue) String() string { return *v.s }
func (*ipValue) Type() string     { return "ip" }

// versionValue is --version: true, false, raw, or a version to report (vX.Y.Z).
type versionValue struct{ s *string }

func (v *versionValue) Set(s string) error {
	if s == "raw" || (strings.HasPrefix(s, "v") && len(s) > 1) {
		*v.s = s
		return nil
	}
	b, err := strconv.ParseBool(s)
	if err != nil {
		return fmt.Errorf("%q is not one of true, false, raw, vX.Y.Z", s)
	}
	*v.s = strconv.FormatBool(b)
	return nil
}

func (v *versionValue) String() string { return *v.s }
func (*versionValue) Type() string     { return "version" }

// taintsValue is --register-with-taints: key=value:effect[,key:effect...].
type taintsValue struct{ list *[]corev1.Taint }

func (v *taintsValue) Set(s string) error {
	*v.list = nil
	if s == "" {
		return nil
	}
	seen := map[string]bool{}
	for part := range strings.SplitSeq(s, ",") {
		taint, err := parseTaint(part)
		if err != nil {
			return err
		}
		id := taint.Key + ":" + string(taint.Effect)
		if seen[id] {
			return fmt.Errorf("taint %s is given twice", id)
		}
		seen[id] = true
		*v.list = append(*v.list, taint)
	}
	return nil
}

func (v *taintsValue) String() string {
	parts := make([]string, 0, len(*v.list))
	for _, t := range *v.list {
		parts = append(parts, fmt.Sprintf("%s=%s:%s", t.Key, t.Value, t.Effect))
	}
	return strings.Join(parts, ",")
}

func (*taintsValue) Type() string { return "[]v1.Taint" }

func parseTaint(s string) (corev1.Taint, error) {
	head, effect, ok := strings.Cut(s, ":")
	if !ok {
		return corev1.Taint{}, fmt.Errorf("taint %q has no effect, write key=value:effect", s)
	}
	key, value, _ := strings.Cut(head, "=")
	taint := corev1.Taint{Key: key, Value: value, Effect: corev1.TaintEffect(effect)}
	if err := checkTaint(taint); err != nil {
		return corev1.Taint{}, fmt.Errorf("taint %q: %w", s, err)
	}
	return taint, nil
}

// checkTaint holds for taints of the command line and of the config file.
func checkTaint(t corev1.Taint) error {
	if errs := validation.IsQualifiedName(t.Key); len(errs) > 0 {
		return fmt.Errorf("key %q: %s", t.Key, strings.Join(errs, "; "))
	}
	if errs := validation.IsValidLabelValue(t.Value); len(errs) > 0 {
		return fmt.Errorf("value %q: %s", t.Value, strings.Join(errs, "; "))
	}
	switch t.Effect {
	case corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute:
	default:
		return fmt.Errorf("effect %q is not one of NoSchedule, PreferNoSchedule, NoExecute", t.Effect)
	}
	if t.TimeAdded != nil {
		return errors.New("timeAdded is set by the API server only, remove it")
	}
	return nil
}

// reservedMemoryValue is --reserved-memory: node:type=quantity[,type=quantity][;node:...].
type reservedMemoryValue struct {
	list *[]v1beta1.MemoryReservation
	set  bool
}

func (v *reservedMemoryValue) Set(s string) error {
	if !v.set {
		*v.list, v.set = nil, true
	}
	if s == "" {
		return nil
	}
	for part := range strings.SplitSeq(s, ";") {
		reservation, err := parseReservation(part)
		if err != nil {
			return err
		}
		*v.list = append(*v.list, reservation)
	}
	return nil
}

func parseReservation(s string) (v1beta1.MemoryReservation, error) {
	var out v1beta1.MemoryReservation
	node, limits, ok := strings.Cut(s, ":")
	if !ok {
		return out, fmt.Errorf("%q has no NUMA node, write node:type=quantity", s)
	}
	id, err := strconv.ParseInt(node, 10, 32)
	if err != nil {
		return out, fmt.Errorf("NUMA node %q is not a number", node)
	}
	out.NumaNode, out.Limits = int32(id), corev1.ResourceList{}
	for pair := range strings.SplitSeq(limits, ",") {
		name, amount, ok := strings.Cut(pair, "=")
		if !ok {
			return out, fmt.Errorf("%q has no quantity, write type=quantity", pair)
		}
		if !memoryResource(corev1.ResourceName(name)) {
			return out, fmt.Errorf("resource %q is not memory or hugepages-<size>", name)
		}
		quantity, err := resource.ParseQuantity(amount)
		if err != nil {
			return out, fmt.Errorf("quantity %q of %s: %w", amount, name, err)
		}
		out.Limits[corev1.ResourceName(name)] = quantity
	}
	return out, nil
}

func memoryResource(name corev1.ResourceName) bool {
	return name == corev1.ResourceMemory || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

func (v *reservedMemoryValue) String() string {
	parts := make([]string, 0, len(*v.list))
	for _, r := range *v.list {
		limits := make([]string, 0, len(r.Limits))
		for name, q := range r.Limits {
			limits = append(limits, fmt.Sprintf("%s=%s", name, q.String()))
		}
		slices.SortFunc(limits, cmp.Compare)
		parts = append(parts, fmt.Sprintf("%d:%s", r.NumaNode, strings.Join(limits, ",")))
	}
	return strings.Join(parts, ";")
}

func (*reservedMemoryValue) Type() string { return "reserved-memory" }
