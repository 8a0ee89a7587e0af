package content

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// grace is how long files are kept that were replaced: who has looked up ..data
	// and not yet the file would find none. A container that has used up its CPU quota
	// can be held up in between.
	grace = 2 * time.Second
	// maxRetired bounds the directories that are kept so, when changes come fast.
	maxRetired = 4
)

// retired is a directory that ..data has led to.
type retired struct {
	name  string
	since time.Time
}

// retire notes on the disk that a directory has been replaced now. Where that fails
// the directory is removed sooner.
func (w *writer) retire(name string) {
	_ = w.change("touch", name, func() error {
		return unix.UtimesNanoAt(w.fd(), name, nil, unix.AT_SYMLINK_NOFOLLOW)
	})
}

// tidy removes what the volume does not need any more, of this write and of those
// that were cut off: half-made links, and directories that were replaced for longer
// than the grace. Due says when the next one will have been.
func (w *writer) tidy(ctx context.Context, current string, grace time.Duration) (due time.Time, err error) {
	dir, err := w.openDir(".")
	if err != nil {
		return due, err
	}
	defer dir.Close()
	var kept []retired
	var failed []error
	discard := func(name string) {
		if err := w.remove(ctx, name); err != nil && len(failed) < 10 {
			failed = append(failed, err)
		}
	}
	now := time.Now()
	err = each(dir, func(name string) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case name == newDataLink, name == newLink:
			discard(name)
		case name != current && timed.MatchString(name):
			r := retired{name: name, since: w.retiredSince(name)}
			if age := now.Sub(r.since); age < 0 || age >= grace {
				discard(name)
				break
			}
			kept = append(kept, r)
			slices.SortFunc(kept, func(a, b retired) int { return b.since.Compare(a.since) })
			if len(kept) > maxRetired {
				discard(kept[maxRetired].name)
				kept = kept[:maxRetired]
			}
		}
		return nil
	})
	if len(kept) > 0 {
		due = kept[len(kept)-1].since.Add(grace)
	}
	return due, errors.Join(append(failed, err)...)
}

// prune removes the links of names that the volume does not have any more.
func (w *writer) prune(ctx context.Context) error {
	dir, err := w.openDir(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	return each(dir, func(name string) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if strings.HasPrefix(name, "..") {
			return nil
		}
		return w.unlink(name)
	})
}

// retiredSince says when a directory was replaced; zero: it is nothing that anybody
// can be reading, or no directory.
func (w *writer) retiredSince(name string) time.Time {
	var st unix.Stat_t
	if err := unix.Fstatat(w.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return time.Time{}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Mode&dirBits != dirBits {
		return time.Time{} // it was never filled
	}
	return time.Unix(st.Mtim.Unix())
}

// unlink removes a link that the layout has made, if it has no such name any more.
func (w *writer) unlink(name string) error {
	if _, wanted := w.top[name]; wanted {
		return nil
	}
	target, err := w.readlink(name)
	if err != nil || target != dataLink+"/"+name {
		return nil //nolint:nilerr // it is not ours, or gone
	}
	err = w.change("unlink", name, func() error { return unix.Unlinkat(w.fd(), name, 0) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
