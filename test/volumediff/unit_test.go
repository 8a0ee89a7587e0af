//go:build !e2e

package volumediff

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// least is how many volumes are compared at least.
const least = 120

// clouds are the types that need a disk of a cloud.
var clouds = []string{
	"AWSElasticBlockStore", "AzureDisk", "AzureFile", "Cinder", "GCEPersistentDisk", "PortworxVolume", "VsphereVolume",
}

func corpus(t *testing.T) []Case {
	t.Helper()
	all, err := Cases(Names{"HOST": "/host", "NODE": "node", "IMAGE": "look", "DATA": "data", "REGISTRY": "registry"})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestCorpusHasEveryType: every type of volume that the API knows and that needs
// no cloud is in the corpus, and there are enough of them.
func TestCorpusHasEveryType(t *testing.T) {
	volumes := 0
	types, sources := map[string]bool{}, map[string]bool{}
	used := func(into map[string]bool, source any) {
		v := reflect.ValueOf(source)
		for i := range v.NumField() {
			if v.Field(i).Kind() == reflect.Pointer && !v.Field(i).IsNil() {
				into[v.Type().Field(i).Name] = true
			}
		}
	}
	for _, c := range corpus(t) {
		volumes += len(c.Pod.Spec.Volumes)
		for _, v := range c.Pod.Spec.Volumes {
			used(types, v.VolumeSource)
			if v.Projected != nil {
				for _, s := range v.Projected.Sources {
					used(sources, s)
				}
			}
		}
	}
	if volumes < least {
		t.Errorf("the corpus has %d volumes, want at least %d", volumes, least)
	}
	for name, seen := range map[reflect.Type]map[string]bool{
		reflect.TypeFor[corev1.VolumeSource](): types, reflect.TypeFor[corev1.VolumeProjection](): sources,
	} {
		for field := range name.Fields() {
			if !seen[field.Name] && !slices.Contains(clouds, field.Name) {
				t.Errorf("no pod has a volume with %s.%s", name.Name(), field.Name)
			}
		}
	}
	t.Logf("%d pods with %d volumes", len(corpus(t)), volumes)
}

// TestCorpusIsComplete: what the pods refer to is filled in, every volume is
// mounted unless that is said, and containers look at all they mount.
func TestCorpusIsComplete(t *testing.T) {
	open := regexp.MustCompile(`@[A-Z]+@`)
	for _, c := range corpus(t) {
		mounted := 0
		for _, k := range slices.Concat(c.Pod.Spec.InitContainers, c.Pod.Spec.Containers) {
			mounted += len(k.VolumeMounts)
			command := strings.Join(k.Command, " ")
			if k.Image != "look" || command == "" || open.MatchString(command) {
				t.Errorf("pod %s: container %s runs %q of image %q", c.Pod.Name, k.Name, command, k.Image)
			}
		}
		if len(c.Pod.Spec.Volumes) > 0 && mounted == 0 {
			t.Errorf("pod %s: nothing is mounted", c.Pod.Name)
		}
		if open.MatchString(c.Pod.String()) {
			t.Errorf("pod %s has something open: %s", c.Pod.Name, open.FindString(c.Pod.String()))
		}
		if fails := c.Until != untilEnd; fails != c.Fails() {
			t.Errorf("pod %s settles by %s, which its name does not say", c.Pod.Name, c.Until)
		}
	}
}

// TestClaims: each volume has a claim, its own or that of a pod.
func TestClaims(t *testing.T) {
	objects, err := Objects(Names{"HOST": "/host", "NODE": "node"})
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]string{} // volume -> claim
	for _, o := range objects {
		if c, ok := o.(*corev1.PersistentVolumeClaim); ok {
			claims[c.Spec.VolumeName] = c.Name
		}
	}
	for _, o := range objects {
		v, ok := o.(*corev1.PersistentVolume)
		if !ok {
			continue
		}
		if v.Spec.ClaimRef == nil || v.Spec.ClaimRef.Name != v.Name && claims[v.Name] != "" {
			t.Errorf("volume %s is for %v, its claim is %q", v.Name, v.Spec.ClaimRef, claims[v.Name])
		}
		if v.Spec.Local != nil && v.Spec.NodeAffinity == nil {
			t.Errorf("local volume %s is on no node", v.Name)
		}
	}
}
