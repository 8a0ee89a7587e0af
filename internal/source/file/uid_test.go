package file

import (
	"os"
	"path/filepath"
	"testing"
)

// The UIDs were computed by kubelet code of Kubernetes v1.37.1 for node Node-1
// and a manifest below /etc/kubernetes/manifests.
func TestUIDIsTheKubelets(t *testing.T) {
	tests := map[string]string{
		"minimal.yaml":   "0b9b4267eac2873c41403c3dff04ff53",
		"apiserver.yaml": "adb28657c16bc5022603f632bafa4f99",
		"rich.yaml":      "13c5d84e16708f625afc934852d058ed",
		"json.json":      "3a05d8613c395f975b8d8232ec353e38",
	}
	decoder, err := newDecoder()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("testdata", name))
			if err != nil {
				t.Fatal(err)
			}
			p, _, err := decode(decoder, data)
			if err != nil {
				t.Fatal(err)
			}
			setDefaults(p)
			if got := uidOf(p, "Node-1", "/etc/kubernetes/manifests/"+name); string(got) != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}
