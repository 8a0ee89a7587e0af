package containerspec

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

func TestUnsupportedAndMissing(t *testing.T) {
	sub := corev1.MountPropagationMode("Sideways")
	for _, c := range []struct {
		name string
		edit func(*corev1.Container)
		want string
	}{
		{"volume", func(c *corev1.Container) { c.VolumeMounts = []corev1.VolumeMount{{Name: "none", MountPath: "/x"}} },
			`cannot find volume "none" to mount into container "c"`},
		{"subPath", func(c *corev1.Container) { c.VolumeMounts = []corev1.VolumeMount{{Name: "v", SubPath: "a"}} }, "subPath"},
		{"propagation", func(c *corev1.Container) { c.VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPropagation: &sub}} }, "invalid MountPropagation"},
		{"devices", func(c *corev1.Container) { c.VolumeDevices = []corev1.VolumeDevice{{Name: "v"}} }, "volumeDevices"},
	} {
		p := testPod()
		c.edit(&p.Spec.Containers[0])
		req := request(p)
		req.Volumes = pod.Volumes{"v": {HostPath: "/v"}}
		_, err := Container(req, node())
		wantFailure(t, c.name, err, "CreateContainerConfigError", c.want)
	}
	req := request(testPod())
	req.Attempt = -1
	_, err := Container(req, node())
	wantFailure(t, "attempt", err, "CreateContainerConfigError", "out of range")
}

func TestMounts(t *testing.T) {
	p := testPod()
	both, possible := corev1.MountPropagationBidirectional, corev1.RecursiveReadOnlyIfPossible
	p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{
		{Name: "a", MountPath: "/a"},
		{Name: "b", MountPath: "relative", MountPropagation: &both},
		{Name: "a", MountPath: "/ro", ReadOnly: true, RecursiveReadOnly: &possible},
		{Name: "r", MountPath: "/r"},
	}
	req := request(p)
	req.Volumes = pod.Volumes{"a": {HostPath: "/h/a"}, "b": {HostPath: "/h/b", SELinux: true}, "r": {HostPath: "/h/r", ReadOnly: true}}
	n := node()
	n.RecursiveReadOnly = true
	got, err := Container(req, n)
	if err != nil {
		t.Fatal(err)
	}
	want := []*runtimeapi.Mount{
		{HostPath: "/h/a", ContainerPath: "/a"},
		{HostPath: "/h/b", ContainerPath: "/relative", SelinuxRelabel: true, Propagation: runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL},
		{HostPath: "/h/a", ContainerPath: "/ro", Readonly: true, RecursiveReadOnly: true},
		{HostPath: "/h/r", ContainerPath: "/r", Readonly: true},
	}
	if d := cmp.Diff(want, got.Mounts, protocmp.Transform()); d != "" {
		t.Error(d)
	}
}

func TestTerminationLog(t *testing.T) {
	for _, c := range []struct {
		name, log, path string
		want            []*runtimeapi.Mount
	}{
		{"usual", "/h/log", "/dev/termination-log", []*runtimeapi.Mount{{HostPath: "/h/log", ContainerPath: "/dev/termination-log", SelinuxRelabel: true}}},
		{"relative", "/h/log", "log", []*runtimeapi.Mount{{HostPath: "/h/log", ContainerPath: "/log", SelinuxRelabel: true}}},
		{"not clean", "/h/log", "/dev//../log/", []*runtimeapi.Mount{{HostPath: "/h/log", ContainerPath: "/log", SelinuxRelabel: true}}},
		{"no file", "", "/dev/termination-log", nil},
		{"no path", "/h/log", "", nil},
	} {
		p := testPod()
		p.Spec.Containers[0].TerminationMessagePath = c.path
		req := request(p)
		req.TerminationLog = c.log
		got, err := Container(req, node())
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c.want, got.Mounts, protocmp.Transform()); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
		want := c.log
		if c.want == nil {
			want = ""
		}
		if found := TerminationLogOf(got.Annotations, got.Mounts); found != want {
			t.Errorf("%s: found again at %q", c.name, found)
		}
	}
	hidden := []*runtimeapi.Mount{nil, {HostPath: "/etc/shadow", ContainerPath: "/log"}, {HostPath: "/h/log", ContainerPath: "/log"}, {HostPath: "/x", ContainerPath: "/logs"}}
	if got := TerminationLogOf(map[string]string{AnnotationTerminationMessagePath: "/log"}, hidden); got != "/h/log" {
		t.Errorf("behind a volume: %q", got)
	}
}

