package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"k8s.io/kubelet/config/v1beta1"
)

// configType is the root of the schema that files are checked against.
func configType() reflect.Type { return reflect.TypeFor[v1beta1.KubeletConfiguration]() }

// leafType reports whether values of t decode themselves, as durations and quantities do.
func leafType(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]())
}

// fieldsOf returns the JSON names of a struct with their types; embedded structs without a
// name count as fields of the outer one.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case name == "" && f.Anonymous:
			maps.Copy(fields, fieldsOf(f.Type))
		case name == "":
			fields[f.Name] = f.Type
		default:
			fields[name] = f.Type
		}
	}
	return fields
}

// schemaCheck compares a decoded file with the Go types and collects what does not fit.
type schemaCheck struct {
	source   string
	flags    map[string]string
	problems Problems
}

// checkSchema reports every unknown field and every value of a wrong type in doc.
func checkSchema(source string, doc map[string]any) Problems {
	c := &schemaCheck{source: source, flags: fieldFlags()}
	c.object(doc, configType(), "")
	return c.problems
}

func (c *schemaCheck) add(path, value, reason, fix string) {
	c.problems = append(c.problems, Problem{Source: c.source, Field: path, Flag: c.flags[path], Value: value, Reason: reason, Fix: fix})
}

func (c *schemaCheck) value(v any, t reflect.Type, path string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case v == nil: // null means unset
	case leafType(t):
		c.leaf(v, t, path)
	case t.Kind() == reflect.Struct:
		if doc, ok := v.(map[string]any); ok {
			c.object(doc, t, path)
			return
		}
		c.add(path, show(v), "this must be a group of fields", "write the fields of "+path+" below it, one per line")
	case t.Kind() == reflect.Map:
		doc, ok := v.(map[string]any)
		if !ok {
			c.add(path, show(v), "this must be a map", "write name: value pairs below it")
			return
		}
		for _, key := range slices.Sorted(maps.Keys(doc)) {
			c.value(doc[key], t.Elem(), path+"."+key)
		}
	case t.Kind() == reflect.Slice:
		list, ok := v.([]any)
		if !ok {
			c.add(path, show(v), "this must be a list", "write it as [a, b] or as lines starting with '- '")
			return
		}
		for i, item := range list {
			c.value(item, t.Elem(), path+"["+strconv.Itoa(i)+"]")
		}
	default:
		c.leaf(v, t, path)
	}
}

func (c *schemaCheck) object(doc map[string]any, t reflect.Type, path string) {
	fields := fieldsOf(t)
	for _, key := range slices.Sorted(maps.Keys(doc)) {
		full := strings.TrimPrefix(path+"."+key, ".")
		fieldType, known := fields[key]
		if !known {
			c.add(full, "", "unknown field", unknownFieldFix(key, slices.Sorted(maps.Keys(fields))))
			continue
		}
		c.value(doc[key], fieldType, full)
	}
}

func unknownFieldFix(key string, known []string) string {
	if near := nearest(key, known); near != "" {
		return "did you mean " + near + "?"
	}
	for _, def := range allFlags() {
		if def.field != "" && def.name == key {
			return "did you mean " + def.field + "?"
		}
	}
	return "remove it, or see the KubeletConfiguration v1beta1 reference for the known fields"
}

func (c *schemaCheck) leaf(v any, t reflect.Type, path string) {
	data, err := json.Marshal(v)
	if err != nil {
		c.add(path, show(v), err.Error(), "correct the value")
		return
	}
	if err := json.Unmarshal(data, reflect.New(t).Interface()); err != nil {
		c.add(path, string(data), "not a valid "+typeName(t)+" ("+strings.TrimPrefix(err.Error(), "json: ")+")", typeHint(t))
	}
}

func typeName(t reflect.Type) string {
	switch t.Name() {
	case "Duration", "TimeOrMetaDuration":
		return "duration"
	case "Quantity", "QuantityValue":
		return "quantity"
	default:
		return t.Kind().String()
	}
}

func typeHint(t reflect.Type) string {
	switch typeName(t) {
	case "duration":
		return "write a duration with a unit, such as 30s or 5m"
	case "quantity":
		return "write a quantity such as 500m or 100Mi"
	case "string":
		return "put the value in quotes"
	case "bool":
		return "write true or false without quotes"
	default:
		return "write a number without quotes"
	}
}

func show(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(data)
}

// flatten lists the fields of a configuration by path, each as JSON. Groups that are always
// present are split into their fields; maps, lists and optional groups count as one field.
func flatten(kc *v1beta1.KubeletConfiguration) map[string]string {
	out := map[string]string{}
	flattenInto(out, reflect.ValueOf(kc).Elem(), "")
	delete(out, "apiVersion")
	delete(out, "kind")
	return out
}

func flattenInto(out map[string]string, v reflect.Value, path string) {
	for f, fv := range v.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		full := strings.TrimPrefix(path+"."+name, ".")
		switch {
		case name == "" && f.Anonymous:
			flattenInto(out, fv, path)
		case f.Type.Kind() == reflect.Struct && !leafType(f.Type):
			flattenInto(out, fv, full)
		default:
			out[full] = show(fv.Interface())
		}
	}
}
