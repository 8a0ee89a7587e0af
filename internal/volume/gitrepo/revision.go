package gitrepo

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

const (
	remotePrefix = "refs/remotes/origin/"
	// maxSteps bounds how far back in the history a revision may be.
	maxSteps = 100_000
	// maxTags bounds tags of tags.
	maxTags = 8
	// minShort is the shortest name of an object that git takes.
	minShort = 4
)

// checkout is what HEAD is to be: a branch, which may have no commit yet, or a
// commit alone.
type checkout struct {
	branch string
	commit plumbing.Hash
}

// repository is what has been received.
type repository struct {
	*packed
	// refs are as they are after a clone: branches are the remote's, but for HEAD's.
	refs map[string]plumbing.Hash
	head checkout
}

// newRepository gives the server's references the names they have in a clone.
func newRepository(adv *advertisement, p *packed) *repository {
	r := &repository{packed: p, refs: map[string]plumbing.Hash{}}
	for name, h := range adv.refs {
		switch {
		case strings.HasPrefix(name, headPrefix):
			r.refs[remotePrefix+strings.TrimPrefix(name, headPrefix)] = h
		case strings.HasPrefix(name, tagPrefix):
			r.refs[name] = h
		}
	}
	r.head = adv.checkout()
	if r.head.branch != "" && !r.head.commit.IsZero() {
		r.refs[r.head.branch] = r.head.commit
	}
	return r
}

// checkout is what the server's HEAD makes of a clone's.
func (a *advertisement) checkout() checkout {
	at, known := a.refs[headRef]
	switch {
	case a.head != "":
		return checkout{branch: a.head, commit: a.refs[a.head]}
	case !known: // nothing to check out: a new repository, or one whose HEAD is nowhere
		return checkout{branch: headPrefix + "master"}
	}
	// A server of before 2013 does not say; git guesses.
	guess := ""
	for name, h := range a.refs {
		if h == at && strings.HasPrefix(name, headPrefix) && guess != headPrefix+"master" &&
			(guess == "" || name == headPrefix+"master" || name < guess) {
			guess = name
		}
	}
	return checkout{branch: guess, commit: at}
}

// resolve finds what git checkout would make of a revision.
func (r *repository) resolve(revision string) (checkout, error) {
	if revision == "" {
		return r.head, nil
	}
	if local := headPrefix + revision; r.head.branch == local && !r.head.commit.IsZero() {
		return r.head, nil
	}
	commit, err := r.parse(revision)
	if err == nil {
		return checkout{commit: commit}, nil
	}
	if h, ok := r.refs[remotePrefix+revision]; ok && errors.Is(err, errUnknown) {
		h, err := r.commitOf(h)
		return checkout{branch: headPrefix + revision, commit: h}, err
	}
	return checkout{}, err
}

// errUnknown tells of a revision that nothing is called by.
var errUnknown = errors.New("the repository has no such branch, tag or commit")

// parse reads a revision: a name, and any number of ~n, ^n and ^{commit} after it.
func (r *repository) parse(revision string) (plumbing.Hash, error) {
	end := strings.IndexAny(revision, "~^")
	if end < 0 {
		end = len(revision)
	}
	name, steps := revision[:end], revision[end:]
	h, err := r.named(name)
	if err != nil {
		return h, err
	}
	if h, err = r.commitOf(h); err != nil {
		return h, err
	}
	for budget := maxSteps; steps != ""; {
		op := steps[0]
		steps = steps[1:]
		if op == '^' && (strings.HasPrefix(steps, "{commit}") || strings.HasPrefix(steps, "{}")) {
			steps = steps[strings.Index(steps, "}")+1:]
			continue
		}
		digits := len(steps) - len(strings.TrimLeft(steps, "0123456789"))
		n := 1
		if digits > 0 {
			if n, err = strconv.Atoi(steps[:digits]); err != nil {
				return h, errUnknown
			}
		}
		steps = steps[digits:]
		if steps != "" && steps[0] != '~' && steps[0] != '^' {
			return h, errUnknown
		}
		if h, err = r.walk(h, op, n, &budget); err != nil {
			return h, err
		}
	}
	return h, nil
}

