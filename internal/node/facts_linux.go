package node

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// lookupPatience bounds the lookup of the node's name: a dead DNS server must
// not keep the node from being posted.
const lookupPatience = 2 * time.Second

// LinuxMachine reads the facts of the machine it runs on. It implements Machine.
type LinuxMachine struct {
	// Root is "/" or where the host's file system is mounted.
	Root string
	// StateDir is the directory whose file system is the ephemeral storage.
	StateDir string
	// NodeName is looked up for the node's address.
	NodeName string
	// IPs are the configured addresses; the first chooses the family.
	IPs []netip.Addr
}

var _ Machine = (*LinuxMachine)(nil)

// Gather implements Machine. It tolerates every missing file.
func (l *LinuxMachine) Gather(context.Context) MachineFacts {
	f := MachineFacts{OperatingSystem: runtime.GOOS, Architecture: runtime.GOARCH}
	f.Cores = l.cores()
	memory, err := l.memory()
	if err != nil {
		f.Missing = append(f.Missing, fmt.Sprintf("memory size is unknown: %v", err))
	}
	f.MemoryBytes, f.SwapBytes = memory["MemTotal"], memory["SwapTotal"]
	if f.StorageBytes, err = storage(l.StateDir); err != nil {
		f.Missing = append(f.Missing, fmt.Sprintf("size of the ephemeral storage is unknown: %v", err))
	}
	f.HugePages = l.hugePages()
	f.MachineID = l.firstOf(&f, "machine ID", "etc/machine-id", "var/lib/dbus/machine-id")
	f.SystemUUID = l.firstOf(&f, "system UUID", "sys/class/dmi/id/product_uuid", "proc/device-tree/system-id",
		"proc/device-tree/vm,uuid", "etc/machine-id")
	f.BootID = l.firstOf(&f, "boot ID", "proc/sys/kernel/random/boot_id")
	f.KernelVersion = l.firstOf(&f, "kernel version", "proc/sys/kernel/osrelease")
	f.OSImage = osImage(l.read("etc/os-release"), l.read("usr/lib/os-release"))
	f.UserNamespace = userNamespace(l.read("proc/self/uid_map"))
	return f
}

// read returns a file's trimmed content, or "".
func (l *LinuxMachine) read(path string) string {
	data, err := os.ReadFile(filepath.Join(l.Root, path))
	if err != nil {
		return ""
	}
	return strings.Trim(string(data), " \t\r\n\x00")
}

func (l *LinuxMachine) firstOf(f *MachineFacts, what string, paths ...string) string {
	for _, path := range paths {
		if text := l.read(path); text != "" {
			return text
		}
	}
	f.Missing = append(f.Missing, fmt.Sprintf("%s is unknown: none of %s can be read", what, strings.Join(paths, ", ")))
	return ""
}

// cores counts the processors that are online; the agent's own affinity does
// not matter.
func (l *LinuxMachine) cores() int64 {
	if n := countList(l.read("sys/devices/system/cpu/online")); n > 0 {
		return n
	}
	n := int64(0)
	for line := range strings.Lines(l.read("proc/cpuinfo")) {
		if strings.HasPrefix(line, "processor") {
			n++
		}
	}
	if n > 0 {
		return n
	}
	return int64(runtime.NumCPU())
}

// countList counts what a kernel list such as "0-3,8" names.
func countList(list string) int64 {
	n := int64(0)
	for part := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(part, "-")
		a, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0
		}
		b := a
		if isRange {
			if b, err = strconv.ParseInt(last, 10, 64); err != nil || b < a {
				return 0
			}
		}
		n += b - a + 1
	}
	return n
}

// memory returns the sizes in /proc/meminfo in bytes.
func (l *LinuxMachine) memory() (map[string]int64, error) {
	path := filepath.Join(l.Root, "proc/meminfo")
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading meminfo: %w", err)
	}
	sizes := map[string]int64{}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[2] != "kB" {
			continue
		}
		if n, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
			sizes[strings.TrimSuffix(fields[0], ":")] = n * 1024
		}
	}
	if sizes["MemTotal"] == 0 {
		return nil, fmt.Errorf("%s has no MemTotal", path)
	}
	return sizes, nil
}

func storage(dir string) (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, fmt.Errorf("statfs of %s: %w", dir, err)
	}
	return int64(fs.Blocks) * fs.Bsize, nil
}

func (l *LinuxMachine) hugePages() map[int64]int64 {
	dirs, err := filepath.Glob(filepath.Join(l.Root, "sys/kernel/mm/hugepages/hugepages-*kB"))
	if err != nil {
		return nil // only a malformed pattern is an error
	}
	pages := map[int64]int64{}
	for _, dir := range dirs {
		text := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(dir), "hugepages-"), "kB")
		size, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			continue
		}
		n, err := strconv.ParseInt(l.read(filepath.Join("sys/kernel/mm/hugepages", filepath.Base(dir), "nr_hugepages")), 10, 64)
		if err != nil {
			continue
		}
		pages[size*1024] = n * size * 1024
	}
	return pages
}

// osImage is PRETTY_NAME of the first os-release that has one.
func osImage(files ...string) string {
	for _, file := range files {
		for line := range strings.Lines(file) {
			if value, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
				return strings.Trim(value, `"'`)
			}
		}
	}
	return "Linux"
}

// userNamespace is false for the map of all IDs, which only the initial
// namespace has, and nil when the map is not known.
func userNamespace(uidMap string) *bool {
	if uidMap == "" {
		return nil
	}
	return new(strings.Join(strings.Fields(uidMap), " ") != "0 0 4294967295")
}

// Network implements Machine.
func (l *LinuxMachine) Network(ctx context.Context) NetworkFacts {
	var f NetworkFacts
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		f.Problem = fmt.Sprintf("listing the addresses of the network interfaces: %v", err)
	}
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			f.Local = append(f.Local, prefix.Addr().WithZone(""))
		}
	}
	if len(l.IPs) == 0 || l.IPs[0].IsUnspecified() {
		f.Named = l.lookup(ctx)
	}
	var bind net.IP
	if len(l.IPs) > 0 {
		bind = l.IPs[0].AsSlice()
	}
	ip, err := utilnet.ResolveBindAddress(bind)
	if err != nil {
		f.Problem = fmt.Sprintf("finding the address of the default route's interface: %v", err)
		return f
	}
	if addr, ok := netip.AddrFromSlice(ip); ok {
		f.DefaultRoute = addr.Unmap()
	}
	return f
}

func (l *LinuxMachine) lookup(ctx context.Context) []netip.Addr {
	ctx, cancel := context.WithTimeout(ctx, lookupPatience)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", l.NodeName)
	if err != nil {
		return nil // usual: most node names are not in the DNS
	}
	for i := range ips {
		ips[i] = ips[i].Unmap()
	}
	return ips
}