func TestTargetOfAnEphemeralContainer(t *testing.T) {
	yes := true
	for _, c := range []struct {
		name   string
		target string
		edit   func(*corev1.PodSpec)
		want   runtimeapi.NamespaceMode
		wantID string
	}{
		{"none", "", func(*corev1.PodSpec) {}, runtimeapi.NamespaceMode_CONTAINER, ""},
		{"target", "id-1", func(*corev1.PodSpec) {}, runtimeapi.NamespaceMode_TARGET, "id-1"},
		{"shared", "id-1", func(s *corev1.PodSpec) { s.ShareProcessNamespace = &yes }, runtimeapi.NamespaceMode_POD, ""},
		{"host", "id-1", func(s *corev1.PodSpec) { s.HostPID = true }, runtimeapi.NamespaceMode_NODE, ""},
	} {
		p := testPod()
		c.edit(&p.Spec)
		req := request(p)
		req.TargetID = c.target
		got, err := Container(req, node())
		if err != nil {
			t.Fatal(err)
		}
		if o := got.Linux.SecurityContext.NamespaceOptions; o.Pid != c.want || o.TargetId != c.wantID {
			t.Errorf("%s: %v", c.name, o)
		}
	}
}

func TestSecurity(t *testing.T) {
	p := testPod()
	u, g, fs, no, yes := int64(1), int64(2), int64(3), false, true
	unmasked := corev1.UnmaskedProcMount
	p.Spec.SecurityContext = &corev1.PodSecurityContext{
		RunAsUser: &u, RunAsGroup: &g, FSGroup: &fs, SupplementalGroups: []int64{4},
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	own := int64(7)
	p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{
		RunAsUser: &own, Privileged: &yes, ReadOnlyRootFilesystem: &yes, AllowPrivilegeEscalation: &no, ProcMount: &unmasked,
		Capabilities:    &corev1.Capabilities{Add: []corev1.Capability{"NET_ADMIN"}, Drop: []corev1.Capability{"ALL"}},
		AppArmorProfile: &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined},
	}
	p.Spec.HostPID, p.Spec.HostIPC, p.Spec.HostNetwork = true, true, true
	got, err := Container(request(p), node())
	if err != nil {
		t.Fatal(err)
	}
	host := &runtimeapi.NamespaceOption{
		Network: runtimeapi.NamespaceMode_NODE, Pid: runtimeapi.NamespaceMode_NODE, Ipc: runtimeapi.NamespaceMode_NODE,
		UsernsOptions: &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_NODE},
	}
	want := &runtimeapi.LinuxContainerSecurityContext{
		Capabilities: &runtimeapi.Capability{AddCapabilities: []string{"NET_ADMIN"}, DropCapabilities: []string{"ALL"}},
		Privileged:   true, NamespaceOptions: host, RunAsUser: &runtimeapi.Int64Value{Value: 7}, RunAsGroup: &runtimeapi.Int64Value{Value: 2},
		ReadonlyRootfs: true, SupplementalGroups: []int64{3, 4}, NoNewPrivs: true,
		Seccomp:         &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault},
		Apparmor:        &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined},
		ApparmorProfile: "unconfined", //nolint:staticcheck // old runtimes read it
	}
	if d := cmp.Diff(want, got.Linux.SecurityContext, protocmp.Transform()); d != "" {
		t.Error(d)
	}
	sb, err := Sandbox(pod.SandboxRequest{Pod: p}, node())
	if err != nil {
		t.Fatal(err)
	}
	wantSandbox := &runtimeapi.LinuxSandboxSecurityContext{
		NamespaceOptions: host, RunAsUser: &runtimeapi.Int64Value{Value: 1}, RunAsGroup: &runtimeapi.Int64Value{Value: 2},
		SupplementalGroups: []int64{3, 4}, Privileged: true,
		Seccomp: &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault},
	}
	if d := cmp.Diff(wantSandbox, sb.Linux.SecurityContext, protocmp.Transform()); d != "" {
		t.Error(d)
	}
}

func TestEnvironmentHasEachNameOnce(t *testing.T) {
	p := testPod()
	p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "$(A)"}, {Name: "A", Value: "$(A)2"}}
	got, err := Container(request(p), node())
	if err != nil {
		t.Fatal(err)
	}
	want := []*runtimeapi.KeyValue{{Key: "A", Value: []byte("12")}, {Key: "B", Value: []byte("1")}}
	if d := cmp.Diff(want, got.Envs, protocmp.Transform()); d != "" {
		t.Error(d)
	}
}

func TestNoSwapOnCgroupV1(t *testing.T) {
	n := node()
	n.CgroupV1, n.NoSwap = true, true
	got, err := Container(request(testPod()), n)
	if err != nil {
		t.Fatal(err)
	}
	if r := got.Linux.Resources; r.MemorySwapLimitInBytes != r.MemoryLimitInBytes || r.MemoryLimitInBytes == 0 {
		t.Errorf("memory %d, with swap %d", r.MemoryLimitInBytes, r.MemorySwapLimitInBytes)
	}
}

