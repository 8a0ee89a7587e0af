package gitrepo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/index"
)

// clone does what git clone and git checkout do, into an empty volume.
func (p *plugin) clone(ctx context.Context, src *source, to *sink) error {
	conn, err := p.network.connect(ctx, src.url, p.limits.Received)
	if err != nil {
		return err
	}
	defer conn.close()
	answer, err := conn.references(ctx)
	if err != nil {
		return err
	}
	adv, err := readAdvertisement(answer, src.url.Scheme != "git")
	if err != nil {
		return err
	}
	if src.target != "." {
		if err := to.mkdirs(src.target); err != nil {
			return err
		}
	}
	git := gitDir{sink: to, dir: path.Join(src.target, ".git")}
	if err := git.make(); err != nil {
		return err
	}
	pack, err := git.receive(ctx, conn, adv)
	if err != nil {
		return err
	}
	if pack == nil {
		repo := newRepository(adv, nil)
		return p.check(ctx, src, repo, git, nil)
	}
	defer pack.Close()
	conn.close()
	select {
	case p.unpack <- struct{}{}:
		defer func() { <-p.unpack }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	objects, err := openPack(ctx, pack, p.limits)
	if err != nil {
		return err
	}
	if err := git.keep(ctx, objects); err != nil {
		return err
	}
	return p.check(ctx, src, newRepository(adv, objects), git, adv)
}

// check checks the revision out, and writes the files of .git that say so.
func (p *plugin) check(ctx context.Context, src *source, repo *repository, git gitDir, adv *advertisement) error {
	at, err := repo.resolve(src.revision)
	if err != nil {
		return fmt.Errorf("check out revision %q: %w", src.revision, err)
	}
	entries := &index.Index{Version: 2}
	if !at.commit.IsZero() {
		if repo.packed == nil {
			return errUnknown
		}
		c, err := repo.commit(at.commit)
		if err != nil {
			return err
		}
		w := worktree{sink: git.sink, repo: repo, index: entries, top: src.target}
		if err := w.tree(ctx, c.tree, "", 0); err != nil {
			return fmt.Errorf("write the working tree: %w", err)
		}
	}
	if at.branch != "" && !at.commit.IsZero() {
		repo.refs[at.branch] = at.commit
	}
	if adv != nil && len(adv.shallow) > 0 {
		if err := git.shallow(ctx, adv); err != nil {
			return err
		}
	}
	return git.finish(ctx, src, repo, at, entries)
}

// gitDir writes the .git directory. All that is in it is ours or is an object:
// there are no hooks, and nothing of the repository is in the config.
type gitDir struct {
	*sink
	dir string
}

func (g gitDir) make() error {
	if err := g.mkdir(g.dir); err != nil {
		return err
	}
	for _, dir := range []string{"objects", "objects/info", "objects/pack", "refs", "refs/heads", "refs/tags"} {
		if err := g.mkdir(path.Join(g.dir, dir)); err != nil {
			return err
		}
	}
	return nil
}

func (g gitDir) incoming() string { return path.Join(g.dir, "objects/pack/incoming") }

// receive stores the pack as it comes; nil: the repository is empty.
func (g gitDir) receive(ctx context.Context, conn connection, adv *advertisement) (*os.File, error) {
	request := adv.packRequest()
	if request == nil {
		return nil, nil
	}
	answer, err := conn.request(ctx, request)
	if err != nil {
		return nil, err
	}
	stream, err := adv.readPack(answer)
	if err != nil {
		return nil, err
	}
	f, err := g.create(g.incoming(), 0o444)
	if err != nil {
		return nil, err
	}
	if err := g.copy(ctx, f, stream); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// keep gives the pack its name and its index.
func (g gitDir) keep(ctx context.Context, p *packed) error {
	name := path.Join(g.dir, "objects/pack/pack-"+p.sum.String())
	if err := g.root.Rename(g.incoming(), name+".pack"); err != nil {
		return failed("rename", g.incoming(), err)
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(p.writeIndex(w)) }()
	defer r.Close()
	return g.write(ctx, name+".idx", 0o444, r)
}

func (g gitDir) shallow(ctx context.Context, adv *advertisement) error {
	var text strings.Builder
	for _, h := range adv.shallow {
		text.WriteString(h.String() + "\n")
	}
	return g.text(ctx, path.Join(g.dir, "shallow"), text.String())
}

// finish writes what makes a git directory of it.
func (g gitDir) finish(ctx context.Context, src *source, repo *repository, at checkout, entries *index.Index) error {
	head := at.commit.String() + "\n"
	if at.branch != "" {
		head = "ref: " + at.branch + "\n"
	}
	var refs strings.Builder
	refs.WriteString("# pack-refs with: sorted \n")
	for _, name := range slices.Sorted(maps.Keys(repo.refs)) {
		fmt.Fprintf(&refs, "%s %s\n", repo.refs[name], name)
	}
	for _, file := range []struct{ name, text string }{
		{"packed-refs", refs.String()},
		{"config", config(src, repo, at)},
		{"HEAD", head},
	} {
		if err := g.text(ctx, path.Join(g.dir, file.name), file.text); err != nil {
			return err
		}
	}
	if _, ok := repo.refs[repo.head.branch]; ok {
		if err := g.remoteHead(ctx, repo.head.branch); err != nil {
			return err
		}
	}
	if len(entries.Entries) == 0 {
		return nil
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(index.NewEncoder(w).Encode(entries)) }()
	defer r.Close()
	return g.write(ctx, path.Join(g.dir, "index"), 0o644, r)
}

// remoteHead notes which of the remote's branches its HEAD names.
func (g gitDir) remoteHead(ctx context.Context, branch string) error {
	dir := path.Join(g.dir, "refs/remotes")
	for _, d := range []string{dir, dir + "/origin"} {
		if err := g.mkdir(d); err != nil {
			return err
		}
	}
	return g.text(ctx, dir+"/origin/HEAD", "ref: "+remotePrefix+strings.TrimPrefix(branch, headPrefix)+"\n")
}

// config is what git clone writes: where it came from, and which branches follow
// which.
func config(src *source, repo *repository, at checkout) string {
	var text strings.Builder
	text.WriteString("[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n")
	fmt.Fprintf(&text, "[remote \"origin\"]\n\turl = %s\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n", quote(src.url.String()))
	branches := []string{repo.head.branch, at.branch}
	for _, branch := range slices.Compact(branches) {
		if branch != "" {
			fmt.Fprintf(&text, "[branch %s]\n\tremote = origin\n\tmerge = %s\n", quote(strings.TrimPrefix(branch, headPrefix)), quote(branch))
		}
	}
	return text.String()
}

// quote writes a value, which has no control characters, for git's config.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// worktree writes a tree's files.
type worktree struct {
	*sink
	repo  *repository
	index *index.Index
	// top is where the tree goes, in the volume.
	top string
}

const (
	// maxTreeDepth bounds how deep a tree may be nested, maxPath how long a path may
	// be: what programs can name in one go.
	maxTreeDepth = 256
	maxPath      = 4000
	// maxLink is how long a symlink may be on Linux.
	maxLink = 4095
)

func (w worktree) tree(ctx context.Context, h plumbing.Hash, dir string, depth int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if depth > maxTreeDepth {
		return fmt.Errorf("directories are nested more than %d deep, which is the limit", maxTreeDepth)
	}
	content, err := w.repo.read(h, plumbing.TreeObject)
	if err != nil {
		return err
	}
	for len(content) > 0 {
		var e entry
		if e, content, err = nextEntry(content); err != nil {
			return fmt.Errorf("tree %s: %w", h, err)
		}
		name := path.Join(dir, e.name)
		if len(name) > maxPath {
			return fmt.Errorf("a path is longer than %d bytes, which is the limit", maxPath)
		}
		if err := w.entry(ctx, e, name, depth); err != nil {
			return err
		}
	}
	return nil
}

func (w worktree) entry(ctx context.Context, e entry, name string, depth int) error {
	to := path.Join(w.top, name)
	switch e.kind {
	case kindTree:
		if err := w.mkdir(to); err != nil {
			return err
		}
		return w.tree(ctx, e.hash, name, depth+1)
	case kindModule: // a directory, as it is until somebody updates submodules
		w.note(e, name, 0)
		return w.mkdir(to)
	case kindFile, kindProgram, kindLink:
		return w.blob(ctx, e, name, to)
	}
	return errTree
}

// blob writes a file or a link.
func (w worktree) blob(ctx context.Context, e entry, name, to string) error {
	content, err := w.repo.read(e.hash, plumbing.BlobObject)
	if err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	w.note(e, name, len(content))
	if e.kind == kindLink {
		if len(content) == 0 || len(content) > maxLink {
			return fmt.Errorf("%q is a link that Linux cannot have", name)
		}
		return w.symlink(to, string(content))
	}
	return w.write(ctx, to, e.perm(), bytes.NewReader(content))
}

// note puts a file into the index.
func (w worktree) note(e entry, name string, size int) {
	w.index.Entries = append(w.index.Entries, &index.Entry{Name: name, Hash: e.hash, Mode: e.indexMode(), Size: uint32(size)})
}
