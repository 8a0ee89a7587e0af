package file

import (
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// uidOf derives a UID from a pod with defaults, the node's name as configured
// and the path of the manifest. It is the kubelet's value: FNV-128a over a dump
// of the pod, "host:<node>" and "file:<path>".
func uidOf(p *corev1.Pod, nodeName, path string) types.UID {
	h := fnv.New128a()
	dump(h, p)
	_, _ = io.WriteString(h, "host:"+nodeName) // a hash never fails to write
	_, _ = io.WriteString(h, "file:"+path)
	return types.UID(hex.EncodeToString(h.Sum(nil)))
}

// apiPackage is the package of the versioned types. The kubelet hashes its
// internal ones, which have the same fields in the same order, but live in a
// package of another name.
var apiPackage = reflect.TypeFor[corev1.Pod]().PkgPath()

// dump writes a value with its types and all its fields, unexported ones
// included, the way the kubelet's hash wants it:
//
//	(*core.Pod){TypeMeta:(v1.TypeMeta){Kind:(string) ...} ...}
//
// A type is written wherever it is not implied: not for what a pointer points
// to, nor for the elements of slices and maps.
func dump(w io.Writer, p *corev1.Pod) {
	var b strings.Builder
	writeValue(&b, reflect.ValueOf(p), true)
	_, _ = io.WriteString(w, b.String())
}

func writeValue(b *strings.Builder, v reflect.Value, withType bool) {
	if v.Kind() == reflect.Pointer {
		writePointer(b, v, withType)
		return
	}
	if withType {
		b.WriteString("(" + typeName(v.Type()) + ")")
	}
	switch v.Kind() {
	case reflect.String:
		b.WriteString(v.String())
	case reflect.Bool:
		b.WriteString(strconv.FormatBool(v.Bool()))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		b.WriteString(strconv.FormatInt(v.Int(), 10))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		b.WriteString(strconv.FormatUint(v.Uint(), 10))
	case reflect.Struct:
		writeStruct(b, v)
	case reflect.Slice:
		writeSlice(b, v)
	case reflect.Map:
		writeMap(b, v)
	default:
		panic(fmt.Sprintf("a pod holds a %s, which the UID hash does not know", v.Type()))
	}
}

func writePointer(b *strings.Builder, v reflect.Value, withType bool) {
	switch {
	case withType && v.IsNil():
		b.WriteString("(" + typeName(v.Type()) + ")<nil>")
	case withType:
		b.WriteString("(*" + typeName(v.Type().Elem()) + ")")
		writeValue(b, v.Elem(), false)
	case v.IsNil():
		b.WriteString("<nil>")
	default:
		b.WriteString("<*>")
		writeValue(b, v.Elem(), false)
	}
}

func writeStruct(b *strings.Builder, v reflect.Value) {
	b.WriteString("{")
	for i := range v.NumField() {
		if i > 0 {
			b.WriteString(" ")
		}
		b.WriteString(v.Type().Field(i).Name + ":")
		writeValue(b, v.Field(i), true)
	}
	b.WriteString("}")
}

func writeSlice(b *strings.Builder, v reflect.Value) {
	if v.IsNil() {
		b.WriteString("<nil>")
		return
	}
	b.WriteString("[")
	for i := range v.Len() {
		if i > 0 {
			b.WriteString(" ")
		}
		writeValue(b, v.Index(i), false)
	}
	b.WriteString("]")
}

func writeMap(b *strings.Builder, v reflect.Value) {
	if v.IsNil() {
		b.WriteString("<nil>")
		return
	}
	keys := v.MapKeys() // all maps of a pod have string keys
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	b.WriteString("map[")
	for i, k := range keys {
		if i > 0 {
			b.WriteString(" ")
		}
		b.WriteString(k.String() + ":")
		writeValue(b, v.MapIndex(k), false)
	}
	b.WriteString("]")
}

// typeName is the name of a type as the kubelet's binary prints it.
func typeName(t reflect.Type) string {
	switch {
	case t.Name() != "" && t.PkgPath() == apiPackage:
		return "core." + t.Name()
	case t.Name() != "":
		return t.String()
	case t.Kind() == reflect.Pointer:
		return "*" + typeName(t.Elem())
	case t.Kind() == reflect.Slice:
		return "[]" + typeName(t.Elem())
	case t.Kind() == reflect.Map:
		return "map[" + typeName(t.Key()) + "]" + typeName(t.Elem())
	}
	return t.String()
}
