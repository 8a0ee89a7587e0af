package content

import (
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestCheck(t *testing.T) {
	long := strings.Repeat("n", 255)
	for path, want := range map[string]string{
		"a": "", "a/b.c": "", "./a": "", "a//b/": "", "a/..b": "", "...": "must not start with '..'", ".a": "", "a/./b": "", long: "",
		"-/a": "", "a b\n": "", "a/.": "",
		"":                                    `invalid path: must not be empty: ""`,
		"/a":                                  "invalid path: must be relative path: /a",
		"a/../b":                              "invalid path: must not contain '..': a/../b",
		"..":                                  "invalid path: must not contain '..': ..",
		"a/..":                                "invalid path: must not contain '..': a/..",
		"..data":                              "invalid path: must not start with '..': ..data",
		"..data/a":                            "invalid path: must not start with '..': ..data/a",
		"./..data":                            "invalid path: must not start with '..': ./..data",
		".":                                   "invalid path: must name a file: .",
		"./":                                  "invalid path: must name a file: ./",
		"a\x00b":                              "must not contain a NUL character",
		long + "n":                            "invalid path: filenames must be less than or equal to 255 characters",
		strings.Repeat("a/", 2047) + "a":      "",
		strings.Repeat("a/", 2048) + "a":      "invalid path: must be less than or equal to 4096 characters",
		"a/" + long + "n":                     "invalid path: filenames must be less than or equal to 255 characters",
		strings.Repeat(long+"/", 16) + "a/ab": "invalid path: must be less than or equal to 4096 characters",
	} {
		err := Files{path: {}}.Check()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.40q: %v, want %q", path, err, want)
		}
	}
}

func TestCheckOfPathsBesideEachOther(t *testing.T) {
	for _, c := range []struct {
		files Files
		want  string
	}{
		{Files{}, ""},
		{nil, ""},
		{Files{"a": {}, "./b": {}, "c/d": {}, "c/e": {}}, ""},
		{Files{"a": {}, "a.b": {}, "a-b/c": {}}, ""},
		{Files{"a": {}, "./a": {}}, ""}, // the same file
		{Files{"a": {}, "a/b": {}}, "invalid path: a is to be a file, and a directory with other files in it"},
		{Files{"a/b": {}, "a/b/c/d": {}}, "invalid path: a/b is to be a file"},
	} {
		err := c.files.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v: %v, want %q", slices.Sorted(maps.Keys(c.files)), err, c.want)
		}
	}
}

// show writes files as "path=data mode", sorted.
func show(files Files) string {
	var all []string
	for p, f := range files {
		mode := ""
		for bits := f.Mode; bits > 0; bits /= 8 {
			mode = string(rune('0'+bits%8)) + mode
		}
		all = append(all, p+"="+string(f.Data)+" "+mode)
	}
	slices.Sort(all)
	return strings.Join(all, "; ")
}

type item = corev1.KeyToPath

func TestFromConfigMap(t *testing.T) {
	cm := &corev1.ConfigMap{
		Data:       map[string]string{"a": "1", "b": "2", "empty": ""},
		BinaryData: map[string][]byte{"bin": {0xff, 0}},
	}
	for name, c := range map[string]struct {
		cm          *corev1.ConfigMap
		items       []item
		optional    bool
		want, fails string
	}{
		"all keys":                   {want: "a=1 644; b=2 644; bin=\xff\x00 644; empty= 644"},
		"nothing":                    {cm: &corev1.ConfigMap{}, want: ""},
		"items":                      {items: []item{{Key: "a", Path: "x/y"}, {Key: "bin", Path: "z"}}, want: "x/y=1 644; z=\xff\x00 644"},
		"item with a mode":           {items: []item{{Key: "a", Path: "x", Mode: new(int32(0o400))}, {Key: "b", Path: "y"}}, want: "x=1 400; y=2 644"},
		"mode zero is a mode":        {items: []item{{Key: "a", Path: "x", Mode: new(int32(0))}}, want: "x=1 "},
		"one key twice":              {items: []item{{Key: "a", Path: "x"}, {Key: "a", Path: "y"}}, want: "x=1 644; y=1 644"},
		"the last of a path counts":  {items: []item{{Key: "a", Path: "x"}, {Key: "b", Path: "x"}}, want: "x=2 644"},
		"missing key":                {items: []item{{Key: "a", Path: "x"}, {Key: "K", Path: "y"}}, fails: "configmap references non-existent config key: K"},
		"missing key, optional":      {items: []item{{Key: "a", Path: "x"}, {Key: "K", Path: "y"}}, optional: true, want: "x=1 644"},
		"missing object":             {cm: &corev1.ConfigMap{}, items: []item{{Key: "a", Path: "x"}}, fails: "configmap references non-existent config key: a"},
		"missing object, optional":   {cm: &corev1.ConfigMap{}, items: []item{{Key: "a", Path: "x"}}, optional: true, want: ""},
		"an empty key is no default": {items: []item{{Key: "", Path: "x"}}, fails: "configmap references non-existent config key: "},
	} {
		t.Run(name, func(t *testing.T) {
			if c.cm == nil {
				c.cm = cm
			}
			files, err := FromConfigMap(c.cm, c.items, 0o644, c.optional)
			said := ""
			if err != nil {
				said = err.Error()
			}
			if got := show(files); got != c.want || said != c.fails {
				t.Errorf("%q, %q; want %q, %q", got, said, c.want, c.fails)
			}
		})
	}
}

