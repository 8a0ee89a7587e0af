package gitrepo

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

// maxChain is how many deltas an object may be made from, git's own limit.
const maxChain = 4095

// content unpacks an object whose base is known. It has at most one object, its base
// and a delta in memory, however long the chain is.
func (p *packed) content(i int) ([]byte, error) {
	var chain []int
	var whole []byte
	at := i
	for {
		if cached, ok := p.cache.Get(int64(at)); ok {
			whole = cached
			break
		}
		if p.objects[at].base == none {
			var err error
			if whole, err = p.inflate(at); err != nil {
				return nil, err
			}
			break
		}
		if len(chain) >= maxChain {
			return nil, fmt.Errorf("an object is made from more than %d others, which is the limit", maxChain)
		}
		chain = append(chain, at)
		at = p.objects[at].base
	}
	p.cache.Put(int64(at), whole)
	for _, k := range slices.Backward(chain) {
		delta, err := p.inflate(k)
		if err != nil {
			return nil, err
		}
		if whole, err = packfile.PatchDelta(whole, delta); err != nil {
			return nil, fmt.Errorf("make an object from its base: %w", err)
		}
	}
	p.cache.Put(int64(i), whole)
	return whole, nil
}

// inflate reads an entry of the pack: an object or a delta. Its size was checked.
func (p *packed) inflate(i int) ([]byte, error) {
	h, err := p.scanner.SeekObjectHeader(p.objects[i].offset)
	if err != nil {
		return nil, err
	}
	if h.Length > p.limits.Object {
		return nil, p.tooLarge(h.Length)
	}
	var b bytes.Buffer
	b.Grow(int(h.Length))
	if _, _, err := p.scanner.NextObject(&b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// find returns which object has a name.
func (p *packed) find(name plumbing.Hash) (object, error) {
	i, ok := p.byName[name]
	if !ok {
		return object{}, fmt.Errorf("the repository has no object %s", name)
	}
	return p.objects[i], nil
}

// read returns the content of an object of a type. It must not be changed.
func (p *packed) read(name plumbing.Hash, want plumbing.ObjectType) (content []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			content, err = nil, errors.New("the pack is damaged")
		}
	}()
	o, err := p.find(name)
	if err != nil {
		return nil, err
	}
	if o.kind != want {
		return nil, fmt.Errorf("object %s is no %s but a %s", name, want, o.kind)
	}
	if content, err = p.content(p.byName[name]); err != nil {
		return nil, fmt.Errorf("read object %s: %w", name, err)
	}
	return content, nil
}
