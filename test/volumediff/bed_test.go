//go:build e2e

package volumediff

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
	"nodeagent.dev/nodeagent/test/bed/build"
	"nodeagent.dev/nodeagent/test/bed/images"
)

// prepare makes what the pods refer to: images, paths of the node, objects, and
// somebody who signs certificates.
func prepare(ctx context.Context, t *testing.T, b *bed.Bed) Names {
	t.Helper()
	host := filepath.Join(b.Dir, "host")
	bedtest.Must(t, "making what hostPath volumes name", hostTree(t, host))
	names := Names{
		"HOST": host, "NODE": b.NodeName, "REGISTRY": bed.RegistryHost,
		"IMAGE": bed.RegistryHost + "/x/look:1", "DATA": bed.RegistryHost + "/x/data:1",
	}
	makeImages(ctx, t, b)
	sign(ctx, t, b.Client())
	objects, err := Objects(names)
	bedtest.Must(t, "reading the objects", err)
	create(ctx, t, b, objects)
	return names
}

// makeImages pushes the image of all containers and one to be a volume.
func makeImages(ctx context.Context, t *testing.T, b *bed.Bed) {
	t.Helper()
	builder, err := build.New(nil)
	bedtest.Must(t, "preparing to build look", err)
	program, err := builder.Program(ctx, "./test/volumediff/look", "look", "-s -w")
	bedtest.Must(t, "building look", err)
	look, err := os.ReadFile(program)
	bedtest.Must(t, "reading look", err)
	img, err := b.SmallImage(map[string]string{"bin/look": string(look)}, v1.Config{Env: []string{"PATH=/bin:/sbin:/usr/bin:/usr/sbin"}})
	bedtest.Must(t, "making the image of look", err)
	_, err = b.PushImage(ctx, "x/look:1", img)
	bedtest.Must(t, "pushing the image of look", err)
	data, err := images.Small(nil, map[string]string{"file": "text\n", "folder/inner/file": "deep\n", "folder/script": "#!/bin/sh\n"}, v1.Config{})
	bedtest.Must(t, "making an image for volumes", err)
	_, err = b.PushImage(ctx, "x/data:1", data)
	bedtest.Must(t, "pushing an image for volumes", err)
}

// create makes objects and waits until volumes and their claims are bound.
func create(ctx context.Context, t *testing.T, b *bed.Bed, objects []runtime.Object) {
	t.Helper()
	list := &corev1.List{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "List"}}
	bound := 0
	for _, object := range objects {
		if claim, ok := object.(*corev1.PersistentVolumeClaim); ok && claim.Spec.VolumeName != "" {
			bound++
		}
		list.Items = append(list.Items, runtime.RawExtension{Object: object})
	}
	codec := scheme.Codecs.LegacyCodec(scheme.Scheme.PrioritizedVersionsAllGroups()...)
	for i := range list.Items {
		raw, err := runtime.Encode(codec, list.Items[i].Object)
		bedtest.Must(t, "encoding the objects", err)
		list.Items[i] = runtime.RawExtension{Raw: raw}
	}
	raw, err := runtime.Encode(codec, list)
	bedtest.Must(t, "encoding the objects", err)
	file := filepath.Join(b.Dir, "objects.json")
	bedtest.Must(t, "writing the objects", os.WriteFile(file, raw, 0o600))
	_, err = b.Kubectl(ctx, "create", "-f", file)
	bedtest.Must(t, "creating what the pods refer to", err)
	waitBound(ctx, t, b, bound)
}

// waitBound returns when so many claims are bound.
func waitBound(ctx context.Context, t *testing.T, b *bed.Bed, want int) {
	t.Helper()
	claims := b.Client().CoreV1().PersistentVolumeClaims(metav1.NamespaceDefault)
	list := &cache.ListWatch{
		ListWithContextFunc:  func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return claims.List(ctx, o) },
		WatchFuncWithContext: claims.Watch,
	}
	bound := map[string]bool{}
	_, err := watchtools.UntilWithSync(ctx, list, &corev1.PersistentVolumeClaim{}, nil, func(e watch.Event) (bool, error) {
		if claim, ok := e.Object.(*corev1.PersistentVolumeClaim); ok && claim.Status.Phase == corev1.ClaimBound {
			bound[claim.Name] = true
		}
		return len(bound) >= want, nil
	})
	if err != nil {
		t.Fatalf("%d of %d claims have been bound (%v): %v", len(bound), want, bound, err)
	}
}

