package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestGatherFromFiles(t *testing.T) {
	root := t.TempDir()
	for path, text := range map[string]string{
		"sys/devices/system/cpu/online":  "0-3,8\n",
		"proc/meminfo":                   "MemTotal:  2048 kB\nSwapTotal: 4 kB\nHugePages_Total: 1\n",
		"etc/machine-id":                 "abc\n",
		"proc/sys/kernel/random/boot_id": "boot\n",
		"proc/sys/kernel/osrelease":      "6.1\n",
		"etc/os-release":                 "NAME=x\nPRETTY_NAME=\"Some OS 1\"\n",
		"proc/self/uid_map":              "         0          0 4294967295\n",
		"sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages":     "3\n",
		"sys/kernel/mm/hugepages/hugepages-nonsensekB/nr_hugepages": "3\n",
	} {
		full := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l := &LinuxMachine{Root: root, StateDir: root}
	f := l.Gather(t.Context())
	if f.Cores != 5 || f.MemoryBytes != 2<<20 || f.SwapBytes != 4096 || f.StorageBytes <= 0 || f.HugePages[2<<20] != 6<<20 || len(f.HugePages) != 1 {
		t.Errorf("sizes: %+v", f)
	}
	if f.MachineID != "abc" || f.SystemUUID != "abc" || f.BootID != "boot" || f.KernelVersion != "6.1" || f.OSImage != "Some OS 1" || *f.UserNamespace {
		t.Errorf("names: %+v", f)
	}
	if len(f.Missing) != 0 {
		t.Errorf("missing: %q", f.Missing)
	}
}

func TestGatherNamesWhatIsMissing(t *testing.T) {
	l := &LinuxMachine{Root: t.TempDir(), StateDir: "/does/not/exist"}
	f := l.Gather(t.Context())
	if f.Cores <= 0 || f.OSImage != "Linux" || f.UserNamespace != nil {
		t.Errorf("fallbacks: %+v", f)
	}
	text := strings.Join(f.Missing, "\n")
	for _, want := range []string{"memory", "/does/not/exist", "machine ID", "system UUID", "boot ID", "kernel version"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not named in %q", want, text)
		}
	}
}

func TestThisMachine(t *testing.T) {
	l := &LinuxMachine{Root: "/", StateDir: t.TempDir(), NodeName: "no-such-name.invalid"}
	if f := l.Gather(t.Context()); f.Cores <= 0 || f.MemoryBytes <= 0 || f.StorageBytes <= 0 || f.KernelVersion == "" {
		t.Errorf("facts: %+v", f)
	}
	if f := l.Network(t.Context()); len(f.Local) == 0 {
		t.Errorf("network: %+v", f)
	}
}

func TestCountList(t *testing.T) {
	for text, want := range map[string]int64{"0": 1, "0-3": 4, "0-1,4,6-7": 5, "": 0, "x": 0, "3-1": 0} {
		if got := countList(text); got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
}