func TestImageUser(t *testing.T) {
	zero, one, yes := int64(0), int64(1), true
	for _, c := range []struct {
		name     string
		user     ImageUser
		nonRoot  *bool
		runAs    *int64
		wantUID  *int64
		wantName string
		fail     string
	}{
		{"none is root", ImageUser{}, nil, nil, &zero, "", ""},
		{"number", ImageUser{UID: &one}, &yes, nil, &one, "", ""},
		{"name", ImageUser{Name: "www"}, nil, nil, nil, "www", ""},
		{"name non-root", ImageUser{Name: "www"}, &yes, nil, nil, "", "non-numeric user (www)"},
		{"root non-root", ImageUser{UID: &zero}, &yes, nil, nil, "", "image will run as root"},
		{"none non-root", ImageUser{}, &yes, nil, nil, "", "image will run as root"},
		{"pod decides", ImageUser{UID: &zero}, &yes, &one, &one, "", ""},
		{"pod breaks", ImageUser{}, &yes, &zero, nil, "", "breaks non-root policy"},
	} {
		p := testPod()
		p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: c.runAs, RunAsNonRoot: c.nonRoot}
		req := request(p)
		cfg, err := Container(req, node())
		if err != nil {
			t.Fatal(err)
		}
		err = ApplyImageUser(cfg, req, c.user)
		if c.fail != "" {
			wantFailure(t, c.name, err, "CreateContainerConfigError", c.fail)
			continue
		}
		sec := cfg.Linux.SecurityContext
		if err != nil || sec.RunAsUsername != c.wantName || (sec.RunAsUser == nil) != (c.wantUID == nil) || c.wantUID != nil && sec.RunAsUser.Value != *c.wantUID {
			t.Errorf("%s: %v %q, %v", c.name, sec.RunAsUser, sec.RunAsUsername, err)
		}
	}
}

func TestFormulas(t *testing.T) {
	for _, c := range []struct{ milli, shares, quota int64 }{
		{0, 2, 0}, {1, 2, 1000}, {10, 10, 1000}, {250, 256, 25000}, {1000, 1024, 100000}, {1 << 30, 262144, 100 << 30},
	} {
		if s, q := Shares(c.milli), Quota(c.milli, defaultPeriod); s != c.shares || q != c.quota {
			t.Errorf("%d: %d %d, want %d %d", c.milli, s, q, c.shares, c.quota)
		}
	}
	for n, want := range map[int64]string{2 << 20: "2MB", 1 << 30: "1GB", 64 << 10: "64KB"} {
		if got := pageSize(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestOOMScore(t *testing.T) {
	always, high := corev1.ContainerRestartPolicyAlways, int32(2_000_001_000)
	mem := func(s string) corev1.ResourceRequirements {
		return corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(s)}}
	}
	for _, c := range []struct {
		name string
		edit func(*corev1.Pod)
		want int64
	}{
		{"best effort", func(p *corev1.Pod) { p.Spec.Containers[0].Resources = corev1.ResourceRequirements{} }, 1000},
		{"tiny burstable", func(p *corev1.Pod) { p.Spec.Containers[0].Resources = mem("1") }, 999},
		{"half", func(p *corev1.Pod) { p.Spec.Containers[0].Resources = mem("8Gi") }, 500},
		{"all", func(p *corev1.Pod) { p.Spec.Containers[0].Resources = mem("16Gi") }, 3},
		{"guaranteed", func(p *corev1.Pod) { p.Status.QOSClass = corev1.PodQOSGuaranteed }, -997},
		{"node critical", func(p *corev1.Pod) { p.Spec.PriorityClassName, p.Spec.Priority = "system-node-critical", &high }, -997},
		{"sidecar", func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources = mem("8Gi")
			p.Spec.InitContainers = []corev1.Container{{Name: "s", RestartPolicy: &always, Resources: mem("1Gi")}}
		}, 500},
		{"pod level", func(p *corev1.Pod) {
			r := mem("8Gi")
			p.Spec.Resources, p.Spec.Containers[0].Resources = &r, mem("4Gi")
		}, 500},
	} {
		p := testPod()
		c.edit(p)
		target := &p.Spec.Containers[0]
		if c.name == "sidecar" {
			target = &p.Spec.InitContainers[0]
		}
		if got := oomScoreAdj(p, target, 16<<30); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	if got := oomScoreAdj(testPod(), &testPod().Spec.Containers[0], 0); got < 3 || got > 999 {
		t.Errorf("unknown capacity: %d", got)
	}
}