// hostTree makes what hostPath and local volumes name. It is a mount of its own
// that passes mounts on.
func hostTree(t *testing.T, host string) error {
	t.Helper()
	unix.Umask(0) // modes are as they are written here
	defer unix.Umask(0o022)
	for _, dir := range []string{"dir/sub", "dir/sticky", "dir/setgid", "dir/empty", "logs/pods", "made-here", "share", "tree/sub", "pv"} {
		if err := os.MkdirAll(filepath.Join(host, dir), 0o755); err != nil {
			return fmt.Errorf("make a folder: %w", err)
		}
	}
	if err := unix.Mount(host, host, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s on itself: %w", host, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(host, unix.MNT_DETACH) })
	if err := unix.Mount("", host, "", unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share the mounts below %s: %w", host, err)
	}
	inner := filepath.Join(host, "tree/sub")
	if err := unix.Mount("inner", inner, "tmpfs", unix.MS_NOSUID, "size=128k,mode=711"); err != nil {
		return fmt.Errorf("mount %s: %w", inner, err)
	}
	for _, one := range []string{"file", "dir/a", "dir/sub/b", "logs/pods/one.log", "tree/file", "tree/sub/file"} {
		if err := os.WriteFile(filepath.Join(host, one), []byte(filepath.Base(one)+"\n"), 0o640); err != nil {
			return fmt.Errorf("write a file: %w", err)
		}
	}
	for _, pv := range []string{"a", "group", "root-group", "right-group", "subpath", "options", "host", "scratch", "local-scratch", "example-database"} {
		if err := folder(filepath.Join(host, "pv", pv)); err != nil {
			return err
		}
	}
	return special(host)
}

// folder makes one that has files of all kinds, owners and modes.
func folder(dir string) error {
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "sub/deep"), 0o755),
		os.MkdirAll(filepath.Join(dir, "dir"), 0o700),
		os.WriteFile(filepath.Join(dir, "file"), []byte("text\n"), 0o604),
		os.WriteFile(filepath.Join(dir, "sub/deep/closed"), []byte("text\n"), 0o400),
		os.WriteFile(filepath.Join(dir, "sub/program"), []byte("#!/bin/sh\n"), 0o755),
		os.WriteFile(filepath.Join(dir, "sub/setuid"), []byte("#!/bin/sh\n"), 0o755),
		os.Chown(filepath.Join(dir, "file"), 11, 12), os.Lchown(filepath.Join(dir, "sub/setuid"), 13, 14),
		unix.Chmod(filepath.Join(dir, "sub/setuid"), 0o6755),
		os.Symlink("file", filepath.Join(dir, "link")), os.Symlink("/etc/passwd", filepath.Join(dir, "link-out")),
		unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600),
	} {
		if err != nil {
			return fmt.Errorf("fill a volume: %w", err)
		}
	}
	switch filepath.Base(dir) {
	case "root-group", "right-group":
		// The root is as a pod would want it, what is below is not.
		mode := map[string]uint32{"root-group": 0o755, "right-group": 0o2775}[filepath.Base(dir)]
		if err := os.Chown(dir, 0, 2000); err != nil {
			return fmt.Errorf("give a volume to a group: %w", err)
		}
		if err := unix.Chmod(dir, mode); err != nil {
			return fmt.Errorf("give a volume to a group: %w", err)
		}
	}
	return nil
}

// special makes what is neither file nor folder, and changes modes.
func special(host string) error {
	in := func(name string) string { return filepath.Join(host, name) }
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: in("socket"), Net: "unix"})
	if err != nil {
		return fmt.Errorf("make a socket: %w", err)
	}
	socket.SetUnlinkOnClose(false)
	for _, err := range []error{
		socket.Close(),
		unix.Mknod(in("char"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
		unix.Mknod(in("block"), unix.S_IFBLK|0o600, int(unix.Mkdev(7, 250))),
		unix.Mkfifo(in("pipe"), 0o644), unix.Mkfifo(in("dir/pipe"), 0o622),
		os.Symlink("dir", in("link-to-dir")), os.Symlink("file", in("link-to-file")), os.Symlink("nothing", in("link-to-nothing")),
		os.Symlink("sub/b", in("dir/link")), os.Symlink("/etc", in("dir/link-out")),
		unix.Chmod(in("dir/sticky"), 0o1777), unix.Chmod(in("dir/setgid"), 0o2775), unix.Chmod(in("dir/empty"), 0),
		os.Chown(in("dir/sub"), 7, 8), os.Chown(in("dir/setgid"), 0, 9),
	} {
		if err != nil {
			return fmt.Errorf("make special files: %w", err)
		}
	}
	return nil
}
