package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// Names on the disk, as the kubelet has them.
const (
	podsDir     = "pods"
	volumesDir  = "volumes"
	subpathsDir = "volume-subpaths"
	dirMode     = 0o750
	// openDirMode is what the kubelet gives the directory of all volumes of a type
	// when it makes the volumes itself.
	openDirMode = 0o755
)

// Ref says where one volume of one pod lives. It is all that is needed to take
// the volume away.
type Ref struct {
	// Root is the agent's root directory, /var/lib/kubelet.
	Root string
	UID  types.UID
	// Plugin is the qualified name of the volume's type.
	Plugin string
	// Name is the volume's name in the pod, or a PersistentVolume's name.
	Name string
}

// Dir is the volume's directory on the node.
func (r Ref) Dir() string { return filepath.Join(r.Root, r.rel()) }

func (r Ref) rel() string {
	return filepath.Join(podsDir, string(r.UID), volumesDir, escape(r.Plugin), r.Name)
}

// holds reports whether a directory is that of a volume of this name, of any type.
func (r Ref) holds(dir string) bool {
	types, name := filepath.Split(dir)
	return name == r.Name && filepath.Dir(filepath.Clean(types)) == filepath.Join(r.Root, podsDir, string(r.UID), volumesDir)
}

// String names the volume for errors.
func (r Ref) String() string { return fmt.Sprintf("volume %q of pod %s", r.Name, r.UID) }

// Made reports whether the volume's directory is there.
func (r Ref) Made() bool {
	info, err := os.Lstat(r.Dir())
	return err == nil && info.IsDir()
}

// Make creates the volume's directory with exactly this mode, whatever the
// umask, and the directories above it as far as they are missing (0755). A
// symlink in the way is never followed out of the root directory.
func (r Ref) Make(mode os.FileMode) error {
	if err := r.makeParent(openDirMode); err != nil {
		return err
	}
	root, err := os.OpenRoot(r.Root)
	if err != nil {
		return fmt.Errorf("open root directory: %w", err)
	}
	defer root.Close()
	if err := root.Mkdir(r.rel(), mode.Perm()); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make directory of %s: %w", r, err)
	}
	info, err := root.Lstat(r.rel())
	if err != nil {
		return fmt.Errorf("look at directory of %s: %w", r, err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory but %s", r.Dir(), info.Mode().Type())
	}
	if info.Mode()&(os.ModePerm|os.ModeSetgid) == mode {
		return nil
	}
	if err := root.Chmod(r.rel(), mode); err != nil {
		return fmt.Errorf("set mode of %s: %w", r, err)
	}
	return nil
}

// MakeParent creates the directory that the volume's directory is to be made
// in, for drivers that insist on making their own.
func (r Ref) MakeParent() error { return r.makeParent(dirMode) }

func (r Ref) makeParent(mode os.FileMode) error {
	if err := r.validate(); err != nil {
		return err
	}
	root, err := os.OpenRoot(r.Root)
	if err != nil {
		return fmt.Errorf("open root directory: %w", err)
	}
	defer root.Close()
	if err := root.MkdirAll(filepath.Dir(r.rel()), mode); err != nil {
		return fmt.Errorf("make directory for %s: %w", r, err)
	}
	return nil
}

func (r Ref) validate() error {
	if err := validUID(r.UID); err != nil {
		return err
	}
	if err := validName("volume name", r.Name); err != nil {
		return err
	}
	return validName("plugin name", escape(r.Plugin))
}

// A qualified name is stored with "~" for "/".
func escape(name string) string   { return strings.ReplaceAll(name, "/", "~") }
func unescape(name string) string { return strings.ReplaceAll(name, "~", "/") }

// safeName is what may become one element of a path: UIDs, object names and
// escaped plugin names all fit, and no "." or "..", separator or NUL does.
var safeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._~-]*$`)

func validName(what, name string) error {
	if len(name) > 253 || !safeName.MatchString(name) {
		return fmt.Errorf("%s %q cannot be used as a file name", what, name)
	}
	return nil
}

func validUID(uid types.UID) error { return validName("pod UID", string(uid)) }
