package content

import (
	"context"
	"errors"
	"os"
	"regexp"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// dataLink leads to the directory that has the files, newDataLink replaces it.
	dataLink    = "..data"
	newDataLink = "..data_tmp"
	// newLink replaces what is where a link at the top has to be. It is our own.
	newLink = "..link_tmp"

	timeFormat = "..2006_01_02_15_04_05."

	dirBits = 0o755
	// What a pod's fsGroup is given in volumes that containers can only read.
	groupFileBits = 0o440
	groupDirBits  = 0o550 | unix.S_ISGID
)

// timed are the names of directories that have the files, or had them.
var timed = regexp.MustCompile(`^\.\.\d{4}_\d{2}_\d{2}_\d{2}_\d{2}_\d{2}\.\d+$`)

func fileMode(file File, group *int64) uint32 {
	mode := uint32(file.Mode)
	if group != nil {
		mode |= groupFileBits
	}
	return mode
}

func dirMode(group *int64) uint32 {
	if group == nil {
		return dirBits
	}
	return dirBits | groupDirBits
}

// Write makes the files be those of the volume in dir, for all who read there at
// once, and reports whether they were not. Where contents, modes and owners are as
// they have to be, nothing is written. The group is the pod's fsGroup.
//
// It may be called again after it failed or was cut off at any point, also by the
// kubelet's counterpart; one caller at a time for a volume. An error with changed
// says that the files are the new ones, but that something old could not be removed.
// Whatever lies in dir is not trusted: no symlink is followed, nothing but regular
// files is opened, and no mount is crossed. What is not the layout's own stays.
//
// Files that were replaced a moment ago may stay for a moment: see [Place.Fill], which
// says when to come back.
func Write(ctx context.Context, dir string, files Files, group *int64) (changed bool, err error) {
	t, err := openTree(dir)
	if err != nil {
		return false, err
	}
	defer t.close()
	changed, _, err = write(ctx, t, files, group)
	return changed, err
}

// write does what Write does, and says when there will be something to remove; zero:
// nothing is left over.
func write(ctx context.Context, t *tree, files Files, group *int64) (changed bool, due time.Time, err error) {
	l, err := files.layOut()
	if err != nil {
		return false, time.Time{}, err
	}
	return (&writer{tree: t, layout: l, group: group}).write(ctx)
}

// writer brings one volume up to date.
type writer struct {
	*tree
	*layout
	group *int64
}

func (w *writer) write(ctx context.Context) (changed bool, due time.Time, err error) {
	if err := w.own(); err != nil {
		return false, due, err
	}
	current, err := w.current()
	if err != nil {
		return false, due, err
	}
	if current != "" {
		same, err := w.same(ctx, current)
		if err != nil {
			return false, due, err
		}
		changed = !same
	}
	if changed = changed || current == ""; changed {
		if current, err = w.replace(ctx, current); err != nil {
			return false, due, err
		}
	}
	linked, err := w.link(ctx)
	changed = changed || linked
	if err != nil {
		return changed, due, err
	}
	pruned := w.prune(ctx)
	due, err = w.tidy(ctx, current, grace)
	return changed, due, errors.Join(pruned, err)
}

// own gives the volume's directory to the group.
func (w *writer) own() error {
	if w.group == nil {
		return nil
	}
	st, err := stat(w.dir)
	if err != nil {
		return w.failed("stat", "", err)
	}
	return w.give(w.dir, ".", nil, w.group, st.Mode&unixPermissions|groupDirBits)
}

// current is the directory that the volume shows; "": none that was made by an agent.
func (w *writer) current() (string, error) {
	target, err := w.readlink(dataLink)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINVAL):
		return "", nil
	case err != nil:
		return "", err
	case !timed.MatchString(target):
		return "", nil
	}
	return target, nil
}

// replace makes a directory with the files and has ..data lead to it.
func (w *writer) replace(ctx context.Context, current string) (name string, err error) {
	name, err = w.build(ctx)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		// What was replaced a moment ago, or was cut off, may be what takes the room.
		if _, err := w.tidy(ctx, current, 0); err != nil {
			return "", err
		}
		name, err = w.build(ctx)
	}
	if err != nil {
		return "", err
	}
	if err := w.show(ctx, name); err != nil {
		return "", errors.Join(err, w.remove(context.WithoutCancel(ctx), name))
	}
	if current != "" {
		w.retire(current)
	}
	return name, nil
}

// build makes a directory with the files.
func (w *writer) build(ctx context.Context) (name string, err error) {
	name, err = w.mkdirFresh(time.Now().UTC().Format(timeFormat))
	if err != nil {
		return "", err
	}
	if err := w.fill(ctx, name); err != nil {
		return "", errors.Join(err, w.remove(context.WithoutCancel(ctx), name))
	}
	return name, nil
}

// fill writes the files into a new directory. It can be entered when it is full.
func (w *writer) fill(ctx context.Context, name string) error {
	for _, dir := range w.order[1:] {
		if err := w.mkdir(name + "/" + dir); err != nil {
			return err
		}
	}
	for _, p := range w.paths {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.create(name+"/"+p, w.files[p], w.group); err != nil {
			return err
		}
	}
	for _, dirName := range slices.Backward(w.order) {
		inner := name + "/" + dirName
		dir, err := w.openDir(inner)
		if err != nil {
			return err
		}
		err = w.give(dir, inner, nil, w.group, dirMode(w.group))
		_ = dir.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// show switches ..data to a directory.
func (w *writer) show(ctx context.Context, name string) error {
	if err := w.remove(ctx, newDataLink); err != nil {
		return err
	}
	if err := w.symlink(name, newDataLink, nil, w.group); err != nil {
		return err
	}
	if err := w.rename(newDataLink, dataLink); err != nil {
		return errors.Join(err, w.remove(context.WithoutCancel(ctx), newDataLink))
	}
	return nil
}

// link makes the links at the top that are not there. A directory in a link's place
// stays: another volume of the pod is mounted there, in its containers.
func (w *writer) link(ctx context.Context) (linked bool, err error) {
	for name, owner := range w.top {
		target := dataLink + "/" + name
		found, err := w.readlink(name)
		switch {
		case err == nil && found == target:
			continue
		case errors.Is(err, unix.ENOENT):
			if err := w.symlink(target, name, owner, w.group); err != nil {
				return linked, err
			}
			linked = true
			continue
		case err != nil && !errors.Is(err, unix.EINVAL):
			return linked, err
		}
		if is, err := w.isDir(name); is || err != nil {
			if err != nil {
				return linked, err
			}
			continue
		}
		if err := w.relink(ctx, target, name, owner); err != nil {
			return linked, err
		}
		linked = true
	}
	return linked, nil
}

// relink puts a link where something else is.
func (w *writer) relink(ctx context.Context, target, name string, owner *int64) error {
	if err := w.remove(ctx, newLink); err != nil {
		return err
	}
	if err := w.symlink(target, newLink, owner, w.group); err != nil {
		return err
	}
	return w.change("rename", newLink, func() error { return unix.Renameat(w.fd(), newLink, w.fd(), name) })
}

// uid is whom files belong to that have no owner of their own.
func uid(owner *int64) uint32 {
	if owner == nil {
		return uint32(os.Geteuid())
	}
	return uint32(*owner)
}