// walk goes back: ~n n times to the first parent, ^n once to the n-th.
func (r *repository) walk(h plumbing.Hash, op byte, n int, budget *int) (plumbing.Hash, error) {
	times, which := n, 1
	if op == '^' {
		times, which = min(n, 1), n
	}
	for range times {
		if *budget--; *budget < 0 {
			return h, fmt.Errorf("the revision is more than %d commits back, which is the limit", maxSteps)
		}
		c, err := r.commit(h)
		if err != nil {
			return h, err
		}
		if which > len(c.parents) {
			return h, errUnknown
		}
		h = c.parents[which-1]
	}
	return h, nil
}

// named finds what a name is, in git's order.
func (r *repository) named(name string) (plumbing.Hash, error) {
	if name == "@" || name == headRef {
		if r.head.commit.IsZero() {
			return plumbing.ZeroHash, errUnknown
		}
		return r.head.commit, nil
	}
	if h, err := parseHash(name); err == nil {
		return h, nil
	}
	if name == "refs/remotes/origin/HEAD" || name == "origin/HEAD" || name == "origin" {
		name = "origin/" + strings.TrimPrefix(r.head.branch, headPrefix)
	}
	for _, before := range []string{"", "refs/", tagPrefix, headPrefix, "refs/remotes/"} {
		if h, ok := r.refs[before+name]; ok {
			return h, nil
		}
	}
	return r.abbreviated(name)
}

// abbreviated finds the one commit or tag whose name begins so.
func (r *repository) abbreviated(name string) (plumbing.Hash, error) {
	short := strings.ToLower(name)
	if len(short) < minShort || strings.Trim(short, "0123456789abcdef") != "" || r.packed == nil {
		return plumbing.ZeroHash, errUnknown
	}
	var found plumbing.Hash
	for h := range r.byName {
		if !strings.HasPrefix(h.String(), short) {
			continue
		}
		if _, err := r.commitOf(h); err != nil {
			continue
		}
		if !found.IsZero() {
			return plumbing.ZeroHash, fmt.Errorf("%q is the beginning of more than one commit's name", name)
		}
		found = h
	}
	if found.IsZero() {
		return plumbing.ZeroHash, errUnknown
	}
	return found, nil
}

// commitOf looks behind tags.
func (r *repository) commitOf(h plumbing.Hash) (plumbing.Hash, error) {
	for range maxTags {
		if r.packed == nil {
			break
		}
		o, err := r.find(h)
		if err != nil {
			return h, err
		}
		if o.kind == plumbing.CommitObject {
			return h, nil
		}
		content, err := r.read(h, plumbing.TagObject)
		if err != nil {
			return h, err
		}
		line, _, _ := bytes.Cut(content, []byte("\n"))
		if h, err = parseHash(strings.TrimPrefix(string(line), "object ")); err != nil {
			return h, fmt.Errorf("tag %s is damaged", h)
		}
	}
	return h, errUnknown
}

// commit is what of one is of interest.
type commit struct {
	tree    plumbing.Hash
	parents []plumbing.Hash
}

func (r *repository) commit(h plumbing.Hash) (c commit, err error) {
	content, err := r.read(h, plumbing.CommitObject)
	if err != nil {
		return c, err
	}
	line, rest, _ := bytes.Cut(content, []byte("\n"))
	tree, ok := strings.CutPrefix(string(line), "tree ")
	if c.tree, err = parseHash(tree); !ok || err != nil {
		return c, fmt.Errorf("commit %s is damaged: it names no tree", h)
	}
	for {
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		parent, ok := strings.CutPrefix(string(line), "parent ")
		if !ok {
			return c, nil
		}
		p, err := parseHash(parent)
		if err != nil {
			return c, fmt.Errorf("commit %s is damaged: a parent has no name", h)
		}
		c.parents = append(c.parents, p)
	}
}
