package build

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Component is one program that the bed builds from a published Go module.
type Component struct {
	// Name is the name of the program as it is installed.
	Name string
	// Folder is the module below test/bed/components that pins it.
	Folder string
	// Module is the Go module whose version is the component's version.
	Module string
	// Package is the main package, or the one whose tests are the program.
	Package string
	// Test says that the program is a test binary.
	Test bool
	// Cgo says that the program needs a C compiler.
	Cgo bool
	// Tags are the build tags.
	Tags string
	// Stamp names linker variables; {v} stands for the module's version.
	Stamp []string
	// About tells people how long a first build takes.
	About string
}

const (
	kubernetesModule = "k8s.io/kubernetes"
	containerdModule = "github.com/containerd/containerd/v2"
	cniModule        = "github.com/containernetworking/plugins"
	ginkgoModule     = "github.com/onsi/ginkgo/v2"
)

// Runtime names the components of a bed without a control plane.
func Runtime() []string {
	return []string{
		"containerd", "containerd-shim-runc-v2", "ctr", "runc", "crictl",
		"bridge", "host-local", "portmap", "loopback",
	}
}

// CNIPlugins names the components that belong into the CNI plugin folder.
func CNIPlugins() []string { return []string{"bridge", "host-local", "portmap", "loopback"} }

// ControlPlane names the components of the control plane and its client.
func ControlPlane() []string {
	return []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"}
}

// All names every component of beds.
func All() []string {
	return slices.Concat(Runtime(), ControlPlane(), []string{"kubelet", "agnhost"})
}

// Conformance names the components of the upstream tests. They take minutes to
// build, so they are not part of All and built only when somebody runs them.
func Conformance() []string { return []string{"e2e.test", "ginkgo"} }

// Monitoring names the components of those who watch nodes: built only for the
// tests that need them.
func Monitoring() []string { return []string{"metrics-server"} }

// Lookup finds a component by its name.
func Lookup(name string) (Component, error) {
	for _, c := range catalogue() {
		if c.Name == name {
			return c, nil
		}
	}
	return Component{}, fmt.Errorf("no component %q; known are: %s", name, strings.Join(slices.Concat(All(), Conformance(), Monitoring()), ", "))
}

func catalogue() []Component {
	list := []Component{
		{
			Name: "runc", Folder: "runc", Module: "github.com/opencontainers/runc",
			Package: "github.com/opencontainers/runc", Cgo: true, Tags: "seccomp", About: "about 1 min",
		},
		{
			Name: "crictl", Folder: "cri-tools", Module: "sigs.k8s.io/cri-tools",
			Package: "sigs.k8s.io/cri-tools/cmd/crictl", About: "about 1 min",
			Stamp: []string{"sigs.k8s.io/cri-tools/pkg/version.Version={v}"},
		},
		{
			Name: "etcd", Folder: "etcd", Module: "go.etcd.io/etcd/server/v3",
			Package: "go.etcd.io/etcd/server/v3", About: "about 1 min",
		},
		{
			Name: "metrics-server", Folder: "metrics-server", Module: "sigs.k8s.io/metrics-server",
			Package: "sigs.k8s.io/metrics-server/cmd/metrics-server", About: "about 2 min",
			Stamp: []string{"k8s.io/client-go/pkg/version.gitVersion={v}"},
		},
	}
	for _, name := range []string{"containerd", "containerd-shim-runc-v2", "ctr"} {
		list = append(list, Component{
			Name: name, Folder: "containerd", Module: containerdModule,
			Package: containerdModule + "/cmd/" + name, About: "containerd and its tools take about 2 min",
			Stamp: []string{containerdModule + "/version.Version={v}"},
		})
	}
	for name, pkg := range map[string]string{
		"bridge": "main/bridge", "loopback": "main/loopback", "host-local": "ipam/host-local", "portmap": "meta/portmap",
	} {
		list = append(list, Component{
			Name: name, Folder: "cni", Module: cniModule, Package: cniModule + "/plugins/" + pkg, About: "a few seconds",
		})
	}
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kubelet", "agnhost"} {
		list = append(list, kubernetes(name))
	}
	e2e := kubernetes("e2e.test")
	e2e.Folder, e2e.Package, e2e.Test, e2e.About = "e2e", kubernetesModule+"/test/e2e", true, "about 5 min"
	return append(list, e2e, Component{
		Name: "ginkgo", Folder: "e2e", Module: ginkgoModule, Package: ginkgoModule + "/ginkgo", About: "a few seconds",
	})
}

func kubernetes(name string) Component {
	pkg := kubernetesModule + "/cmd/" + name
	if name == "agnhost" {
		pkg = kubernetesModule + "/test/images/agnhost"
	}
	const version = "k8s.io/component-base/version."
	return Component{
		Name: name, Folder: "kubernetes", Module: kubernetesModule, Package: pkg, About: "about 1 min, 5 min if it is the first of Kubernetes",
		Stamp: []string{version + "gitVersion={v}", version + "gitMajor={major}", version + "gitMinor={minor}"},
	}
}

// linkerFlags are the -ldflags of the component at the given version.
func (c Component) linkerFlags(version string) string {
	major, minor, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	minor, _, _ = strings.Cut(minor, ".")
	replace := strings.NewReplacer("{v}", version, "{major}", major, "{minor}", minor)
	flags := []string{"-s", "-w"}
	for _, stamp := range c.Stamp {
		flags = append(flags, "-X", replace.Replace(stamp))
	}
	return strings.Join(flags, " ")
}

// arguments are those of the go command that builds the component into out.
func (c Component) arguments(version, out string) []string {
	args := []string{"build"}
	if c.Test {
		args = []string{"test", "-c"}
	}
	args = append(args, "-trimpath", "-mod=readonly", "-buildvcs=false")
	if c.Tags != "" {
		args = append(args, "-tags", c.Tags)
	}
	return append(args, "-ldflags", c.linkerFlags(version), "-o", out, c.Package)
}

// key names the component's folder in the cache: everything that decides the
// content of the program is part of it.
func (c Component) key(moduleDir, version string) (string, error) {
	h := sha256.New()
	for _, file := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(moduleDir, file))
		if err != nil {
			return "", fmt.Errorf("read what pins component %s: %w", c.Name, err)
		}
		fmt.Fprintf(h, "%s %d\n", file, len(content))
		h.Write(content)
	}
	fmt.Fprintf(h, "%q cgo=%v %s/%s %s", c.arguments(version, ""), c.Cgo, runtime.GOOS, runtime.GOARCH, runtime.Version())
	return fmt.Sprintf("%s-%s-%s", c.Name, version, hex.EncodeToString(h.Sum(nil))[:12]), nil
}

// moduleVersion finds the version at which a go.mod file requires a module.
func moduleVersion(goMod, module string) (string, error) {
	f, err := os.Open(goMod)
	if err != nil {
		return "", fmt.Errorf("find the version of %s: %w", module, err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(lines.Text()), "require "))
		if len(fields) >= 2 && fields[0] == module {
			return fields[1], nil
		}
	}
	return "", fmt.Errorf("%s does not require %s", goMod, module)
}
