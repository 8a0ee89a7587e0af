package volume

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

func TestShare(t *testing.T) {
	// A mount of our own, which passes nothing on, whatever the machine does.
	top := t.TempDir()
	if err := unix.Mount("tmpfs", top, "tmpfs", 0, ""); err != nil {
		t.Fatalf("mount a tmpfs (root is needed): %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(top, unix.MNT_DETACH) })
	if err := unix.Mount("", top, "", unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	root, link := filepath.Join(top, "kubelet"), filepath.Join(top, "link")
	if err := os.Symlink(root, link); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{root, root, link} {
		if err := Share(dir); err != nil {
			t.Fatal(err)
		}
		shared, err := isShared(root)
		if err != nil || !shared {
			t.Fatalf("shared %v, %v", shared, err)
		}
		infos, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(root))
		if err != nil || len(infos) != 1 {
			t.Errorf("mounts of the root directory: %v, %v; want one", infos, err)
		}
	}
	if shared, err := isShared(top); err != nil || shared {
		t.Errorf("the directory above is shared, too: %v", err)
	}
	file := filepath.Join(top, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Share(file); err == nil {
		t.Error("a file was shared as a root directory")
	}
}