func TestFromSecret(t *testing.T) {
	s := &corev1.Secret{Data: map[string][]byte{"a": []byte("1"), "b": []byte("2")}}
	for name, c := range map[string]struct {
		items       []item
		optional    bool
		want, fails string
	}{
		"all keys":              {want: "a=1 400; b=2 400"},
		"items":                 {items: []item{{Key: "b", Path: "x/y"}, {Key: "a", Path: "z", Mode: new(int32(0o777))}}, want: "x/y=2 400; z=1 777"},
		"missing key":           {items: []item{{Key: "K", Path: "y"}}, fails: "references non-existent secret key: K"},
		"missing key, optional": {items: []item{{Key: "K", Path: "y"}, {Key: "a", Path: "z"}}, optional: true, want: "z=1 400"},
	} {
		t.Run(name, func(t *testing.T) {
			files, err := FromSecret(s, c.items, 0o400, c.optional)
			said := ""
			if err != nil {
				said = err.Error()
			}
			if got := show(files); got != c.want || said != c.fails {
				t.Errorf("%q, %q; want %q, %q", got, said, c.want, c.fails)
			}
		})
	}
}

func TestMountPoints(t *testing.T) {
	mounts := func(all ...string) []corev1.VolumeMount {
		var m []corev1.VolumeMount
		for _, one := range all {
			name, at, _ := strings.Cut(one, ":")
			m = append(m, corev1.VolumeMount{Name: name, MountPath: at})
		}
		return m
	}
	for name, c := range map[string]struct {
		mounts      []corev1.VolumeMount
		want, fails string
	}{
		"none":                           {mounts: mounts("v:/etc/v", "w:/etc/w", "x:/etc/vv/x")},
		"one":                            {mounts: mounts("w:/etc/v/w/", "v:/etc/v"), want: "w"},
		"not what lies in another":       {mounts: mounts("v:/v", "w:/v/w", "x:/v/w/x", "y:/v/w-y", "z:/v/w.z/z"), want: "w,w-y,w.z/z"},
		"the volume in itself":           {mounts: mounts("v:/v", "v:/v/v"), want: "v"},
		"twice mounted":                  {mounts: mounts("v:/a", "v:/b", "w:/a/w", "x:/b/x"), want: "w,x"},
		"relative":                       {mounts: mounts("v:v", "w:v/w"), want: "w"},
		"out of the container":           {mounts: mounts("v:../v"), fails: "invalid container mount point ../v"},
		"in the layout's own":            {mounts: mounts("v:/v", "w:/v/..data/w"), fails: `"..data/w"`},
		"of another volume, not looked":  {mounts: mounts("w:../w"), want: ""},
		"dots that lead elsewhere first": {mounts: mounts("v:/a/../v", "w:/v/x/../w"), want: "w"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &corev1.Pod{Spec: corev1.PodSpec{InitContainers: []corev1.Container{{VolumeMounts: c.mounts}}}}
			points, err := mountPoints(p, "v")
			slices.Sort(points)
			if got := strings.Join(points, ","); got != c.want || (c.fails == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%q, %v; want %q, %q", got, err, c.want, c.fails)
			}
		})
	}
}
